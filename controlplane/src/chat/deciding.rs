//! What people and clients decide of calls that wait: approvals, plans, answers, results.
//!
//! Each is one commit with its audit row. The decision is made of what is stored, never of what the
//! caller sends: it names the call, and (if it wants) the hash of what it was shown.

use serde_json::{Value, json};
use shared::ids::{ChatId, OpId, RequestId, UserId};

use super::actions;
use super::content::{Plan, PlanStatus, PlanStep};
use super::machine::{Gate, Pattern, Refusal, ToolAnswer};
use super::service::ChatService;
use crate::store::chats::{
    ChatRow, Decide, Decision, NewRule, OperationRow, RuleScope, Settle, Verdict,
};
use crate::store::{NewAudit, StoreError};

/// Steps of one plan.
pub const PLAN_STEPS_MAX: usize = 100;

/// Why a decision was not made.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// The store did not take it.
    #[error("the decision was not kept")]
    Store(#[from] StoreError),
    /// It cannot be made in this way.
    #[error("{detail}")]
    Invalid {
        /// JSON pointer into the request.
        pointer: String,
        /// What is wrong, for people.
        detail: String,
    },
}

impl DecisionError {
    fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Who decides, of what.
#[derive(Clone, Debug)]
pub struct Ruling {
    /// Who.
    pub user: UserId,
    /// Of which chat.
    pub chat: ChatId,
    /// Of which call.
    pub op_id: OpId,
    /// The hash that was shown; none: nothing was shown.
    pub args_hash: Option<String>,
    /// For the model.
    pub note: Option<String>,
    /// The HTTP request, for the audit.
    pub request_id: Option<RequestId>,
}

/// What is decided of a call or a plan.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Do it.
    Allow,
    /// Do it, and others like it without asking. Not for plans.
    Always {
        /// In which chats.
        scope: RuleScope,
        /// Which others; none: those that are the same.
        pattern: Option<String>,
    },
    /// Do not.
    Deny,
}

/// What is changed of a plan while it is approved.
#[derive(Clone, Debug, Default)]
pub struct PlanChanges {
    /// The steps as the user wants them; none: as they were proposed.
    pub steps: Option<Vec<String>>,
    /// The mode in which it is carried out; none: `edit`.
    pub mode: Option<String>,
}

/// The answer to one question.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Labels of the options that were chosen.
    pub selected: Vec<String>,
    /// In the user's own words.
    pub text: Option<String>,
}

impl ChatService {
    /// Allows or denies a call, or approves or rejects a plan.
    ///
    /// # Errors
    /// `action_not_found`, `action_resolved`, `action_mismatch`; or the choice cannot be made.
    pub async fn rule_on(
        &self,
        ruling: Ruling,
        choice: Choice,
        plan: PlanChanges,
    ) -> Result<ChatRow, DecisionError> {
        let row = self.awaited(&ruling).await?;
        if row.gate == Gate::Plan {
            return self.rule_on_plan(ruling, &row, &choice, plan).await;
        }
        if plan.steps.is_some() || plan.mode.is_some() {
            return Err(DecisionError::invalid("/steps", "only a plan has steps and a mode"));
        }
        let (settle, verdict) = match choice {
            Choice::Allow => (Settle::Allow(None), Verdict::Once),
            Choice::Always { scope, pattern } => {
                (Settle::Allow(Some(new_rule(&row, scope, pattern)?)), Verdict::Always)
            }
            Choice::Deny => {
                let result = denied("The user denied this call; nothing was done.", &ruling.note);
                (answer_of(&row, result, true), Verdict::Denied)
            }
        };
        self.settle(ruling, &row, Gate::Approval, settle, verdict).await
    }

