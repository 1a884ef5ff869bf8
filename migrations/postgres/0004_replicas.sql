-- Several servers on one database: where their daemons are, and since when a chat waits for one.

ALTER TABLE replicas ADD COLUMN daemon_addr TEXT;

CREATE TABLE links (
    workspace_id TEXT NOT NULL PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    replica_id TEXT,
    epoch BIGINT NOT NULL,
    hello BYTEA NOT NULL,
    since_ms BIGINT NOT NULL
);
CREATE INDEX links_by_replica ON links (replica_id);

ALTER TABLE chats ADD COLUMN runnable_since_ms BIGINT;
CREATE INDEX chats_by_wait ON chats (runnable_since_ms, id);
