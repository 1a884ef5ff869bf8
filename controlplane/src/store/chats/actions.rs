//! Calls that wait for a person or a client: decided once, in one transaction with its audit row.
//!
//! A call that waits is a row of `operations` with a `gate`; its arguments never change, so what
//! was shown is what runs. A decision opens the gate or is the call's answer; either happens only
//! while the row waits, so it happens once, from whichever device it comes first.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::ids::{ChatId, OpId, ReplicaId, UserId, WorkspaceId};

use super::ChatStore;
use super::effects::{operation_columns, read_operations};
use super::entries::{OperationPhase, OperationRow};
use super::guard::Held;
use super::rows::{Acquired, ChatRow};
use super::user::{acquired, claim_if_runnable};
use crate::chat::content::Plan;
use crate::chat::machine::{Awaited, Event, Gate, Pattern, Refusal, Rule, ToolAnswer};
use crate::store::audit::{self, NewAudit};
use crate::store::db::{in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::row::{Columns, Reader};
use crate::store::text::{clean, json};
use crate::text_enum::text_enum;

const FIND: &str =
    concat!("SELECT ", operation_columns!(), " FROM operations WHERE op_id = $1 AND chat_id = $2");
const OPEN: &str = "UPDATE operations SET gate = 'open', decision = $3 \
     WHERE op_id = $1 AND chat_id = $2 AND gate <> 'open' AND state = 'intended' AND sealed = FALSE";
const CLOSE: &str = "UPDATE operations SET gate = 'agents', deadline_at_ms = $3 \
     WHERE op_id = $1 AND chat_id = $2 AND gate = 'open' AND state = 'intended' AND sealed = FALSE";
const DECIDED: &str = "UPDATE operations SET decision = $3 WHERE op_id = $1 AND chat_id = $2";
const OF_CLIENT: &str = concat!(
    "SELECT ",
    operation_columns!(),
    " FROM operations WHERE chat_id = $1 AND sealed = FALSE AND gate = 'client' ORDER BY ordinal"
);
const OVERDUE: &str = "SELECT chat_id, op_id FROM operations \
     WHERE sealed = FALSE AND state = 'intended' AND gate <> 'open' AND deadline_at_ms <= $1 \
     ORDER BY deadline_at_ms LIMIT $2";
const RULES: &str = "SELECT id, tool, pattern FROM approval_rules WHERE owner_id = $1 AND \
     (scope = 'user' OR (scope = 'workspace' AND workspace_id = $2) \
     OR (scope = 'chat' AND chat_id = $3))";
const ADD_RULE: &str = "INSERT INTO approval_rules \
     (id, owner_id, scope, chat_id, workspace_id, tool, pattern, created_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const LIST_RULES: &str = "SELECT id, scope, chat_id, workspace_id, tool, pattern, created_at_ms \
     FROM approval_rules WHERE owner_id = $1 ORDER BY id DESC LIMIT 500";
const DELETE_RULE: &str = "DELETE FROM approval_rules WHERE id = $1 AND owner_id = $2";

pub(super) const STATEMENTS: &[&str] =
    &[FIND, OPEN, CLOSE, DECIDED, OF_CLIENT, OVERDUE, RULES, ADD_RULE, LIST_RULES, DELETE_RULE];

text_enum! {
    /// For which chats a rule stands.
    RuleScope {
        /// The chat in which it was made.
        Chat = "chat",
        /// Every chat of the person in the workspace.
        Workspace = "workspace",
        /// Every chat of the person.
        User = "user",
    }
}

/// What was decided of a call that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may run, this time.
    Once,
    /// It may run, and so may others like it.
    Always,
    /// It may not run.
    Denied,
    /// A person or a client answered.
    Answered,
    /// Nobody did in time.
    Expired,
}

/// A decision as it is kept with the call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// What.
    pub verdict: Verdict,
    /// Who; none: the clock.
    pub by: Option<UserId>,
    /// For the model, from the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A rule to be made with a decision.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// For which chats.
    pub scope: RuleScope,
    /// For which calls of the tool.
    pub pattern: Pattern,
}