    async fn rule_on_plan(
        &self,
        ruling: Ruling,
        row: &OperationRow,
        choice: &Choice,
        changes: PlanChanges,
    ) -> Result<ChatRow, DecisionError> {
        let (settle, verdict) = match choice {
            Choice::Always { .. } => {
                return Err(DecisionError::invalid("/decision", "a plan is approved once"));
            }
            Choice::Deny => {
                let text = "The user did not approve this plan. Stay in plan mode.";
                (answer_of(row, denied(text, &ruling.note), true), Verdict::Denied)
            }
            Choice::Allow => {
                let plan = plan_of(row, changes.steps)?;
                let mode = changes.mode.unwrap_or_else(|| "edit".to_owned());
                let result = json!({
                    "approved": true, "plan": plan, "mode": mode, "note": ruling.note,
                    "next": "Carry it out now. Tick each step with update_plan.",
                });
                let Settle::Answer { answer, .. } = answer_of(row, result, false) else {
                    return Err(StoreError::NotFound.into());
                };
                let (plan, mode) = (Some(plan), Some(mode));
                (Settle::Answer { answer, plan, mode }, Verdict::Once)
            }
        };
        self.settle(ruling, row, Gate::Plan, settle, verdict).await
    }

    /// Answers the questions of a call, all of them; none: the user skips them.
    ///
    /// # Errors
    /// As [`rule_on`](Self::rule_on).
    pub async fn answer(
        &self,
        ruling: Ruling,
        replies: Option<Vec<Reply>>,
    ) -> Result<ChatRow, DecisionError> {
        let row = self.awaited(&ruling).await?;
        let result = match replies {
            Some(replies) => json!({ "answers": answers(&row, &replies)?, "note": ruling.note }),
            None => json!({ "skipped": true, "note": ruling.note,
                "message": "The user skipped the questions. Decide yourself, and say what you chose." }),
        };
        let settle = answer_of(&row, result, false);
        self.settle(ruling, &row, Gate::Question, settle, Verdict::Answered).await
    }

    /// The stored call that is to be decided.
    async fn awaited(&self, ruling: &Ruling) -> Result<OperationRow, DecisionError> {
        self.own(ruling.user, ruling.chat).await?;
        let row = self.store.operation(ruling.chat, ruling.op_id).await?;
        Ok(row.ok_or(StoreError::Refused(Refusal::ActionNotFound))?)
    }

    async fn settle(
        &self,
        ruling: Ruling,
        row: &OperationRow,
        gate: Gate,
        settle: Settle,
        verdict: Verdict,
    ) -> Result<ChatRow, DecisionError> {
        let rule = match &settle {
            Settle::Allow(Some(rule)) => {
                Some(json!({ "pattern": rule.pattern.as_str(), "scope": rule.scope.as_str() }))
            }
            _ => None,
        };
        let audit = NewAudit {
            actor_id: Some(ruling.user),
            action: match gate {
                Gate::Question => "question.answer".to_owned(),
                Gate::Plan => "plan.decide".to_owned(),
                _ => "approval.decide".to_owned(),
            },
            target: Some(ruling.chat.to_string()),
            detail: json!({
                "operation": row.op_id, "tool": row.tool, "args_hash": row.args_hash,
                "verdict": verdict, "rule": rule, "note": ruling.note,
            }),
            request_id: ruling.request_id,
        };
        let mut decide = Decide {
            op_id: row.op_id,
            gate,
            args_hash: ruling.args_hash,
            settle,
            decision: Decision { verdict, by: Some(ruling.user), note: ruling.note },
            audit,
            claim: None,
        };
        let (this, chat) = (self.clone(), ruling.chat);
        let near = self.own(ruling.user, chat).await?.workspace_id;
        let row = self.to_the_end(async move {
            let seat = this.worker.seat(near);
            decide.claim = seat.as_ref().map(|seat| seat.replica());
            let acted = this.store.decide(chat, &decide).await?;
            shared::fault::pass("a1 decided").await;
            this.seated(seat, acted.acquired);
            this.changed(&acted.chat);
            Ok(acted.chat)
        });
        Ok(row.await?)
    }

