//! When a turn pauses by itself, with a reason, until somebody lets it go on: budgets, and a model that
//! goes round in circles. Pure but for what others of the family have used.
//!
//! ```text
//! before each model call:  steps, time of the row ─┐
//!                          the last steps          ├─► pause: the error state, its queue kept; Continue
//!                          tokens, money of the    │   gives the whole budget again
//!                          chat and all below it,  │
//!                          and of those above it ──┘
//! ```

use std::collections::HashMap;

use crate::chat::content::{Part, Role};
use crate::chat::context::marks::is_step;
use crate::chat::event::ChatErrorView;
use crate::store::StoreError;
use crate::store::chats::{ChatRow, ChatStore, MessageRow, Spent};

use super::failure::paused;

/// Model calls in one turn, unless the budget says otherwise.
pub(super) const STEPS_MAX: i64 = 200;
/// Most that a budget may allow.
pub(in crate::chat) const STEPS_LIMIT: u32 = 1_200;
/// Steps in a row with the same calls, the same arguments and the same answers.
pub(super) const SAME_MAX: usize = 5;
/// Steps in a row of which every call went wrong.
pub(super) const MISTAKES_MAX: usize = 8;
/// Tools that wait: to ask again is what they are for.
const POLLS: &[&str] = &["process_output", "process_list", "wait_agent", "list_agents"];

/// Why the turn pauses now, from what is stored of the chat alone; none: it may go on.
pub(super) fn pause(chat: &ChatRow, history: &[MessageRow], steps: i64) -> Option<ChatErrorView> {
    let budget = chat.budget.unwrap_or_default();
    let most = budget.steps.map_or(STEPS_MAX, |steps| i64::from(steps.min(STEPS_LIMIT)));
    if steps >= most {
        let text = format!("The turn took {most} steps. Continue gives it as many again.");
        return Some(paused("step_limit", text));
    }
    if let Some(time_s) = budget.time_s
        && chat.worked_ms >= i64::from(time_s) * 1_000
    {
        let text = format!("The turn worked for {time_s} s, which is its budget.");
        return Some(paused("budget_time", text));
    }
    let last = last_steps(history, steps);
    if let Some(first) = last.first()
        && last.len() >= SAME_MAX
        && !first.polls
        && last[..SAME_MAX].iter().all(|step| step.said == first.said)
    {
        let text = format!(
            "The model made the same call {SAME_MAX} times and got the same answer. Continue, or say \
             what it should do instead."
        );
        return Some(paused("doom_loop", text));
    }
    if last.len() >= MISTAKES_MAX && last[..MISTAKES_MAX].iter().all(|step| step.failed) {
        let text = format!(
            "Every call of the last {MISTAKES_MAX} steps went wrong. Continue, or say what the model \
             should do instead."
        );
        return Some(paused("repeated_mistakes", text));
    }
    None
}

/// A step with its answers, for comparison.
struct Step {
    said: String,
    failed: bool,
    polls: bool,
}

/// The newest steps with calls, newest first, as many as were taken since somebody last let the turn
/// go on and no more than are looked at.
fn last_steps(history: &[MessageRow], taken: i64) -> Vec<Step> {
    let taken = usize::try_from(taken).unwrap_or(0).min(SAME_MAX.max(MISTAKES_MAX));
    let mut answers: HashMap<&str, (&serde_json::Value, bool)> = HashMap::new();
    let mut steps = Vec::new();
    for row in history.iter().rev().filter(|row| !row.removed) {
        if steps.len() == taken {
            break;
        }
        match row.role {
            Role::Tool => {
                answers.clear();
                for stored in &row.content {
                    if let Part::ToolResult { tool_call_id, result, is_error, .. } = &stored.part {
                        answers.insert(tool_call_id, (result, *is_error));
                    }
                }
            }
            Role::Assistant if is_step(row) => match step(row, &answers) {
                Some(step) => steps.push(step),
                None => break,
            },
            Role::Assistant | Role::User => {}
        }
    }
    steps
}

fn step(row: &MessageRow, answers: &HashMap<&str, (&serde_json::Value, bool)>) -> Option<Step> {
    let mut step = Step { said: String::new(), failed: true, polls: true };
    for stored in &row.content {
        let Part::ToolCall { tool_call_id, name, args } = &stored.part else { continue };
        let (result, is_error) = answers.get(tool_call_id.as_str())?;
        step.failed &= is_error;
        step.polls &= POLLS.contains(&name.as_str());
        step.said.push_str(&format!("{name} {args} {}\n", timeless(result)));
    }
    (!step.said.is_empty()).then_some(step)
}

/// A result without what differs between two runs that did the same.
fn timeless(result: &serde_json::Value) -> serde_json::Value {
    const DIFFERS: &[&str] = &["duration_ms", "wall_ms", "process_id", "started_at", "ended_at"];
    match result {
        serde_json::Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !DIFFERS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Why the turn pauses now because of what it and its family used; none: it may go on.
///
/// Errors: the database's.
pub(super) async fn spent_too_much(
    store: &ChatStore,
    chat: &ChatRow,
) -> Result<Option<ChatErrorView>, StoreError> {
    if let Some(why) = over(store, chat).await? {
        return Ok(Some(why));
    }
    let mut above = chat.parent_id;
    while let Some(id) = above {
        let Some(row) = store.head(id).await? else { break };
        if over(store, &row).await?.is_some() {
            let text = format!("The conversation “{}” above it has used its budget.", row.title);
            return Ok(Some(paused("family_budget", text)));
        }
        above = row.parent_id;
    }
    Ok(None)
}

async fn over(store: &ChatStore, chat: &ChatRow) -> Result<Option<ChatErrorView>, StoreError> {
    let Some(budget) = chat.budget else { return Ok(None) };
    if budget.tokens.is_none() && budget.cost_micros.is_none() {
        return Ok(None);
    }
    let Spent { tokens, cost_micros } = store.spent(chat.id).await?;
    let used = |now: i64, then: i64| now.saturating_sub(then).max(0).unsigned_abs();
    if let Some(limit) = budget.tokens
        && used(tokens, chat.granted_tokens) >= limit
    {
        let text = format!("{limit} tokens were used, which is the budget, agents included.");
        return Ok(Some(paused("budget_tokens", text)));
    }
    if let Some(limit) = budget.cost_micros
        && used(cost_micros, chat.granted_cost_micros) >= limit
    {
        let text = "The model calls cost as much as the budget allows, agents included.";
        return Ok(Some(paused("budget_cost", text.to_owned())));
    }
    Ok(None)
}
