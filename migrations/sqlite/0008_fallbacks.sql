-- A model that answers where another one cannot.

ALTER TABLE models ADD COLUMN fallback_model_id TEXT;
-- The chat's own choice goes before that of its model.
ALTER TABLE chats ADD COLUMN fallback_model_id TEXT;
-- Who answers for the rest of the turn, and why: JSON.
ALTER TABLE chats ADD COLUMN fallback TEXT;
