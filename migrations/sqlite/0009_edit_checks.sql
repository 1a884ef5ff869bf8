-- A command that is run after edits, as JSON; none: none is. The chat's goes before the workspace's.

ALTER TABLE workspaces ADD COLUMN edit_check TEXT;
ALTER TABLE chats ADD COLUMN edit_check TEXT;
