-- Traces of turns, what was sent to providers, and what every model call used.

CREATE TABLE spans (
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    span_key TEXT NOT NULL,
    parent_key TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('turn', 'step', 'attempt', 'tool', 'compaction')),
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'ok', 'error', 'interrupted', 'lost')),
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    attributes TEXT NOT NULL,
    PRIMARY KEY (chat_id, span_key)
) STRICT;
CREATE INDEX spans_in_order ON spans (chat_id, started_at_ms, span_key);
CREATE INDEX spans_by_age ON spans (started_at_ms);

CREATE TABLE prompt_heads (
    hash TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    last_used_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX prompt_heads_by_age ON prompt_heads (last_used_at_ms);

CREATE TABLE usage_entries (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chat_id TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('step', 'compaction', 'title', 'label')),
    model TEXT NOT NULL,
    is_known INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_micros INTEGER,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_entries_by_owner ON usage_entries (owner_id, at_ms);