    /// Takes the results of the client's tools: one for each of its outstanding calls, as call id,
    /// result and whether it went wrong.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: the results are not exactly those that are due.
    pub async fn client_results(
        &self,
        user: UserId,
        chat: ChatId,
        results: Vec<(String, Value, bool)>,
    ) -> Result<ChatRow, StoreError> {
        let near = self.own(user, chat).await?.workspace_id;
        let this = self.clone();
        self.to_the_end(async move {
            let seat = this.worker.seat(near);
            let claim = seat.as_ref().map(|seat| seat.replica());
            let acted = this.store.client_results(chat, user, &results, claim).await?;
            shared::fault::pass("a1 decided").await;
            this.seated(seat, acted.acquired);
            this.changed(&acted.chat);
            Ok(acted.chat)
        })
        .await
    }
}

fn answer_of(row: &OperationRow, result: Value, is_error: bool) -> Settle {
    let answer = ToolAnswer { op_id: row.op_id, result, is_error, duration_ms: 0, plan: None };
    Settle::Answer { answer, plan: None, mode: None }
}

fn denied(text: &str, note: &Option<String>) -> Value {
    json!({ "error": { "code": "denied", "message": text, "note": note } })
}

fn new_rule(
    row: &OperationRow,
    scope: RuleScope,
    pattern: Option<String>,
) -> Result<NewRule, DecisionError> {
    let Some(subject) = actions::subject(&row.tool, &row.args) else {
        let detail = "no rule can stand for this call: allow it once";
        return Err(DecisionError::invalid("/decision", detail));
    };
    let exact = pattern.is_none();
    let pattern = Pattern::new(pattern.unwrap_or_else(|| subject.clone()));
    // A command with a star in it is no pattern, and would be one as a rule.
    if exact && subject.contains('*') || !pattern.matches(&subject) {
        let detail = "the pattern does not stand for the call that is allowed with it";
        return Err(DecisionError::invalid("/pattern", detail));
    }
    Ok(NewRule { scope, pattern })
}

/// The plan that was proposed, with the user's steps where there are any.
fn plan_of(row: &OperationRow, steps: Option<Vec<String>>) -> Result<Plan, DecisionError> {
    let proposed = || {
        let steps = row.args["steps"].as_array().into_iter().flatten();
        steps.filter_map(|step| step.as_str().or(step["text"].as_str())).map(str::to_owned)
    };
    let steps: Vec<String> = steps.unwrap_or_else(|| proposed().collect());
    let steps: Vec<PlanStep> = steps
        .into_iter()
        .filter(|text| !text.trim().is_empty())
        .map(|text| PlanStep { text, status: PlanStatus::Pending })
        .collect();
    if steps.is_empty() || steps.len() > PLAN_STEPS_MAX {
        let detail = format!("a plan has 1 to {PLAN_STEPS_MAX} steps");
        return Err(DecisionError::invalid("/steps", detail));
    }
    let title = row.args["title"].as_str().unwrap_or_default().to_owned();
    Ok(Plan { title, steps })
}

/// The answers beside their questions, for the model.
fn answers(row: &OperationRow, replies: &[Reply]) -> Result<Vec<Value>, DecisionError> {
    let questions = row.args["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if questions.len() != replies.len() {
        let detail = format!("{} answers are due, one for each question", questions.len());
        return Err(DecisionError::invalid("/answers", detail));
    }
    questions.iter().zip(replies).enumerate().map(|(at, it)| answer(at, it.0, it.1)).collect()
}

fn answer(at: usize, question: &Value, reply: &Reply) -> Result<Value, DecisionError> {
    let invalid = |field: &str, detail: &str| {
        Err(DecisionError::invalid(format!("/answers/{at}/{field}"), detail))
    };
    let options = question["options"].as_array().map(Vec::as_slice).unwrap_or_default();
    let known = |label: &String| options.iter().any(|option| option["label"] == label.as_str());
    if !reply.selected.iter().all(known) {
        return invalid("selected", "one of the labels of the question's options is due");
    }
    let multiple = question["multiple"].as_bool().unwrap_or(false);
    if reply.selected.len() > 1 && !multiple {
        return invalid("selected", "one option can be chosen");
    }
    let text = reply.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    if text.is_none() && reply.selected.is_empty() {
        return invalid("selected", "an option or a text is due");
    }
    Ok(json!({ "question": question["question"], "selected": reply.selected, "text": text }))
}
