-- The first schema. See ../README.md for the rules; the other database has the same file.

CREATE TABLE settings (
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'member')),
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash TEXT NOT NULL UNIQUE,
    user_agent TEXT,
    created_at_ms INTEGER NOT NULL,
    last_used_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    last_used_at_ms INTEGER,
    expires_at_ms INTEGER
) STRICT;
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

CREATE TABLE setup_tokens (
    token_hash TEXT NOT NULL PRIMARY KEY,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE workspaces (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    device_spki TEXT,
    device_since_ms INTEGER,
    instance_id TEXT,
    version TEXT,
    os TEXT,
    arch TEXT,
    hostname TEXT,
    root TEXT,
    last_seen_at_ms INTEGER
) STRICT;

CREATE TABLE join_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    secret_hash TEXT NOT NULL UNIQUE,
    created_by TEXT REFERENCES users (id) ON DELETE SET NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER
) STRICT;
CREATE INDEX join_tokens_by_workspace ON join_tokens (workspace_id);

CREATE TABLE providers (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL
        CHECK (kind IN ('anthropic', 'openai', 'openai_compatible', 'gemini', 'scripted')),
    name TEXT NOT NULL UNIQUE,
    base_url TEXT,
    api_key BLOB,
    key_hint TEXT,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE models (
    id TEXT NOT NULL PRIMARY KEY,
    provider_id TEXT NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    display_name TEXT NOT NULL,
    context_limit INTEGER NOT NULL,
    max_output_tokens INTEGER,
    price TEXT,
    options TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    hidden INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    UNIQUE (provider_id, model)
) STRICT;

CREATE TABLE replicas (
    id TEXT NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    addr TEXT,
    version TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE chats (
    id TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    workspace_id TEXT REFERENCES workspaces (id) ON DELETE SET NULL,
    parent_id TEXT REFERENCES chats (id) ON DELETE SET NULL,
    model_id TEXT,
    mode TEXT NOT NULL CHECK (mode IN ('ask', 'plan', 'edit', 'auto')),
    title TEXT NOT NULL,
    title_source TEXT NOT NULL CHECK (title_source IN ('user', 'generated', 'first_words')),
    label TEXT,
    status TEXT NOT NULL
        CHECK (status IN ('waiting', 'running', 'interrupting', 'requires_action', 'error')),
    archived INTEGER NOT NULL,
    snapshot_version INTEGER NOT NULL,
    history_version INTEGER NOT NULL,
    queue_version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    retry_state TEXT,
    last_error TEXT,
    worker_id TEXT,
    runner_id TEXT,
    epoch INTEGER NOT NULL,
    steps_in_turn INTEGER NOT NULL,
    queue_length INTEGER NOT NULL,
    steered_length INTEGER NOT NULL,
    unanswered INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX chats_by_change ON chats (owner_id, archived, updated_at_ms, id);
CREATE INDEX chats_by_status ON chats (status, worker_id);
CREATE INDEX chats_by_workspace ON chats (workspace_id);
CREATE INDEX chats_by_parent ON chats (parent_id);

CREATE TABLE messages (
    id TEXT NOT NULL PRIMARY KEY,
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'tool')),
    content TEXT NOT NULL,
    raw_kind TEXT,
    model TEXT,
    usage TEXT,
    removed INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    UNIQUE (chat_id, seq)
) STRICT;
CREATE INDEX messages_by_revision ON messages (chat_id, revision);

CREATE TABLE queued_messages (
    id TEXT NOT NULL PRIMARY KEY,
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    steer INTEGER NOT NULL,
    content TEXT NOT NULL,
    model_id TEXT,
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX queued_messages_in_order ON queued_messages (chat_id, steer, position);

CREATE TABLE operations (
    op_id TEXT NOT NULL PRIMARY KEY,
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    tool_call_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    tool TEXT NOT NULL,
    args TEXT NOT NULL,
    args_hash TEXT NOT NULL,
    workspace_id TEXT,
    process_id TEXT,
    epoch INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intended', 'done')),
    result TEXT,
    is_error INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER,
    sealed INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    UNIQUE (chat_id, message_id, ordinal)
) STRICT;
CREATE INDEX operations_by_seal ON operations (chat_id, sealed);
CREATE INDEX operations_by_message ON operations (message_id);
CREATE INDEX operations_by_acknowledgement ON operations (workspace_id, acknowledged, op_id);

CREATE TABLE episodes (
    chat_id TEXT NOT NULL PRIMARY KEY REFERENCES chats (id) ON DELETE CASCADE,
    history_version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    parts TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency_keys (
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    holder TEXT NOT NULL,
    made TEXT,
    status INTEGER,
    body BLOB,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (owner_id, key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at_ms);

CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    actor_id TEXT,
    action TEXT NOT NULL,
    target TEXT,
    detail TEXT NOT NULL,
    request_id TEXT
) STRICT;
CREATE INDEX audit_by_actor ON audit (actor_id, id);
