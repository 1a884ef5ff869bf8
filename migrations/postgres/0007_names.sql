-- Titles and turn labels that a model writes.

-- On the message that began a turn: what the turn did, in a few words.
ALTER TABLE messages ADD COLUMN label TEXT;
-- The snapshot_version at which a message was last labelled: the history does not change by it.
ALTER TABLE chats ADD COLUMN labelled_version BIGINT NOT NULL DEFAULT 0;

-- What is still to be named. A row is taken away before a model is asked, so none is asked twice.
CREATE TABLE names_due (
    chat_id TEXT NOT NULL PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    made_from BIGINT NOT NULL,
    history_version BIGINT NOT NULL,
    title BOOLEAN NOT NULL,
    label BOOLEAN NOT NULL,
    due_at_ms BIGINT NOT NULL
);

ALTER TABLE spans ADD COLUMN kind_of TEXT NOT NULL DEFAULT 'turn'
    CHECK (kind_of IN ('turn', 'step', 'attempt', 'tool', 'compaction', 'advisor', 'naming'));
UPDATE spans SET kind_of = kind WHERE kind <> 'turn';
ALTER TABLE spans DROP COLUMN kind;
ALTER TABLE spans RENAME COLUMN kind_of TO kind;
