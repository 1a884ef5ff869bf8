//! Runs the machine's effects: one method per kind, each a statement or two.

use shared::ids::MessageId;

use super::entries::{MessageRow, OperationPhase, OperationRow};
use super::guard::Held;
use crate::chat::content::{Part, Role, StoredPart, Usage};
use crate::chat::machine::{
    AssistantMessage, Effect, Gate, Intent, Mode, ToolAnswer, Unanswered, UserMessage,
};
use crate::store::db::on_pool;
use crate::store::error::StoreError;
use crate::store::row::Columns;
use crate::store::text::{clean, json};
use crate::store::usage::{self, UsageEntry, UsagePurpose};

/// How long the client that declared a tool has for its answer.
const CLIENT_TOOL_DEADLINE_MS: i64 = 5 * 60 * 1_000;

macro_rules! operation_columns {
    () => {
        "op_id, chat_id, message_id, tool_call_id, ordinal, tool, args, args_hash, workspace_id, \
         process_id, epoch, state, result, is_error, duration_ms, started_at_ms, finished_at_ms, \
         sealed, acknowledged, gate, deadline_at_ms, read_only"
    };
}

const INSERT_MESSAGE: &str = "INSERT INTO messages \
     (id, chat_id, seq, revision, role, content, raw_kind, model, usage, removed, created_at_ms, \
     parent_id, fork_id, variant, variants) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, FALSE, $10, $11, $12, $13, $14)";
const INSERT_OPERATION: &str = "INSERT INTO operations \
     (op_id, chat_id, message_id, tool_call_id, ordinal, tool, args, args_hash, workspace_id, \
     process_id, epoch, state, is_error, duration_ms, started_at_ms, sealed, acknowledged, gate, \
     deadline_at_ms, read_only) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'intended', \
     FALSE, 0, $12, FALSE, FALSE, $13, $14, $15)";
const RECORD_RESULT: &str = "UPDATE operations \
     SET state = 'done', result = $3, is_error = $4, duration_ms = $5, finished_at_ms = $6 \
     WHERE op_id = $1 AND chat_id = $2 AND state = 'intended' AND sealed = FALSE";
const ANSWER_OPEN: &str = "UPDATE operations \
     SET state = 'done', result = $2, is_error = TRUE, finished_at_ms = $3 \
     WHERE chat_id = $1 AND sealed = FALSE AND state = 'intended'";
pub(super) use operation_columns;

pub(super) const OPEN_BATCH: &str = concat!(
    "SELECT ",
    operation_columns!(),
    " FROM operations WHERE chat_id = $1 AND sealed = FALSE ORDER BY ordinal"
);
const SEAL: &str = "UPDATE operations SET sealed = TRUE WHERE chat_id = $1 AND sealed = FALSE";

pub(super) const STATEMENTS: &[&str] =
    &[INSERT_MESSAGE, INSERT_OPERATION, RECORD_RESULT, ANSWER_OPEN, OPEN_BATCH, SEAL];

/// A message on its way into the history.
#[derive(Default)]
pub(super) struct Saying {
    pub(super) content: Vec<StoredPart>,
    pub(super) raw_kind: Option<String>,
    pub(super) model: Option<String>,
    pub(super) usage: Option<Usage>,
    /// For another text of an edited message.
    pub(super) variant: Option<Variant>,
}

/// A text among those of an edited message.
pub(super) struct Variant {
    /// The first of them.
    pub(super) fork_id: MessageId,
    /// Its place, which is also how many there are.
    pub(super) number: i64,
}

