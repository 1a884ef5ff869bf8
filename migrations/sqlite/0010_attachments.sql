-- Files that people attach to chats, and their bytes under their hash.

CREATE TABLE blobs (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT,
    size_bytes INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    UNIQUE (owner_id, hash)
) STRICT;
CREATE INDEX blobs_by_use ON blobs (used_at_ms);

CREATE TABLE blob_chunks (
    blob_id TEXT NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (blob_id, ordinal)
) STRICT;

CREATE TABLE attachments (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chat_id TEXT REFERENCES chats (id) ON DELETE CASCADE,
    blob_id TEXT NOT NULL REFERENCES blobs (id),
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    hash TEXT NOT NULL,
    width INTEGER,
    height INTEGER,
    created_at_ms INTEGER NOT NULL,
    sent_at_ms INTEGER
) STRICT;
CREATE INDEX attachments_by_chat ON attachments (chat_id, id);
CREATE INDEX attachments_by_owner ON attachments (owner_id, chat_id);
CREATE INDEX attachments_by_blob ON attachments (blob_id);
CREATE INDEX attachments_by_sending ON attachments (sent_at_ms, created_at_ms);