/// A rule that was made.
#[derive(Clone, Debug)]
pub struct RuleRow {
    /// Its id.
    pub id: String,
    /// For which chats.
    pub scope: RuleScope,
    /// The chat, for that scope.
    pub chat_id: Option<ChatId>,
    /// The workspace, for that scope.
    pub workspace_id: Option<WorkspaceId>,
    /// The tool.
    pub tool: String,
    /// For which of its calls.
    pub pattern: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// How a call that waits is settled.
#[derive(Clone, Debug)]
pub enum Settle {
    /// It may run; a rule is made with it, if there is one.
    Allow(Option<NewRule>),
    /// This is its answer, and what else changes with it.
    Answer {
        /// What the model is told.
        answer: ToolAnswer,
        /// The plan that was approved.
        plan: Option<Plan>,
        /// The mode from now on.
        mode: Option<String>,
    },
}

/// A decision to be made.
#[derive(Clone, Debug)]
pub struct Decide {
    /// Which call.
    pub op_id: OpId,
    /// What it must wait for; anything else is not found.
    pub gate: Gate,
    /// The hash that was shown; none: whoever decides was shown nothing.
    pub args_hash: Option<String>,
    /// How it is settled.
    pub settle: Settle,
    /// As it is kept.
    pub decision: Decision,
    /// The audit row.
    pub audit: NewAudit,
    /// As in [`NewChat::claim`](super::NewChat::claim).
    pub claim: Option<ReplicaId>,
}

/// What became of a decision.
#[derive(Clone, Debug)]
pub struct Acted {
    /// The chat after it.
    pub chat: ChatRow,
    /// The claim, if one was asked for and the chat has work again.
    pub acquired: Option<Acquired>,
}

/// A call whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverdueCall {
    /// Its chat.
    pub chat_id: ChatId,
    /// Which.
    pub op_id: OpId,
}

impl Held<'_> {
    pub(super) async fn operation(
        &mut self,
        op_id: OpId,
    ) -> Result<Option<OperationRow>, StoreError> {
        on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(FIND)
                .bind(op_id.to_string())
                .bind(self.chat.id.to_string())
                .fetch_optional(conn)
                .await?;
            row.as_ref().map(OperationRow::read).transpose()
        })
    }

    pub(super) async fn open_gate(&mut self, op_id: OpId) -> Result<(), StoreError> {
        let opened = self.note(OPEN, op_id).await?;
        if opened == 1 { Ok(()) } else { Err(StoreError::Conflict) }
    }

    /// Lets a call wait for agents.
    pub(super) async fn close_gate(&mut self, op_id: OpId) -> Result<(), StoreError> {
        let deadline = self.deadline_at_ms;
        let closed = on_pool!(self.tx.conn(), |conn| {
            sqlx::query(CLOSE)
                .bind(op_id.to_string())
                .bind(self.chat.id.to_string())
                .bind(deadline)
                .execute(conn)
                .await?
                .rows_affected()
        });
        self.chat.awaited_agents += 1;
        if closed == 1 { Ok(()) } else { Err(StoreError::Conflict) }
    }

    pub(super) async fn record_answer(&mut self, answer: &ToolAnswer) -> Result<(), StoreError> {
        self.record_result(answer).await?;
        self.note(DECIDED, answer.op_id).await.map(drop)
    }

    async fn note(&mut self, sql: &'static str, op_id: OpId) -> Result<u64, StoreError> {
        let decision = self.decision.as_ref().map(json);
        Ok(on_pool!(self.tx.conn(), |conn| {
            sqlx::query(sql)
                .bind(op_id.to_string())
                .bind(self.chat.id.to_string())
                .bind(decision)
                .execute(conn)
                .await?
                .rows_affected()
        }))
    }

    /// The rules that stand in this chat.
    pub(super) async fn rules(&mut self) -> Result<Vec<Rule>, StoreError> {
        let chat = &self.chat;
        on_pool!(self.tx.conn(), |conn| {
            let rows = sqlx::query(RULES)
                .bind(chat.owner_id.to_string())
                .bind(chat.workspace_id.map(|id| id.to_string()))
                .bind(chat.id.to_string())
                .fetch_all(conn)
                .await?;
            rows.iter()
                .map(|row| {
                    let row = Reader::of(row, "approval_rules", "id");
                    Ok(Rule {
                        tool: row.text("tool")?,
                        pattern: Pattern::new(row.text("pattern")?),
                    })
                })
                .collect()
        })
    }

    async fn add_rule(
        &mut self,
        owner: UserId,
        tool: &str,
        rule: &NewRule,
    ) -> Result<(), StoreError> {
        let chat = (rule.scope == RuleScope::Chat).then_some(self.chat.id);
        let workspace = self.chat.workspace_id.filter(|_| rule.scope == RuleScope::Workspace);
        let id = self.base.ids.ulid();
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(ADD_RULE)
                .bind(id.to_string())
                .bind(owner.to_string())
                .bind(rule.scope.as_str())
                .bind(chat.map(|id| id.to_string()))
                .bind(workspace.map(|id| id.to_string()))
                .bind(tool)
                .bind(clean(rule.pattern.as_str()))
                .bind(self.now_ms)
                .execute(conn)
                .await?;
        });
        Ok(())
    }
}

