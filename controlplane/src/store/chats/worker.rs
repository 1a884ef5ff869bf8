//! What a worker does to a chat it owns. Every write carries its fence.

use shared::ids::{ChatId, OpId, ReplicaId, RunnerId};

use super::ChatStore;
use super::agents::hold_parent;
use super::asked::{Finished, Step, ToolStored};
use super::entries::OperationPhase;
use super::guard::{Held, chat_columns};
use super::rows::{Acquired, ChatRow, WorkerFence};
use crate::chat::content::{Role, Usage};
use crate::chat::event::ChatErrorView;
use crate::chat::family::{Outcome, outcome_of};
use crate::chat::machine::{
    Asked, AssistantMessage, Event, FallbackState, Gate, Intent, Mode, RetryState, ToolAnswer, gate,
};
use crate::store::db::{in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::replicas::lease_clock_ms;
use crate::store::row::Reader;
use crate::store::text::json;
use crate::store::usage::{self, UsageEntry, UsagePurpose};

const OWNED: &str = "SELECT id, epoch, runner_id FROM chats \
     WHERE status IN ('running', 'interrupting') AND worker_id = $1 ORDER BY id";
const ATTEMPT: &str = "UPDATE chats SET snapshot_version = snapshot_version + 1, \
     updated_at_ms = $2, attempt = attempt + 1, retry_state = NULL \
     WHERE id = $1 AND worker_id = $3 AND runner_id = $4 AND epoch = $5 AND history_version = $6 \
     AND attempt = $7 AND status = 'running' AND archived = FALSE AND unanswered = 0 \
     AND awaited = 0";
const RETRY: &str = concat!(
    "UPDATE chats SET snapshot_version = snapshot_version + 1, updated_at_ms = $2, \
     retry_state = $8 WHERE id = $1 AND worker_id = $3 AND runner_id = $4 AND epoch = $5 \
     AND history_version = $6 AND attempt = $7 AND status = 'running' AND archived = FALSE \
     AND unanswered = 0 AND awaited = 0 RETURNING ",
    chat_columns!()
);
const ASKED: &str = "SELECT op_id, state FROM operations \
     WHERE op_id = $1 AND chat_id = $2 AND sealed = FALSE AND (gate = 'open' OR state = 'done')";

pub(super) const STATEMENTS: &[&str] = &[OWNED, ATTEMPT, RETRY, ASKED];

impl Held<'_> {
    /// The intents with whom they wait for.
    async fn gated(&mut self, intents: &[Intent]) -> Result<Vec<Intent>, StoreError> {
        let mode = Mode::of(&self.chat.mode);
        let may_wait = |intent: &Intent| gate(mode, &intent.tool, &intent.class, &[]) != Gate::Open;
        let rules = if intents.iter().any(may_wait) { self.rules().await? } else { Vec::new() };
        let gated = |intent: &Intent| Intent {
            gate: gate(mode, &intent.tool, &intent.class, &rules),
            ..intent.clone()
        };
        Ok(intents.iter().map(gated).collect())
    }
}

impl Held<'_> {
    /// How an operation stands for one that has its answer.
    pub(super) async fn asked(&mut self, op_id: OpId) -> Result<Asked, StoreError> {
        on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(ASKED)
                .bind(op_id.to_string())
                .bind(self.chat.id.to_string())
                .fetch_optional(conn)
                .await?;
            Ok(match row {
                None => Asked::Unknown,
                Some(row) => match Reader::of(&row, "operations", "op_id").parsed("state")? {
                    OperationPhase::Intended => Asked::Open,
                    OperationPhase::Done => Asked::Answered,
                },
            })
        })
    }

    /// Keeps the answer of one tool; the last one of the batch seals it.
    pub(super) async fn store_result(&mut self, answer: &ToolAnswer) -> Result<(), StoreError> {
        let found = self.asked(answer.op_id).await?;
        self.apply(Event::StoreResult { answer: answer.clone(), found }, None).await
    }

    /// What a worker is told of the batch after this transaction.
    pub(super) fn stored(mut self, fence: &WorkerFence) -> ToolStored {
        let mut written = std::mem::take(&mut self.written.messages).into_iter();
        ToolStored {
            fence: fence.moved_to(&self.chat),
            sealed: written.next().filter(|message| message.role == Role::Tool),
            steered: written.collect(),
            attempt_begun: self.written.attempt_begun,
            chat: self.chat,
        }
    }
}

