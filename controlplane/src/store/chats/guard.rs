//! The chat's row, held for the length of one transaction.
//!
//! Taking it raises `snapshot_version` by one and locks the row on both databases; a worker's fence
//! stands in the same statement. What the machine decided is written back once, at the end.

use shared::ids::{ChatId, ReplicaId};

use super::actions::Decision;
use super::entries::{MessageRow, OperationRow, QueuedRow};
use super::rows::{ChatRow, WorkerFence};
use crate::chat::content::Effort;
use crate::chat::family::Outcome;
use crate::chat::machine::{ChatMachine, Effect, Event, ExecutionState};
use crate::store::Base;
use crate::store::db::{Tx, on_pool};
use crate::store::error::StoreError;
use crate::store::text::json;

macro_rules! chat_columns {
    () => {
        "id, owner_id, workspace_id, parent_id, model_id, mode, title, title_source, label, \
         status, archived, snapshot_version, history_version, queue_version, attempt, \
         retry_state, last_error, worker_id, runner_id, epoch, steps_in_turn, queue_length, \
         steered_length, unanswered, awaited, effort, plan, client_tools, leaf_id, forked_from, \
         last_seq, runnable_since_ms, created_at_ms, updated_at_ms, root_id, depth, agent_type, \
         spawned_by, reports, outcome, awaited_agents, budget, worked_ms, total_tokens, \
         total_cost_micros, granted_tokens, granted_cost_micros, labelled_version, \
         fallback_model_id, fallback"
    };
}
macro_rules! raise_version {
    () => {
        "UPDATE chats SET snapshot_version = snapshot_version + 1, updated_at_ms = $2 WHERE id = $1"
    };
}
pub(super) use chat_columns;

const LOCK: &str = concat!(raise_version!(), " RETURNING ", chat_columns!());
const LOCK_FENCED: &str = concat!(
    raise_version!(),
    " AND worker_id = $3 AND runner_id = $4 AND epoch = $5 AND history_version = $6 \
     AND attempt = $7 RETURNING ",
    chat_columns!()
);
// Giving a chat back is right whatever the worker has read of it last.
const LOCK_OWNED: &str = concat!(
    raise_version!(),
    " AND worker_id = $3 AND runner_id = $4 AND epoch = $5 RETURNING ",
    chat_columns!()
);
// Of two workers that saw the same epoch, one raises it; a worker without a lease gets nothing.
const LOCK_FREE: &str = concat!(
    raise_version!(),
    " AND epoch = $3 AND status IN ('running', 'interrupting') AND archived = FALSE \
     AND EXISTS (SELECT 1 FROM replicas WHERE replicas.id = $4 AND lease_until_ms > $5) \
     RETURNING ",
    chat_columns!()
);
const SAVE: &str = "UPDATE chats SET model_id = $2, status = $3, archived = $4, \
     history_version = $5, queue_version = $6, attempt = $7, retry_state = $8, last_error = $9, \
     worker_id = $10, runner_id = $11, epoch = $12, steps_in_turn = $13, queue_length = $14, \
     steered_length = $15, unanswered = $16, last_seq = $17, awaited = $18, effort = $19, \
     plan = $20, leaf_id = $21, mode = $22, reports = $23, outcome = $24, awaited_agents = $25, \
     budget = $26, worked_ms = $27, total_tokens = $28, total_cost_micros = $29, \
     granted_tokens = $30, granted_cost_micros = $31, runnable_since_ms = $32, \
     fallback = $33 \
     WHERE id = $1";

pub(super) const STATEMENTS: &[&str] = &[LOCK, LOCK_FENCED, LOCK_OWNED, LOCK_FREE, SAVE];

/// A chat whose row this transaction holds.
pub(super) struct Held<'t> {
    pub(super) tx: &'t mut Tx,
    pub(super) base: &'t Base,
    pub(super) chat: ChatRow,
    pub(super) now_ms: i64,
    machine: ChatMachine,
    pub(super) written: Written,
    /// Kept with the call that this transaction decides.
    pub(super) decision: Option<Decision>,
    /// When the call is given up that this transaction lets wait.
    pub(super) deadline_at_ms: Option<i64>,
}