/// How a stored call looks to one that wants to decide it.
fn awaited(row: Option<&OperationRow>, gate: Gate) -> Awaited {
    match row {
        Some(row) if row.gate == gate && row.is_awaited() && !row.sealed => Awaited::Waiting,
        // An allowed call's gate is open from then on.
        Some(row) if row.gate == gate || row.gate == Gate::Open && gate == Gate::Approval => {
            Awaited::Resolved
        }
        _ => Awaited::Unknown,
    }
}

impl ChatStore {
    /// Settles a call that waits for a person.
    ///
    /// Errors: [`StoreError::Refused`] with `action_not_found`, `action_resolved`,
    /// `action_mismatch`.
    pub async fn decide(&self, id: ChatId, decide: &Decide) -> Result<Acted, StoreError> {
        shared::fault::pass("a0 decide").await;
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let row = held.operation(decide.op_id).await?;
            let found = awaited(row.as_ref(), decide.gate);
            if let (Awaited::Waiting, Some(row)) = (found, &row)
                && decide.args_hash.as_ref().is_some_and(|hash| *hash != row.args_hash)
            {
                return_refused(Refusal::ActionMismatch)?;
            }
            held.decision = Some(decide.decision.clone());
            match &decide.settle {
                Settle::Allow(rule) => {
                    held.apply(Event::Approve { op_id: decide.op_id, found }, None).await?;
                    if let (Some(rule), Some(row), Some(by)) = (rule, &row, decide.decision.by) {
                        held.add_rule(by, &row.tool, rule).await?;
                    }
                }
                Settle::Answer { answer, plan, mode } => {
                    held.apply(Event::Answer { answer: answer.clone(), found }, None).await?;
                    if plan.is_some() {
                        held.chat.plan.clone_from(plan);
                    }
                    if let Some(mode) = mode {
                        held.chat.mode.clone_from(mode);
                    }
                }
            }
            claim_if_runnable(&mut held, decide.claim).await?;
            held.save().await?;
            audit::keep(held.tx, &self.base, &decide.audit).await?;
            Acted { acquired: acquired(&held), chat: held.chat }
        })
    }

    /// Takes the client's results: one for each of its outstanding calls, by call id.
    ///
    /// Errors: [`StoreError::Refused`] with `client_result_unexpected`, `…_duplicate`, `…_missing`.
    pub async fn client_results(
        &self,
        id: ChatId,
        by: UserId,
        results: &[(String, Value, bool)],
        claim: Option<ReplicaId>,
    ) -> Result<Acted, StoreError> {
        shared::fault::pass("a0 decide").await;
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let calls: Vec<OperationRow> = on_pool!(held.tx.conn(), |conn| {
                read_operations(
                    &sqlx::query(OF_CLIENT).bind(id.to_string()).fetch_all(conn).await?,
                )?
            });
            fits(&calls, results)?;
            held.decision = Some(Decision { verdict: Verdict::Answered, by: Some(by), note: None });
            for (call, result, is_error) in results {
                let Some(row) = calls.iter().find(|row| row.tool_call_id == *call) else {
                    continue;
                };
                let waited = held.now_ms.saturating_sub(row.started_at_ms).max(0).unsigned_abs();
                let answer = ToolAnswer {
                    op_id: row.op_id,
                    result: result.clone(),
                    is_error: *is_error,
                    duration_ms: waited,
                    plan: None,
                };
                held.apply(Event::Answer { answer, found: Awaited::Waiting }, None).await?;
            }
            claim_if_runnable(&mut held, claim).await?;
            held.save().await?;
            Acted { acquired: acquired(&held), chat: held.chat }
        })
    }

    /// Calls whose time is over, longest first.
    pub async fn overdue(&self, limit: u32) -> Result<Vec<OverdueCall>, StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.reader(), |pool| {
            let rows =
                sqlx::query(OVERDUE).bind(now).bind(i64::from(limit)).fetch_all(pool).await?;
            rows.iter()
                .map(|row| {
                    let row = Reader::of(row, "operations", "op_id");
                    Ok(OverdueCall { chat_id: row.parsed("chat_id")?, op_id: row.parsed("op_id")? })
                })
                .collect()
        })
    }

    /// Gives up one call whose time is over. None: it was answered after all, or its time is not
    /// over.
    pub async fn expire(&self, call: OverdueCall) -> Result<Option<ChatRow>, StoreError> {
        let outcome = in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, call.chat_id).await?;
            let row = held.operation(call.op_id).await?;
            let overdue = row.filter(|row| {
                row.is_awaited()
                    && !row.sealed
                    && row.deadline_at_ms.is_some_and(|deadline| deadline <= held.now_ms)
            });
            let found = if overdue.is_some() { Awaited::Waiting } else { Awaited::Resolved };
            let for_agents = overdue.is_some_and(|row| row.gate == Gate::Agents);
            let answer = if for_agents {
                held.chat.awaited_agents -= 1;
                held.answer_of_agents(call.op_id, true).await?
            } else {
                let result = serde_json::json!({ "error": { "code": "timed_out",
                    "message": "The client that runs this tool did not answer in time." } });
                ToolAnswer { op_id: call.op_id, result, is_error: true, duration_ms: 0, plan: None }
            };
            held.decision = Some(Decision { verdict: Verdict::Expired, by: None, note: None });
            held.apply(Event::Expire { answer, found }, None).await?;
            held.save().await?;
            held.chat
        });
        match outcome {
            Ok(chat) => Ok(Some(chat)),
            Err(StoreError::Refused(_) | StoreError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One operation of a chat.
    pub async fn operation(
        &self,
        chat: ChatId,
        op_id: OpId,
    ) -> Result<Option<OperationRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(FIND)
                .bind(op_id.to_string())
                .bind(chat.to_string())
                .fetch_optional(pool)
                .await?;
            row.as_ref().map(OperationRow::read).transpose()
        })
    }

    /// The rules of a person, newest first, at most 500.
    pub async fn approval_rules(&self, owner: UserId) -> Result<Vec<RuleRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(LIST_RULES).bind(owner.to_string()).fetch_all(pool).await?;
            rows.iter().map(rule).collect()
        })
    }

    /// Takes a rule back. Whether there was one.
    pub async fn delete_approval_rule(&self, owner: UserId, id: &str) -> Result<bool, StoreError> {
        let gone = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE_RULE)
                .bind(clean(id))
                .bind(owner.to_string())
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(gone > 0)
    }
}

