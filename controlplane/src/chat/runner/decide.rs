//! What a runner does next: a pure function of what is committed. Any replica that reads the same
//! rows decides the same.
//!
//! ```text
//! interrupting ─────────────────► stop what runs, keep the partial answer
//! running ─ calls unanswered ───► run tools
//!         ├ a pause is noted ───► wait, then the next attempt
//!         ├ a compaction is asked ► summarise
//!         ├ the model has spoken ► finish the turn
//!         ├ a limit is reached ─► pause (`limits`)
//!         └ otherwise ──────────► call the model
//! anything else ────────────────► rest
//! ```

use crate::chat::content::{CompactionMethod, Part, Role};
use crate::chat::context::is_compactable;
use crate::chat::context::marks::{is_report, is_said, mark, request};
use crate::chat::edit_check::checks_in_turn;
use crate::chat::event::{ChatErrorView, ChatStatus};
use crate::store::chats::{ChatRow, MessageRow};

use super::limits::pause;

/// Attempts at one step, counted in the row and so across restarts.
pub(super) const ATTEMPTS_MAX: i64 = 25;

/// The next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Stop what runs and keep what was said.
    Interrupt,
    /// Run the calls that have no answer.
    RunTools,
    /// Wait until this moment (unix milliseconds), at most so many milliseconds.
    Wait { until_ms: i64, at_most_ms: u64 },
    /// Ask the model.
    CallModel,
    /// Somebody asked for a shorter history.
    Compact,
    /// The model is done.
    FinishTurn,
    /// A limit is reached: somebody has to let the turn go on.
    Pause(Box<ChatErrorView>),
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
    let (last, asked) = last_word(history);
    match last {
        Some(_) if asked && chat.attempt > ATTEMPTS_MAX => Next::TooManyAttempts,
        _ if asked => Next::Compact,
        None => Next::FinishTurn,
        Some(row) if row.role == Role::Assistant && !has_calls(row) => Next::FinishTurn,
        // A chat that takes its replica down is not tried for ever.
        Some(_) if chat.attempt > ATTEMPTS_MAX => Next::TooManyAttempts,
        Some(_) => match pause(chat, history, models_steps(chat, history)) {
            Some(why) => Next::Pause(Box::new(why)),
            None => Next::CallModel,
        },
    }
}

/// The newest row that is neither a compaction nor the wish for one, and whether a wish is open.
/// A wish with nothing to compact is fulfilled.
fn last_word(history: &[MessageRow]) -> (Option<&MessageRow>, bool) {
    let mut asked = false;
    let mut compacted = false;
    for row in history.iter().rev().filter(|row| !row.removed) {
        if let Some(mark) = mark(row) {
            // A refused file is no answer to a wish.
            compacted |= mark.method != CompactionMethod::Files;
        } else if request(row).is_some() {
            asked |= !compacted;
        } else {
            return (Some(row), asked && is_compactable(history));
        }
    }
    (None, false)
}

/// Steps of the turn that the model took.
fn models_steps(chat: &ChatRow, history: &[MessageRow]) -> i64 {
    chat.steps_in_turn - compactions(history) - checks_in_turn(history)
}

/// Compactions of the turn: they are committed as steps and are none of the model's.
fn compactions(history: &[MessageRow]) -> i64 {
    let turn = history.iter().rev().take_while(|row| !is_said(row) && !is_report(row));
    turn.filter(|row| mark(row).is_some()).map(|_| 1).sum()
}

fn has_calls(row: &MessageRow) -> bool {
    row.content.iter().any(|stored| matches!(stored.part, Part::ToolCall { .. }))
}

#[cfg(test)]
mod tests {
    use super::super::limits::STEPS_MAX;
    use super::*;
    use crate::chat::content::{Compaction, CompactionReason};
    use crate::chat::context::marks::COMPACT_REQUEST;
    use crate::chat::machine::RetryState;
    use crate::store::chats::TitleSource;
    use serde_json::json;
    use shared::ids::{ChatId, IdSource, MessageId};
    use shared::testing::CountingIds;

    fn running() -> ChatRow {
        let ids: &dyn IdSource = &CountingIds::default();
        ChatRow {
            id: ids.id(),
            owner_id: ids.id(),
            workspace_id: None,
            parent_id: None,
            model_id: None,
            mode: "auto".into(),
            title: String::new(),
            title_source: TitleSource::FirstWords,
            label: None,
            status: ChatStatus::Running,
            archived: false,
            snapshot_version: 1,
            history_version: 1,
            queue_version: 0,
            attempt: 1,
            retry: None,
            fallback: None,
            fallback_model_id: None,
            last_error: None,
            worker_id: None,
            runner_id: None,
            epoch: 1,
            steps_in_turn: 0,
            queue_length: 0,
            steered_length: 0,
            unanswered: 0,
            awaited: 0,
            effort: None,
            plan: None,
            client_tools: Vec::new(),
            leaf_id: None,
            forked_from: None,
            last_seq: 1,
            runnable_since_ms: None,
            queue_position: None,
            created_at_ms: 0,
            updated_at_ms: 0,
            root_id: None,
            depth: 0,
            agent_type: None,
            spawned_by: None,
            reports: false,
            outcome: None,
            awaited_agents: 0,
            budget: None,
            worked_ms: 0,
            total_tokens: 0,
            total_cost_micros: 0,
            granted_tokens: 0,
            granted_cost_micros: 0,
            labelled_version: 0,
        }
    }