/// What the effects wrote, in order.
#[derive(Default)]
pub(super) struct Written {
    /// Messages of the history.
    pub(super) messages: Vec<MessageRow>,
    /// The message that was queued or rewritten.
    pub(super) queued: Option<QueuedRow>,
    /// The intents.
    pub(super) operations: Vec<OperationRow>,
    /// Whether an attempt was counted.
    pub(super) attempt_begun: bool,
    /// Whether the chat was taken for a worker.
    pub(super) owned: bool,
}

impl<'t> Held<'t> {
    /// Takes the row for a user. Errors: [`StoreError::NotFound`].
    pub(super) async fn take(
        tx: &'t mut Tx,
        base: &'t Base,
        id: ChatId,
    ) -> Result<Self, StoreError> {
        let now_ms = base.clock.now_ms();
        let chat = on_pool!(tx.conn(), |conn| {
            let row = sqlx::query(LOCK).bind(id.to_string()).bind(now_ms).fetch_one(conn).await?;
            ChatRow::read(&row)?
        });
        Ok(Self::of(tx, base, chat, now_ms))
    }

    /// Takes the row for a worker. Errors: [`StoreError::Fenced`].
    pub(super) async fn take_fenced(
        tx: &'t mut Tx,
        base: &'t Base,
        id: ChatId,
        fence: &WorkerFence,
    ) -> Result<Self, StoreError> {
        let now_ms = base.clock.now_ms();
        let chat = on_pool!(tx.conn(), |conn| {
            let row = sqlx::query(LOCK_FENCED)
                .bind(id.to_string())
                .bind(now_ms)
                .bind(fence.worker_id.to_string())
                .bind(fence.runner_id.to_string())
                .bind(fence.epoch)
                .bind(fence.history_version)
                .bind(fence.attempt)
                .fetch_optional(conn)
                .await?;
            row.as_ref().map(ChatRow::read).transpose()?
        });
        Ok(Self::of(tx, base, chat.ok_or(StoreError::Fenced)?, now_ms))
    }

    /// Takes the row for the worker that owns the chat, whatever it has read of it. Errors:
    /// [`StoreError::Fenced`].
    pub(super) async fn take_owned(
        tx: &'t mut Tx,
        base: &'t Base,
        id: ChatId,
        fence: &WorkerFence,
    ) -> Result<Self, StoreError> {
        let now_ms = base.clock.now_ms();
        let chat = on_pool!(tx.conn(), |conn| {
            let row = sqlx::query(LOCK_OWNED)
                .bind(id.to_string())
                .bind(now_ms)
                .bind(fence.worker_id.to_string())
                .bind(fence.runner_id.to_string())
                .bind(fence.epoch)
                .fetch_optional(conn)
                .await?;
            row.as_ref().map(ChatRow::read).transpose()?
        });
        Ok(Self::of(tx, base, chat.ok_or(StoreError::Fenced)?, now_ms))
    }

    /// Takes the row for a worker that saw the chat free at `epoch`; none: it is not any more, or
    /// the worker's own lease has ended.
    pub(super) async fn take_free(
        tx: &'t mut Tx,
        base: &'t Base,
        id: ChatId,
        epoch: i64,
        replica: ReplicaId,
        lease_clock_ms: i64,
    ) -> Result<Option<Self>, StoreError> {
        let now_ms = base.clock.now_ms();
        let chat = on_pool!(tx.conn(), |conn| {
            let row = sqlx::query(LOCK_FREE)
                .bind(id.to_string())
                .bind(now_ms)
                .bind(epoch)
                .bind(replica.to_string())
                .bind(lease_clock_ms)
                .fetch_optional(conn)
                .await?;
            row.as_ref().map(ChatRow::read).transpose()?
        });
        Ok(chat.map(|chat| Self::of(tx, base, chat, now_ms)))
    }

