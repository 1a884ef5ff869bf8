//! The check after edits: a command of the project that the engine runs, and what the model is told.
//!
//! ```text
//! a batch with edits is sealed ─► the engine's own step: `execute` of the command ─► its result
//!                                                                                      │
//!                        the model's next prompt: one remark behind the edits' results ◄┘
//! ```
//!
//! The step is a message like any other, so it is committed before it is dispatched, journalled under its
//! operation, stopped with the turn and seen by people. To the model it is no call of its own: it never
//! made one, and some providers would refuse it. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::content::{Part, Role, StoredPart};
use super::context::marks::{is_report, is_said, request};
use crate::store::chats::MessageRow;

/// The code of the remark that marks the engine's own step.
pub const CHECK: &str = "edit_check";
/// Tools that change files.
const EDITS: [&str; 2] = ["write_file", "edit_files"];
/// How long a check may take where nobody said.
pub const TIMEOUT_DEFAULT_S: u32 = 120;
/// Most that may be said.
pub const TIMEOUT_MAX_S: u32 = 600;
/// Longest command, in bytes.
pub const COMMAND_MAX_BYTES: usize = 4_096;
/// Output of a failed check that the model is shown, in bytes.
const SHOWN_BYTES: usize = 16 * 1024;

/// What is run after a batch that edited files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditCheck {
    /// The command line; empty: nothing is run.
    pub command: String,
    /// Seconds after which it is stopped, 1 to 600.
    pub timeout_s: u32,
}

impl EditCheck {
    /// Which of a chat's and its workspace's holds; none: nothing is run.
    #[must_use]
    pub fn of(chat: Option<Self>, workspace: Option<Self>) -> Option<Self> {
        chat.or(workspace).filter(|check| !check.command.trim().is_empty())
    }

    /// The engine's own step. `seq`: of the message that it becomes.
    #[must_use]
    pub fn step(&self, seq: i64) -> Vec<StoredPart> {
        let args = json!({ "command": self.command, "timeout_s": self.timeout_s });
        let text = "Files were edited: the check runs.".to_owned();
        vec![
            Part::Notice { code: CHECK.to_owned(), text }.into(),
            Part::ToolCall { tool_call_id: format!("check_{seq}"), name: "execute".into(), args }
                .into(),
        ]
    }
}

/// Whether this message is the engine's own step.
#[must_use]
pub fn is_check(row: &MessageRow) -> bool {
    let marks = |part: &Part| matches!(part, Part::Notice { code, .. } if code == CHECK);
    row.role == Role::Assistant && row.content.iter().any(|stored| marks(&stored.part))
}

/// Whether the turn edited files after its last check, and the model is about to be asked.
#[must_use]
pub fn is_due(history: &[MessageRow]) -> bool {
    for row in history.iter().rev().filter(|row| !row.removed) {
        match row.role {
            Role::Tool if row.content.iter().any(|stored| edited(&stored.part)) => return true,
            Role::Assistant if is_check(row) => return false,
            // What a person said in the middle of the turn does not hide what was edited before it.
            Role::User if begins_turn(row, history) => return false,
            _ => {}
        }
    }
    false
}

/// Checks of the turn: they are committed as steps and are none of the model's.
#[must_use]
pub fn checks_in_turn(history: &[MessageRow]) -> i64 {
    let turn = history.iter().rev().take_while(|row| !is_said(row) && !is_report(row));
    turn.filter(|row| !row.removed && is_check(row)).map(|_| 1).sum()
}

fn begins_turn(row: &MessageRow, history: &[MessageRow]) -> bool {
    let before = history.iter().rev().filter(|other| !other.removed).find(|it| it.seq < row.seq);
    // Behind results of tools somebody has steered.
    request(row).is_none() && before.is_none_or(|before| before.role != Role::Tool)
}

fn edited(part: &Part) -> bool {
    matches!(part, Part::ToolResult { name, is_error: false, .. } if EDITS.contains(&name.as_str()))
}

/// What the model is told of a check. `whole`: with its output.
#[must_use]
pub fn told(step: &MessageRow, result: Option<&Part>, whole: bool) -> Option<String> {
    let command = step.content.iter().find_map(|stored| match &stored.part {
        Part::ToolCall { args, .. } => args["command"].as_str(),
        _ => None,
    })?;
    let Some(Part::ToolResult { result, is_error, .. }) = result else {
        return None; // it runs, or nobody knows of it any more
    };
    let asked = format!("[After your edits the project's check `{command}` was run");
    if *is_error {
        let why = result.pointer("/error/message").or_else(|| result.get("message"));
        let why = why.and_then(Value::as_str).unwrap_or("it could not be run");
        return Some(format!("{asked}, without an outcome: {why}]"));
    }
    let ended = match (&result["exit_code"], &result["signal"], result["state"].as_str()) {
        (Value::Number(code), _, _) if code.as_i64() == Some(0) => {
            return Some(format!("{asked}: it passed.]"));
        }
        (Value::Number(code), _, _) => format!("it failed with exit code {code}"),
        (_, Value::Number(signal), _) => format!("it was ended by signal {signal}"),
        (_, _, Some("running")) => "it did not end in time and was stopped".to_owned(),
        _ => "how it ended is not known".to_owned(),
    };
    if !whole {
        return Some(format!("{asked}: {ended}.]"));
    }
    let output = bounded(result["output"].as_str().unwrap_or_default());
    Some(format!("{asked}: {ended}. Its output:]\n{output}"))
}

/// The first third and the last two thirds of what is shown: a build says the most at its end.
fn bounded(output: &str) -> String {
    if output.len() <= SHOWN_BYTES {
        return output.to_owned();
    }
    let head = &output[..output.floor_char_boundary(SHOWN_BYTES / 3)];
    let tail = &output[output.ceil_char_boundary(output.len() - SHOWN_BYTES / 3 * 2)..];
    format!("{head}\n[{} bytes left out]\n{tail}", output.len() - head.len() - tail.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &str) -> Option<EditCheck> {
        Some(EditCheck { command: command.into(), timeout_s: 1 })
    }

    #[test]
    fn a_chats_own_check_goes_before_that_of_its_workspace_and_an_empty_one_is_none() {
        assert_eq!(EditCheck::of(None, None), None);
        assert_eq!(EditCheck::of(None, check("make")), check("make"));
        assert_eq!(EditCheck::of(check("cargo check"), check("make")), check("cargo check"));
        assert_eq!(EditCheck::of(check(" "), check("make")), None);
    }

    #[test]
    fn a_long_output_keeps_its_begin_and_its_end() {
        let long = format!("first{}last", "é".repeat(SHOWN_BYTES));
        let shown = bounded(&long);
        assert!(shown.len() <= SHOWN_BYTES + 64, "{}", shown.len());
        assert!(shown.starts_with("first") && shown.ends_with("last"));
        assert!(shown.contains("bytes left out"));
        assert_eq!(bounded("short"), "short");
    }
}