    fn message(role: Role, part: Part) -> MessageRow {
        let ids: &dyn IdSource = &CountingIds::default();
        MessageRow {
            id: ids.id::<MessageId>(),
            chat_id: ids.id::<ChatId>(),
            seq: 1,
            revision: 1,
            role,
            content: vec![part.into()],
            raw_kind: None,
            model: None,
            usage: None,
            removed: false,
            parent_id: None,
            fork_id: None,
            variant: 1,
            variants: 1,
            label: None,
            created_at_ms: 0,
        }
    }

    fn text(role: Role) -> MessageRow {
        message(role, Part::Text { text: "x".into() })
    }

    fn call() -> MessageRow {
        let part = Part::ToolCall { tool_call_id: "a".into(), name: "act".into(), args: json!({}) };
        message(Role::Assistant, part)
    }

    fn compaction() -> MessageRow {
        let mark = Compaction {
            method: CompactionMethod::Summary,
            reason: CompactionReason::Asked,
            through_seq: 1,
            summary: "x".into(),
            tokens_before: 2,
            tokens_after: 1,
        };
        MessageRow { seq: 2, ..message(Role::Assistant, Part::Compaction { mark }) }
    }

    fn retry() -> RetryState {
        let error = ChatErrorView {
            code: "x".into(),
            message: String::new(),
            retryable: true,
            provider: None,
            status_code: None,
            request_id: None,
        };
        RetryState { attempt: 1, delay_ms: 5, retry_at_ms: 7, error }
    }

    #[test]
    fn the_next_action_follows_from_what_is_committed() {
        let chat = running();
        let with = |change: fn(&mut ChatRow)| {
            let mut chat = running();
            change(&mut chat);
            chat
        };
        let asked = [text(Role::User)];
        let full = with(|chat| chat.steps_in_turn = STEPS_MAX);
        let wish = || {
            let part = Part::Notice { code: COMPACT_REQUEST.into(), text: String::new() };
            message(Role::User, part)
        };
        let rows: [(ChatRow, &[MessageRow], Next); 16] = [
            (chat.clone(), &asked, Next::CallModel),
            (chat.clone(), &[text(Role::User), text(Role::Assistant)], Next::FinishTurn),
            (chat.clone(), &[text(Role::User), call(), text(Role::Tool)], Next::CallModel),
            (chat.clone(), &[], Next::FinishTurn),
            // A wish at rest, in a turn, with nothing to do, and fulfilled.
            (chat.clone(), &[text(Role::User), text(Role::Assistant), wish()], Next::Compact),
            (chat.clone(), &[call(), text(Role::Tool), wish()], Next::Compact),
            (chat.clone(), &[text(Role::User), wish()], Next::CallModel),
            (
                chat.clone(),
                &[text(Role::User), text(Role::Assistant), wish(), compaction()],
                Next::FinishTurn,
            ),
            (chat, &[call(), text(Role::Tool), compaction()], Next::CallModel),
            (with(|chat| chat.unanswered = 1), &[call()], Next::RunTools),
            (
                with(|chat| chat.retry = Some(retry())),
                &asked,
                Next::Wait { until_ms: 7, at_most_ms: 5 },
            ),
            (
                with(|chat| chat.steps_in_turn = STEPS_MAX),
                &asked,
                Next::Pause(Box::new(pause(&full, &asked, STEPS_MAX).unwrap())),
            ),
            (with(|chat| chat.attempt = ATTEMPTS_MAX + 1), &asked, Next::TooManyAttempts),
            (with(|chat| chat.status = ChatStatus::Waiting), &asked, Next::Rest),
            (with(|chat| chat.status = ChatStatus::Error), &asked, Next::Rest),
            // A stop goes before everything else.
            (
                with(|chat| {
                    chat.status = ChatStatus::Interrupting;
                    chat.unanswered = 3;
                }),
                &[call()],
                Next::Interrupt,
            ),
        ];
        for (chat, history, expected) in rows {
            assert_eq!(next(&chat, history), expected, "{:?} {}", chat.status, history.len());
        }
    }
}
