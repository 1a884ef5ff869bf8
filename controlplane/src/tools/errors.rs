//! From a call's end to a tool's end, with advice for the model beside each code it can act on.

use serde_json::{Map, Value, json};
use shared::protocol::{ErrorCode, WireError};

use super::context::{ToolError, ToolOutcome};
use crate::fleet::{CallError, UnknownReason};

/// Why a body stops early: with an answer for the model, or without one.
#[derive(Debug)]
pub(super) enum Stop {
    /// An error the model should read.
    Answer(ToolOutcome),
    /// No answer.
    Error(ToolError),
}

impl From<ToolOutcome> for Stop {
    fn from(outcome: ToolOutcome) -> Self {
        Self::Answer(outcome)
    }
}

impl From<ToolError> for Stop {
    fn from(error: ToolError) -> Self {
        Self::Error(error)
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotConnected { .. } => {
                Self::Error(ToolError::Unavailable { reason: "it is not connected".to_owned() })
            }
            CallError::Unknown { reason } => unknown(&reason),
            CallError::Refused(error) => refused(error),
            CallError::Failed(error) => Self::Answer(answer(&error)),
        }
    }
}

/// Only a lost link is asked about again. Calls with a deadline change nothing, so a passed one is
/// told, and so is what nobody will ever know.
fn unknown(reason: &UnknownReason) -> Stop {
    match reason {
        UnknownReason::LinkLost => Stop::Error(ToolError::Unknown { reason: reason.to_string() }),
        UnknownReason::DeadlinePassed => Stop::Answer(answer(&WireError::refused(
            ErrorCode::DeadlineExceeded,
            "The workspace did not answer in time. Nothing was changed.",
        ))),
        UnknownReason::Malformed(_) | UnknownReason::Lost(_) => {
            Stop::Answer(answer(&WireError::failed(ErrorCode::OutcomeUnknown, reason.to_string())))
        }
    }
}

/// A refusal says that nothing was done; some of them are not the model's business.
fn refused(error: WireError) -> Stop {
    match error.known_code() {
        Some(ErrorCode::StaleEpoch) => Stop::Error(ToolError::Fenced),
        Some(ErrorCode::OperationCancelled) => Stop::Error(ToolError::Cancelled),
        Some(ErrorCode::ShuttingDown | ErrorCode::Busy | ErrorCode::JournalUnavailable) => {
            Stop::Error(ToolError::Unavailable { reason: error.message })
        }
        _ => Stop::Answer(answer(&error)),
    }
}

/// The error as the model reads it.
fn answer(error: &WireError) -> ToolOutcome {
    let mut body = Map::new();
    body.insert("code".to_owned(), json!(error.code));
    body.insert("message".to_owned(), json!(error.message));
    if !error.details.is_empty() {
        body.insert("details".to_owned(), json!(error.details));
    }
    if let Some(hint) = error.known_code().and_then(hint) {
        body.insert("hint".to_owned(), json!(hint));
    }
    ToolOutcome {
        result: json!({ "error": Value::Object(body) }),
        is_error: true,
        process_ids: Vec::new(),
    }
}

/// What a model should do next, where the message alone may not say it.
const fn hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::PathEscape => {
            "Only paths inside the workspace can be used. Paths are relative to its root."
        }
        ErrorCode::FileNotFound => "Find the right path with list_dir or glob.",
        ErrorCode::IsADirectory => "Use list_dir for a directory.",
        ErrorCode::NotADirectory => "The path is not a directory. Use read_file for a file.",
        ErrorCode::CwdNotFound => "`cwd` must be a directory inside the workspace.",
        ErrorCode::BinaryFile => "Look at it with execute, for example `file` or `xxd | head`.",
        ErrorCode::InvalidRange => "Read the file again without an offset to see its length.",
        ErrorCode::FileChanged => "Somebody changed the file. Read it again, then edit.",
        ErrorCode::NoMatch => {
            "old_text must be copied exactly from the file. Read the file again; nothing was changed."
        }
        ErrorCode::AmbiguousMatch => {
            "Add more lines around old_text until it is unique, or set replace_all."
        }
        ErrorCode::OverlappingEdits => "Join the edits that touch the same lines into one.",
        ErrorCode::FileTooLarge => "Write it in pieces with execute, or make it smaller.",
        ErrorCode::ProcessNotFound => "List your processes with process_list.",
        ErrorCode::StdinClosed => {
            "Its input is closed. Start it with keep_stdin_open to write to it."
        }
        ErrorCode::StdinBlocked => "It does not read now. See what it does with process_output.",
        ErrorCode::RangeDropped => "That output is no longer kept. Ask for the tail instead.",
        ErrorCode::ProcessLimit => "End processes that you no longer need with process_signal.",
        ErrorCode::OutcomeUnknown => {
            "It may or may not have been done. Look at the workspace before you try again."
        }
        ErrorCode::DeadlineExceeded | ErrorCode::IoTimeout => "Ask for less, or try again.",
        ErrorCode::Unsupported => "The workspace's daemon is too old for this. Use another tool.",
        ErrorCode::SandboxUnavailable => {
            "Commands cannot run in this mode here. Read with the other tools, and propose a plan."
        }
        ErrorCode::ReadOnlyMode => "Nothing may be changed in this mode. Propose it in the plan.",
        ErrorCode::DiskFull | ErrorCode::QuotaExceeded => "Free some space first.",
        ErrorCode::PermissionDenied | ErrorCode::ReadOnlyFs => {
            "The operating system does not allow it. Choose another place."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_ends_of_a_call_stay_apart() {
        let wire = |code| WireError::refused(code, "why");
        let ends = [
            CallError::NotConnected { since_ms: None },
            CallError::Unknown { reason: UnknownReason::LinkLost },
            CallError::Unknown { reason: UnknownReason::DeadlinePassed },
            CallError::Unknown { reason: UnknownReason::Lost(wire(ErrorCode::Internal)) },
            CallError::Refused(wire(ErrorCode::StaleEpoch)),
            CallError::Refused(wire(ErrorCode::OperationCancelled)),
            CallError::Refused(wire(ErrorCode::ShuttingDown)),
            CallError::Refused(wire(ErrorCode::FileNotFound)),
            CallError::Failed(wire(ErrorCode::OutcomeUnknown)),
        ];
        let shown: Vec<String> = ends
            .into_iter()
            .map(|end| match Stop::from(end) {
                Stop::Answer(outcome) => outcome.error_code().unwrap_or("no code").to_owned(),
                Stop::Error(error) => format!("{error:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "Unavailable { reason: \"it is not connected\" }",
                "Unknown { reason: \"the link was lost\" }",
                "deadline_exceeded",
                "outcome_unknown",
                "Fenced",
                "Cancelled",
                "Unavailable { reason: \"why\" }",
                "file_not_found",
                "outcome_unknown",
            ]
        );
    }
}