    /// A chat that this transaction has just inserted.
    pub(super) fn born(tx: &'t mut Tx, base: &'t Base, chat: ChatRow, now_ms: i64) -> Self {
        Self::with(tx, base, chat, now_ms, ChatMachine::absent())
    }

    fn of(tx: &'t mut Tx, base: &'t Base, chat: ChatRow, now_ms: i64) -> Self {
        let machine = ChatMachine::load(chat.facts());
        Self::with(tx, base, chat, now_ms, machine)
    }

    fn with(
        tx: &'t mut Tx,
        base: &'t Base,
        chat: ChatRow,
        now_ms: i64,
        machine: ChatMachine,
    ) -> Self {
        let written = Written::default();
        Self { tx, base, chat, now_ms, machine, written, decision: None, deadline_at_ms: None }
    }

    /// Applies an event and runs its effects. Errors: [`StoreError::Refused`]; the caller passes it
    /// on, and the transaction is taken back. `worker` is whom [`Effect::Own`] means.
    pub(super) async fn apply(
        &mut self,
        event: Event,
        worker: Option<ReplicaId>,
    ) -> Result<(), StoreError> {
        for effect in self.machine.apply(event) {
            match effect {
                Effect::Refuse(refusal) => return Err(StoreError::Refused(refusal)),
                Effect::Own => self.own(worker),
                effect => self.run(effect).await?,
            }
        }
        Ok(())
    }

    /// Where the chat stands after the events so far.
    pub(super) fn state(&self) -> ExecutionState {
        self.machine.state()
    }

    fn own(&mut self, worker: Option<ReplicaId>) {
        self.chat.worker_id = worker;
        self.chat.runner_id = worker.map(|_| self.base.ids.id());
        self.chat.epoch += 1;
        self.written.owned = true;
    }

    /// Writes the chat's row. The last statement of a transaction that changed something.
    pub(super) async fn save(&mut self) -> Result<(), StoreError> {
        let chat = &mut self.chat;
        if let Some(facts) = self.machine.facts() {
            chat.status = facts.status;
            chat.archived = facts.archived;
            chat.queue_length = i64::from(facts.queue);
            chat.steered_length = i64::from(facts.steered);
            chat.unanswered = i64::from(facts.unanswered);
            chat.awaited = i64::from(facts.awaited);
        }
        let waits = chat.worker_id.is_none() && chat.state().is_runnable();
        chat.runnable_since_ms = waits.then(|| chat.runnable_since_ms.unwrap_or(self.now_ms));
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(SAVE)
                .bind(chat.id.to_string())
                .bind(chat.model_id.map(|id| id.to_string()))
                .bind(chat.status.as_str())
                .bind(chat.archived)
                .bind(chat.history_version)
                .bind(chat.queue_version)
                .bind(chat.attempt)
                .bind(chat.retry.as_ref().map(json))
                .bind(chat.last_error.as_ref().map(json))
                .bind(chat.worker_id.map(|id| id.to_string()))
                .bind(chat.runner_id.map(|id| id.to_string()))
                .bind(chat.epoch)
                .bind(chat.steps_in_turn)
                .bind(chat.queue_length)
                .bind(chat.steered_length)
                .bind(chat.unanswered)
                .bind(chat.last_seq)
                .bind(chat.awaited)
                .bind(chat.effort.map(Effort::as_str))
                .bind(chat.plan.as_ref().map(json))
                .bind(chat.leaf_id.map(|id| id.to_string()))
                .bind(&chat.mode)
                .bind(chat.reports)
                .bind(chat.outcome.map(Outcome::as_str))
                .bind(chat.awaited_agents)
                .bind(chat.budget.as_ref().map(json))
                .bind(chat.worked_ms)
                .bind(chat.total_tokens)
                .bind(chat.total_cost_micros)
                .bind(chat.granted_tokens)
                .bind(chat.granted_cost_micros)
                .bind(chat.runnable_since_ms)
                .bind(chat.fallback.as_ref().map(json))
                .execute(conn)
                .await?;
        });
        Ok(())
    }
}