impl ChatStore {
    /// The runnable chats that are the replica's, with their epochs and runners.
    pub async fn owned(
        &self,
        replica: ReplicaId,
    ) -> Result<Vec<(ChatId, i64, RunnerId)>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(OWNED).bind(replica.to_string()).fetch_all(pool).await?;
            rows.iter()
                .map(|row| {
                    let row = Reader::of(row, "chats", "id");
                    Ok((row.parsed("id")?, row.int("epoch")?, row.parsed("runner_id")?))
                })
                .collect()
        })
    }

    /// Takes a chat that is the replica's anew, for another runner; none: it moved on since `epoch`.
    pub async fn retake(
        &self,
        replica: ReplicaId,
        id: ChatId,
        epoch: i64,
    ) -> Result<Option<Acquired>, StoreError> {
        let now = lease_clock_ms(&self.base).await?;
        self.acquire_one(replica, id, epoch, now).await
    }

    /// Gives the chat back as it is; another worker, or this one, takes it again. The fence need
    /// not know the newest history.
    pub async fn abandon(&self, id: ChatId, fence: &WorkerFence) -> Result<(), StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_owned(tx, &self.base, id, fence).await?;
            held.apply(Event::Abandon, None).await?;
            held.save().await?;
        })
    }

    /// Counts an attempt of the model call that follows, and answers its fence. One statement.
    ///
    /// Errors: [`StoreError::Fenced`], also if the chat no longer runs or calls are open.
    pub async fn record_attempt(
        &self,
        id: ChatId,
        fence: &WorkerFence,
    ) -> Result<WorkerFence, StoreError> {
        let now = self.base.clock.now_ms();
        shared::fault::pass("db attempt").await;
        let counted = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(ATTEMPT)
                .bind(id.to_string())
                .bind(now)
                .bind(fence.worker_id.to_string())
                .bind(fence.runner_id.to_string())
                .bind(fence.epoch)
                .bind(fence.history_version)
                .bind(fence.attempt)
                .execute(pool)
                .await?
                .rows_affected()
        });
        if counted == 0 {
            return Err(StoreError::Fenced);
        }
        shared::fault::pass("db attempt counted").await;
        Ok(WorkerFence { attempt: fence.attempt + 1, ..*fence })
    }

    /// Keeps why and how long the worker waits before the next attempt. One statement; the fence
    /// stays. Errors as for [`record_attempt`](Self::record_attempt).
    pub async fn record_retry(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        retry: &RetryState,
    ) -> Result<ChatRow, StoreError> {
        let now = self.base.clock.now_ms();
        let row = on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(RETRY)
                .bind(id.to_string())
                .bind(now)
                .bind(fence.worker_id.to_string())
                .bind(fence.runner_id.to_string())
                .bind(fence.epoch)
                .bind(fence.history_version)
                .bind(fence.attempt)
                .bind(json(retry))
                .fetch_optional(pool)
                .await?;
            row.as_ref().map(ChatRow::read).transpose()?
        });
        row.ok_or(StoreError::Fenced)
    }

    /// Keeps who answers for the rest of the turn, and counts the attempt of the call that follows,
    /// in one transaction: whoever looks asks the same model.
    pub async fn fall_back(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        fallback: &FallbackState,
    ) -> Result<(ChatRow, WorkerFence), StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            held.apply(Event::FallBack(fallback.clone()), None).await?;
            held.save().await?;
            let fence = fence.moved_to(&held.chat);
            (held.chat, fence)
        })
    }

    /// Keeps what the model said and what is going to be run for it, before anything is dispatched.
    /// `intents`: one for each tool call of the message, in order; whom each waits for is decided
    /// here, by the mode and the rules of this moment. If all wait for people, nobody drives the
    /// chat from here on.
    pub async fn commit_step(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        message: &AssistantMessage,
        intents: &[Intent],
    ) -> Result<Step, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            let intents = held.gated(intents).await?;
            let event = Event::CommitStep { message: message.clone(), intents };
            held.apply(event, None).await?;
            held.save().await?;
            Step {
                fence: fence.moved_to(&held.chat),
                message: held.written.messages.pop().ok_or(StoreError::NotFound)?,
                operations: held.written.operations,
                chat: held.chat,
            }
        })
    }

    /// Keeps the answer of one tool. The last one of the batch seals it in the same transaction,
    /// delivers steering messages, and begins the attempt of the model call that follows.
    pub async fn store_tool_result(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        answer: &ToolAnswer,
    ) -> Result<ToolStored, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            held.store_result(answer).await?;
            if answer.plan.is_some() {
                held.chat.plan.clone_from(&answer.plan);
            }
            held.save().await?;
            held.stored(fence)
        })
    }

    /// Keeps the answer of an advisor as that of a tool, with what its model call used.
    pub async fn store_advice(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        answer: &ToolAnswer,
        used: Option<(&str, &Usage)>,
    ) -> Result<ToolStored, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            held.store_result(answer).await?;
            held.spend(used.map(|(_, usage)| usage), 0);
            held.save().await?;
            if let Some((model, usage)) = used {
                let entry = UsageEntry {
                    id: answer.op_id.to_string(),
                    owner: held.chat.owner_id,
                    chat: id,
                    purpose: UsagePurpose::Advisor,
                    model,
                    usage,
                    at_ms: held.now_ms,
                };
                usage::enter(held.tx, &entry).await?;
            }
            held.stored(fence)
        })
    }

    /// Ends the turn: the chat rests and is free, or the head of its queue begins the next turn.
    pub async fn finish_turn(
        &self,
        id: ChatId,
        fence: &WorkerFence,
    ) -> Result<Finished, StoreError> {
        self.finish(id, fence, &Event::FinishTurn).await
    }

    /// Ends an interruption with what the model had said until then. Calls without an answer get
    /// error results; then as for [`finish_turn`](Self::finish_turn).
    pub async fn finish_interruption(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        partial: Option<&AssistantMessage>,
    ) -> Result<Finished, StoreError> {
        self.finish(id, fence, &Event::FinishInterruption { partial: partial.cloned() }).await
    }

    /// Ends the turn with an error; the queue stays for the user. Calls without an answer get error
    /// results.
    pub async fn finish_error(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        error: &ChatErrorView,
    ) -> Result<Finished, StoreError> {
        self.finish(id, fence, &Event::FinishError(error.clone())).await
    }

    async fn finish(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        event: &Event,
    ) -> Result<Finished, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            hold_parent(tx, id).await?;
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            held.apply(event.clone(), None).await?;
            let due = held.comes_to_rest(outcome(event));
            held.save().await?;
            let parent = held.come_home(due).await?;
            let messages = std::mem::take(&mut held.written.messages);
            Finished { next: held.chat.fence(), messages, parent, chat: held.chat }
        })
    }
}

/// What the end of its work makes of an agent.
fn outcome(event: &Event) -> Outcome {
    match event {
        Event::FinishInterruption { .. } => Outcome::Interrupted,
        Event::FinishError(error) => outcome_of(error),
        _ => Outcome::Done,
    }
}