impl Held<'_> {
    /// Runs one effect. `Refuse` and `Own` are the caller's.
    pub(super) async fn run(&mut self, effect: Effect) -> Result<(), StoreError> {
        match effect {
            Effect::Refuse(refusal) => return Err(StoreError::Refused(refusal)),
            Effect::AnswerOpenCalls(why) => self.answer_open_calls(why).await?,
            Effect::InsertUser(message) => self.insert_user(message, true, None).await?,
            Effect::Fork { id, message } => self.fork(id, message).await?,
            Effect::ShowBranch(id) => self.show_branch(id).await?,
            Effect::InsertAssistant(message) => self.insert_step(message).await?,
            Effect::InsertPartial(message) => self.insert_partial(message).await?,
            Effect::Intend(intents) => self.intend(&intents).await?,
            Effect::RecordResult(answer) => self.record_result(&answer).await?,
            Effect::RecordAnswer(answer) => self.record_answer(&answer).await?,
            Effect::OpenGate(op_id) => self.open_gate(op_id).await?,
            Effect::CloseGate(op_id) => self.close_gate(op_id).await?,
            Effect::SealBatch => self.seal_batch().await?,
            Effect::Enqueue { message, steer } => self.enqueue(message, steer).await?,
            Effect::Dequeue { id, .. } => self.dequeue(id).await?,
            Effect::MoveToHead { id, .. } => self.move_to_head(id).await?,
            Effect::MoveInQueue { id, to } => self.move_in_queue(id, to).await?,
            Effect::GrantSteps => {
                self.chat.fallback = None;
                self.grant().await?;
            }
            Effect::Rewrite(id, message) => self.rewrite(id, &message).await?,
            Effect::PromoteHead => self.promote_head().await?,
            Effect::PromoteSteered => self.promote_steered().await?,
            Effect::BeginAttempt => {
                self.chat.attempt += 1;
                self.chat.retry = None;
                self.written.attempt_begun = true;
            }
            Effect::NoteRetry(retry) => self.chat.retry = Some(retry),
            Effect::ClearRetry => self.chat.retry = None,
            Effect::NoteFallback(fallback) => self.chat.fallback = Some(fallback),
            Effect::NoteError(error) => self.chat.last_error = Some(error),
            Effect::ClearError => self.chat.last_error = None,
            Effect::Disown => {
                self.chat.worker_id = None;
                self.chat.runner_id = None;
            }
            // The caller copies and owns; the facts of the machine carry the other two into the row.
            Effect::CopyHistory | Effect::Own | Effect::SetStatus(_) | Effect::SetArchived(_) => {}
        }
        Ok(())
    }

    /// Appends to the history: a new history version, in which no attempt has begun.
    pub(super) async fn insert_message(
        &mut self,
        role: Role,
        saying: Saying,
    ) -> Result<(), StoreError> {
        self.history_changed();
        let chat = &mut self.chat;
        chat.last_seq += 1;
        let (fork_id, variant) =
            saying.variant.map_or((None, 1), |variant| (Some(variant.fork_id), variant.number));
        let message = MessageRow {
            id: self.base.ids.id(),
            chat_id: chat.id,
            seq: chat.last_seq,
            revision: chat.snapshot_version,
            role,
            content: saying.content,
            raw_kind: saying.raw_kind,
            model: saying.model,
            usage: saying.usage,
            removed: false,
            parent_id: chat.leaf_id,
            fork_id,
            variant,
            variants: variant,
            label: None,
            created_at_ms: self.now_ms,
        };
        chat.leaf_id = Some(message.id);
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(INSERT_MESSAGE)
                .bind(message.id.to_string())
                .bind(message.chat_id.to_string())
                .bind(message.seq)
                .bind(message.revision)
                .bind(message.role.as_str())
                .bind(json(&message.content))
                .bind(message.raw_kind.as_deref())
                .bind(message.model.as_deref().map(clean))
                .bind(message.usage.as_ref().map(json))
                .bind(message.created_at_ms)
                .bind(message.parent_id.map(|id| id.to_string()))
                .bind(message.fork_id.map(|id| id.to_string()))
                .bind(message.variant)
                .bind(message.variants)
                .execute(conn)
                .await?;
        });
        self.written.messages.push(message);
        Ok(())
    }

    /// A new history version, in which no attempt has begun.
    pub(super) fn history_changed(&mut self) {
        self.chat.history_version = self.chat.snapshot_version;
        self.chat.attempt = 0;
        self.chat.retry = None;
        self.written.attempt_begun = false;
    }

    /// Appends what a user says; `new_turn`: the steps are counted from here.
    pub(super) async fn insert_user(
        &mut self,
        message: UserMessage,
        new_turn: bool,
        variant: Option<Variant>,
    ) -> Result<(), StoreError> {
        if new_turn {
            // The model that was chosen is asked again.
            self.chat.fallback = None;
            self.grant().await?;
        }
        if message.model_id.is_some() {
            self.chat.model_id = message.model_id;
        }
        self.chat.effort = message.effort.or(self.chat.effort);
        let saying = Saying { content: message.content, variant, ..Saying::default() };
        self.insert_message(Role::User, saying).await
    }

    async fn insert_step(&mut self, message: AssistantMessage) -> Result<(), StoreError> {
        self.chat.steps_in_turn += 1;
        let AssistantMessage { content, raw_kind, model, usage, worked_ms } = message;
        self.spend(usage.as_ref(), worked_ms);
        let saying = Saying { content, raw_kind, model, usage, variant: None };
        self.insert_message(Role::Assistant, saying).await?;
        self.enter_usage().await
    }

    /// Enters what the step that was just inserted used.
    async fn enter_usage(&mut self) -> Result<(), StoreError> {
        let Some(message) = self.written.messages.last() else { return Ok(()) };
        let (Some(usage), Some(model)) = (&message.usage, &message.model) else { return Ok(()) };
        let is_summary =
            message.content.iter().any(|stored| matches!(stored.part, Part::Compaction { .. }));
        let entry = UsageEntry {
            id: message.id.to_string(),
            owner: self.chat.owner_id,
            chat: self.chat.id,
            purpose: if is_summary { UsagePurpose::Compaction } else { UsagePurpose::Step },
            model,
            usage,
            at_ms: self.now_ms,
        };
        usage::enter(self.tx, &entry).await
    }

    async fn insert_partial(&mut self, message: AssistantMessage) -> Result<(), StoreError> {
        let answers: Vec<StoredPart> = message
            .content
            .iter()
            .filter_map(|stored| match &stored.part {
                Part::ToolCall { tool_call_id, name, .. } => Some((tool_call_id, name)),
                _ => None,
            })
            .map(|(id, name)| unanswered_part(id, name, Unanswered::Interrupted))
            .collect();
        self.insert_step(message).await?;
        if answers.is_empty() {
            return Ok(());
        }
        self.insert_results(answers).await
    }

    async fn insert_results(&mut self, content: Vec<StoredPart>) -> Result<(), StoreError> {
        self.insert_message(Role::Tool, Saying { content, ..Saying::default() }).await
    }

    /// Keeps the intents of the step that was just inserted.
    async fn intend(&mut self, intents: &[Intent]) -> Result<(), StoreError> {
        let chat = &self.chat;
        let step = self.written.messages.last().map(|message| message.id);
        let message_id = step.ok_or(StoreError::Conflict)?;
        for (ordinal, intent) in (0..).zip(intents) {
            let row = OperationRow {
                op_id: intent.op_id,
                chat_id: chat.id,
                message_id,
                tool_call_id: clean(&intent.tool_call_id).into_owned(),
                ordinal,
                tool: clean(&intent.tool).into_owned(),
                args: intent.args.clone(),
                args_hash: intent.args_hash.clone(),
                workspace_id: intent.workspace_id,
                process_id: intent.process_id,
                epoch: chat.epoch,
                phase: OperationPhase::Intended,
                gate: intent.gate,
                deadline_at_ms: (intent.gate == Gate::Client)
                    .then(|| self.now_ms.saturating_add(CLIENT_TOOL_DEADLINE_MS)),
                read_only: Mode::of(&chat.mode).is_read_only(),
                result: None,
                is_error: false,
                duration_ms: 0,
                started_at_ms: self.now_ms,
                finished_at_ms: None,
                sealed: false,
                acknowledged: false,
            };
            on_pool!(self.tx.conn(), |conn| {
                sqlx::query(INSERT_OPERATION)
                    .bind(row.op_id.to_string())
                    .bind(row.chat_id.to_string())
                    .bind(row.message_id.to_string())
                    .bind(&row.tool_call_id)
                    .bind(row.ordinal)
                    .bind(&row.tool)
                    .bind(json(&row.args))
                    .bind(&row.args_hash)
                    .bind(row.workspace_id.map(|id| id.to_string()))
                    .bind(row.process_id.map(|id| id.to_string()))
                    .bind(row.epoch)
                    .bind(row.started_at_ms)
                    .bind(row.gate.as_str())
                    .bind(row.deadline_at_ms)
                    .bind(row.read_only)
                    .execute(conn)
                    .await?;
            });
            self.written.operations.push(row);
        }
        Ok(())
    }

    pub(super) async fn record_result(&mut self, answer: &ToolAnswer) -> Result<(), StoreError> {
        let recorded = on_pool!(self.tx.conn(), |conn| {
            sqlx::query(RECORD_RESULT)
                .bind(answer.op_id.to_string())
                .bind(self.chat.id.to_string())
                .bind(json(&answer.result))
                .bind(answer.is_error)
                .bind(i64::try_from(answer.duration_ms).unwrap_or(i64::MAX))
                .bind(self.now_ms)
                .execute(conn)
                .await?
                .rows_affected()
        });
        if recorded == 1 { Ok(()) } else { Err(StoreError::Conflict) }
    }

    async fn answer_open_calls(&mut self, why: Unanswered) -> Result<(), StoreError> {
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(ANSWER_OPEN)
                .bind(self.chat.id.to_string())
                .bind(json(&unanswered_result(why)))
                .bind(self.now_ms)
                .execute(conn)
                .await?;
        });
        self.seal_batch().await
    }

    /// Appends every answer of the open batch as one message, in the order of the calls.
    async fn seal_batch(&mut self) -> Result<(), StoreError> {
        let id = self.chat.id.to_string();
        let batch: Vec<OperationRow> = on_pool!(self.tx.conn(), |conn| {
            read_operations(&sqlx::query(OPEN_BATCH).bind(&id).fetch_all(conn).await?)?
        });
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(SEAL).bind(&id).execute(conn).await?;
        });
        self.chat.awaited_agents = 0;
        if batch.is_empty() {
            return Ok(()); // the counts of a chat that is repaired were wrong
        }
        self.insert_results(batch.into_iter().map(result_part).collect()).await
    }
}

pub(super) fn read_operations<R: Columns>(rows: &[R]) -> Result<Vec<OperationRow>, StoreError> {
    rows.iter().map(OperationRow::read).collect()
}

fn result_part(operation: OperationRow) -> StoredPart {
    Part::ToolResult {
        tool_call_id: operation.tool_call_id,
        name: operation.tool,
        result: operation.result.unwrap_or_default(),
        is_error: operation.is_error,
        duration_ms: operation.duration_ms.unsigned_abs(),
    }
    .into()
}

fn unanswered_result(why: Unanswered) -> serde_json::Value {
    serde_json::json!({ "error": why.code(), "message": why.text() })
}

fn unanswered_part(tool_call_id: &str, name: &str, why: Unanswered) -> StoredPart {
    Part::ToolResult {
        tool_call_id: tool_call_id.to_owned(),
        name: name.to_owned(),
        result: unanswered_result(why),
        is_error: true,
        duration_ms: 0,
    }
    .into()
}