fn return_refused(refusal: Refusal) -> Result<(), StoreError> {
    Err(StoreError::Refused(refusal))
}

/// Whether there is exactly one result for each call that waits.
fn fits(calls: &[OperationRow], results: &[(String, Value, bool)]) -> Result<(), StoreError> {
    for (at, (call, ..)) in results.iter().enumerate() {
        if results[..at].iter().any(|(before, ..)| before == call) {
            return return_refused(Refusal::ClientResultDuplicate);
        }
        match calls.iter().find(|row| row.tool_call_id == *call) {
            None => return return_refused(Refusal::ClientResultUnexpected),
            Some(row) if row.phase == OperationPhase::Done => {
                return return_refused(Refusal::ActionResolved);
            }
            Some(_) => {}
        }
    }
    let open = calls.iter().filter(|row| row.is_awaited()).count();
    if results.len() < open {
        return return_refused(Refusal::ClientResultMissing);
    }
    if results.is_empty() {
        return return_refused(Refusal::ActionNotFound);
    }
    Ok(())
}

fn rule<R: Columns>(row: &R) -> Result<RuleRow, StoreError> {
    let row = Reader::of(row, "approval_rules", "id");
    Ok(RuleRow {
        id: row.text("id")?,
        scope: row.parsed("scope")?,
        chat_id: row.parsed_or_null("chat_id")?,
        workspace_id: row.parsed_or_null("workspace_id")?,
        tool: row.text("tool")?,
        pattern: row.text("pattern")?,
        created_at_ms: row.int("created_at_ms")?,
    })
}
