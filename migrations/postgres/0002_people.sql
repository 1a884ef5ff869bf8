-- Calls that wait for people and clients, branches of edited messages, the plan, rules.

ALTER TABLE chats ADD COLUMN awaited BIGINT NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN effort TEXT;
ALTER TABLE chats ADD COLUMN plan TEXT;
ALTER TABLE chats ADD COLUMN client_tools TEXT;
ALTER TABLE chats ADD COLUMN leaf_id TEXT;
ALTER TABLE chats ADD COLUMN forked_from TEXT;

ALTER TABLE messages ADD COLUMN parent_id TEXT;
ALTER TABLE messages ADD COLUMN fork_id TEXT;
ALTER TABLE messages ADD COLUMN variant BIGINT NOT NULL DEFAULT 1;
ALTER TABLE messages ADD COLUMN variants BIGINT NOT NULL DEFAULT 1;
CREATE INDEX messages_by_parent ON messages (parent_id);
CREATE INDEX messages_by_fork ON messages (chat_id, fork_id);

-- Every history was one line until now.
UPDATE messages SET parent_id = (SELECT before.id FROM messages AS before
    WHERE before.chat_id = messages.chat_id AND before.seq < messages.seq
    ORDER BY before.seq DESC LIMIT 1);
UPDATE chats SET leaf_id = (SELECT messages.id FROM messages
    WHERE messages.chat_id = chats.id ORDER BY messages.seq DESC LIMIT 1);

ALTER TABLE queued_messages ADD COLUMN effort TEXT;

ALTER TABLE operations ADD COLUMN gate TEXT NOT NULL DEFAULT 'open'
    CHECK (gate IN ('open', 'approval', 'question', 'plan', 'client'));
ALTER TABLE operations ADD COLUMN deadline_at_ms BIGINT;
ALTER TABLE operations ADD COLUMN decision TEXT;
CREATE INDEX operations_by_deadline ON operations (sealed, deadline_at_ms);

CREATE TABLE approval_rules (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    scope TEXT NOT NULL CHECK (scope IN ('chat', 'workspace', 'user')),
    chat_id TEXT REFERENCES chats (id) ON DELETE CASCADE,
    workspace_id TEXT REFERENCES workspaces (id) ON DELETE CASCADE,
    tool TEXT NOT NULL,
    pattern TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE INDEX approval_rules_by_owner ON approval_rules (owner_id, tool);
