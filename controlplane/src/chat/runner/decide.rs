//! What a runner does next: a pure function of what is committed. Any replica that reads the same
//! rows decides the same.
//!
//! ```text
//! interrupting ─────────────────► stop what runs, keep the partial answer
//! running ─ calls unanswered ───► run tools
//!         ├ a pause is noted ───► wait, then the next attempt
//!         ├ the model has spoken ► finish the turn
//!         ├ too many steps ─────► stop with an error
//!         └ otherwise ──────────► call the model
//! anything else ────────────────► rest
//! ```

use crate::chat::content::{Part, Role};
use crate::chat::event::ChatStatus;
use crate::store::chats::{ChatRow, MessageRow};

/// Model calls in one turn.
pub(super) const STEPS_MAX: i64 = 200;
/// Attempts at one step, counted in the row and so across restarts.
pub(super) const ATTEMPTS_MAX: i64 = 25;

/// The next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Stop what runs and keep what was said.
    Interrupt,
    /// Run the calls that have no answer.
    RunTools,
    /// Wait until this moment (unix milliseconds), at most so many milliseconds.
    Wait { until_ms: i64, at_most_ms: u64 },
    /// Ask the model.
    CallModel,
    /// The model is done.
    FinishTurn,
    /// The turn has taken too many steps.
    TooManySteps,
    /// The step was tried too often.
    TooManyAttempts,
    /// Nothing to do.
    Rest,
}

/// What comes next for a chat with this history.
pub(super) fn next(chat: &ChatRow, history: &[MessageRow]) -> Next {
    match chat.status {
        ChatStatus::Interrupting => return Next::Interrupt,
        ChatStatus::Running => {}
        ChatStatus::Waiting | ChatStatus::RequiresAction | ChatStatus::Error => return Next::Rest,
    }
    if chat.unanswered > 0 {
        return Next::RunTools;
    }
    if let Some(retry) = &chat.retry {
        return Next::Wait { until_ms: retry.retry_at_ms, at_most_ms: retry.delay_ms };
    }
    let last = history.iter().rev().find(|row| !row.removed);
    match last {
        None => Next::FinishTurn,
        Some(row) if row.role == Role::Assistant && !has_calls(row) => Next::FinishTurn,
        // A chat that takes its replica down is not tried for ever.
        Some(_) if chat.attempt > ATTEMPTS_MAX => Next::TooManyAttempts,
        Some(_) if chat.steps_in_turn >= STEPS_MAX => Next::TooManySteps,
        Some(_) => Next::CallModel,
    }
}

fn has_calls(row: &MessageRow) -> bool {
    row.content.iter().any(|stored| matches!(stored.part, Part::ToolCall { .. }))
}
