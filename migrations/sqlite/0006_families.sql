-- Chats that other chats begin and wait for, budgets, and a call that waits for them.

ALTER TABLE chats ADD COLUMN root_id TEXT;
ALTER TABLE chats ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN agent_type TEXT
    CHECK (agent_type IN ('general', 'explore'));
ALTER TABLE chats ADD COLUMN spawned_by TEXT;
ALTER TABLE chats ADD COLUMN reports INTEGER NOT NULL DEFAULT FALSE;
ALTER TABLE chats ADD COLUMN outcome TEXT
    CHECK (outcome IN ('done', 'failed', 'paused', 'interrupted'));
ALTER TABLE chats ADD COLUMN awaited_agents INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN budget TEXT;
ALTER TABLE chats ADD COLUMN worked_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN total_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN total_cost_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN granted_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chats ADD COLUMN granted_cost_micros INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX chats_by_spawn ON chats (spawned_by);
CREATE INDEX chats_by_root ON chats (root_id);

-- Whom a call waits for. The rows of a batch that was given up stay until the agent ends.
CREATE TABLE agent_waits (
    op_id TEXT NOT NULL REFERENCES operations (op_id) ON DELETE CASCADE,
    agent_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    PRIMARY KEY (op_id, agent_id)
) STRICT;
CREATE INDEX agent_waits_by_agent ON agent_waits (agent_id);

-- A list of values in a CHECK cannot grow in place on both databases: a new column takes over.
ALTER TABLE operations ADD COLUMN gate_of TEXT NOT NULL DEFAULT 'open'
    CHECK (gate_of IN ('open', 'approval', 'question', 'plan', 'client', 'agents'));
UPDATE operations SET gate_of = gate WHERE gate <> 'open';
ALTER TABLE operations DROP COLUMN gate;
ALTER TABLE operations RENAME COLUMN gate_of TO gate;

ALTER TABLE usage_entries ADD COLUMN purpose_of TEXT NOT NULL DEFAULT 'step'
    CHECK (purpose_of IN ('step', 'compaction', 'title', 'label', 'advisor'));
UPDATE usage_entries SET purpose_of = purpose WHERE purpose <> 'step';
ALTER TABLE usage_entries DROP COLUMN purpose;
ALTER TABLE usage_entries RENAME COLUMN purpose_of TO purpose;

ALTER TABLE spans ADD COLUMN kind_of TEXT NOT NULL DEFAULT 'turn'
    CHECK (kind_of IN ('turn', 'step', 'attempt', 'tool', 'compaction', 'advisor'));
UPDATE spans SET kind_of = kind WHERE kind <> 'turn';
ALTER TABLE spans DROP COLUMN kind;
ALTER TABLE spans RENAME COLUMN kind_of TO kind;
