//! `execute`: a shell command, watched for a while and then left running.
//!
//! ```text
//! process/start (the operation) ──► follow output ──► live ──┬─ ended in time ──► head and tail, exit
//!                                                            └─ still running ──► head and tail, process_id
//! ```
//!
//! Asked again with the same operation key, the start is answered from the journal and the rest is
//! read again, so a command never runs twice.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::protocol::process::{
    FollowOutput, OutputView, OutputWindow, ProcessState, ProcessView, Program, SandboxKind,
    StartProcess, StartSandboxed, Stdin, ViewOutput, WaitProcess,
};
use shared::protocol::{ErrorCode, WireError};

use super::arguments;
use super::catalogue::{Declaration, ToolKind};
use super::context::{LiveOutput, ToolContext, ToolOutcome};
use super::errors::Stop;
use super::process::describe;
use super::text::Utf8Joiner;
use super::workspace::Workspace;
use crate::fleet::{CallError, FollowEvent, UnknownReason};

/// How long a command is watched before it goes on in the background.
const FOREGROUND: Duration = Duration::from_secs(10);
/// Longest wait a model may ask for, in seconds.
const TIMEOUT_MAX_S: u64 = 600;
/// Added to a wait for the deadline of the call that waits.
const ANSWER_SLACK: Duration = Duration::from_secs(10);
/// Deadline of a call that only looks.
const LOOK: Duration = Duration::from_secs(30);
/// Live output of one call that viewers are shown, in bytes; the rest is in the process's log.
const LIVE_MAX_BYTES: u64 = 256 * 1024;

/// What a command finds in its environment: nobody sits there, so nothing may ask or page.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("HOLDFAST", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_EDITOR", "true"),
    ("GIT_SEQUENCE_EDITOR", "true"),
    ("GIT_PAGER", "cat"),
    ("EDITOR", "true"),
    ("VISUAL", "true"),
    ("PAGER", "cat"),
    ("NO_COLOR", "1"),
    ("TERM", "dumb"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];

pub(super) fn declarations() -> [Declaration; 1] {
    [Declaration {
        name: "execute",
        kind: ToolKind::Command,
        description: "Run a shell command (`sh -c`) in the workspace. Answers when it ends, or after \
            timeout_s (10 by default) while it goes on in the background under its process_id: read more \
            with process_output. Standard output and error come as one text, the middle of a long one is \
            left out. Prefer read_file, list_dir, glob and search over cat, ls, find and grep.",
        schema: json!({
            "type": "object",
            "properties": {
                "command": { "type": "string", "minLength": 1, "description": "The command line." },
                "timeout_s": {
                    "type": "integer", "minimum": 1, "maximum": TIMEOUT_MAX_S,
                    "description": "Seconds to wait for the end. It is not stopped then."
                },
                "cwd": { "type": "string", "description": "Directory, relative to the workspace's root." },
                "background": {
                    "type": "boolean",
                    "description": "Answer at once: for servers and watchers."
                },
                "stdin": { "type": "string", "description": "Text for standard input; otherwise it is empty." },
                "keep_stdin_open": {
                    "type": "boolean",
                    "description": "Leave standard input open, empty at first, for process_input."
                }
            },
            "required": ["command"],
            "additionalProperties": false
        }),
        deadline: Duration::from_secs(TIMEOUT_MAX_S + 60),
    }]
}

#[derive(Debug, Deserialize)]
struct Arguments {
    command: String,
    timeout_s: Option<u64>,
    cwd: Option<String>,
    #[serde(default)]
    background: bool,
    stdin: Option<String>,
    #[serde(default)]
    keep_stdin_open: bool,
}

pub(super) async fn run<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    args: &Value,
) -> Result<ToolOutcome, Stop> {
    let args: Arguments = arguments::parse("execute", args)?;
    let (command, background) = detach(&args.command, args.background);
    let start = StartProcess {
        process_id: context.operation.process_id,
        program: Program::Shell { command: command.to_owned() },
        cwd: args.cwd.filter(|cwd| !cwd.is_empty()),
        env: environment(&context.chat_id.to_string()),
        stdin: stdin(args.stdin, args.keep_stdin_open)?,
        chat_id: Some(context.chat_id.to_string()),
        output_kept_bytes: None,
    };
    let started = begin(context, workspace, start).await?;
    if let ProcessState::NotStarted { error } = &started.state {
        return Err(CallError::Failed(error.clone()).into());
    }
    if !background {
        let wait = args.timeout_s.map_or(FOREGROUND, Duration::from_secs);
        watch(workspace, &started, wait, &context.live).await?;
    }
    let view = ViewOutput {
        process_id: started.process_id,
        window: OutputWindow::HeadTail { head_bytes: None, tail_bytes: None },
    };
    let view = workspace.read(&view, LOOK).await.map_err(again)?;
    Ok(outcome(&view))
}

/// Starts it: in the daemon's sandbox where nothing may be changed, and else not at all.
async fn begin<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    start: StartProcess,
) -> Result<ProcessView, Stop> {
    let key = &context.operation;
    // Of a mode that is not known here, the strictest is supposed.
    let is_free = matches!(context.mode.as_str(), "ask" | "edit" | "auto");
    if is_free && !key.read_only {
        return Ok(workspace.operate(key, &start).await?);
    }
    let request = StartSandboxed { start, sandbox: SandboxKind::ReadOnly };
    workspace.operate(key, &request).await.map_err(|error| match error {
        // An older daemon does not know the method, so it has run nothing.
        CallError::Refused(error) if error.known_code() == Some(ErrorCode::Unsupported) => {
            let text = "the workspace's daemon is too old to run commands in a sandbox";
            CallError::Refused(WireError::refused(ErrorCode::SandboxUnavailable, text)).into()
        }
        error => error.into(),
    })
}

/// What the command reads. Text and an open end are two operations, so one call takes only one.
fn stdin(text: Option<String>, keep_open: bool) -> Result<Stdin, Stop> {
    match (text, keep_open) {
        (None, false) => Ok(Stdin::Closed),
        (None, true) => Ok(Stdin::Open),
        (Some(text), false) => Ok(Stdin::Bytes { data: text.into_bytes() }),
        (Some(text), true) if text.is_empty() => Ok(Stdin::Open),
        (Some(_), true) => Err(ToolOutcome::error(
            "invalid_arguments",
            "Either `stdin` or `keep_stdin_open`. Nothing was done. Start it with keep_stdin_open \
             alone, then send the text with process_input.",
        )
        .into()),
    }
}

/// Shows output until the process has ended or `wait` is over.
async fn watch<W: Workspace>(
    workspace: &W,
    started: &ProcessView,
    wait: Duration,
    live: &LiveOutput,
) -> Result<(), Stop> {
    let until = tokio::time::Instant::now() + wait;
    let follow = FollowOutput { process_id: started.process_id, offset: live.next_offset() };
    let shown = tokio::time::timeout_at(until, show(workspace, &follow, live)).await;
    match shown {
        Err(_) | Ok(Ok(Shown::Ended)) => return Ok(()),
        Ok(Err(stop)) => return Err(stop),
        Ok(Ok(Shown::Enough)) => {}
    }
    let left = until.saturating_duration_since(tokio::time::Instant::now());
    let wait = WaitProcess {
        process_id: started.process_id,
        timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    };
    workspace.read(&wait, left + ANSWER_SLACK).await.map_err(again)?;
    Ok(())
}

/// The command runs: a look at it that took too long is taken again, not told as a failure.
fn again(error: CallError) -> Stop {
    match error {
        CallError::Unknown { reason: UnknownReason::DeadlinePassed } => {
            Stop::from(CallError::Unknown { reason: UnknownReason::LinkLost })
        }
        error => Stop::from(error),
    }
}

/// How following ended.
enum Shown {
    /// The process ended and all of its output was shown.
    Ended,
    /// Viewers have seen as much as they get.
    Enough,
}

async fn show<W: Workspace>(
    workspace: &W,
    follow: &FollowOutput,
    live: &LiveOutput,
) -> Result<Shown, Stop> {
    if follow.offset >= LIVE_MAX_BYTES {
        return Ok(Shown::Enough);
    }
    let mut output = workspace.follow(follow).await?;
    let mut joiner = Utf8Joiner::default();
    while let Some(event) = output.next().await {
        match event? {
            FollowEvent::Chunk { offset, bytes, .. } => {
                live.push(&joiner.push(&bytes));
                live.shown_to(offset + bytes.len() as u64 - joiner.pending_bytes());
            }
            FollowEvent::Dropped { from, to } => {
                live.push(&format!("\n[{} bytes were not kept]\n", to - from));
                live.shown_to(to);
            }
            FollowEvent::End { .. } => {
                live.push(joiner.finish());
                return Ok(Shown::Ended);
            }
        }
        if live.next_offset() >= LIVE_MAX_BYTES {
            live.push("\n[there is more; the whole output is with the process]\n");
            return Ok(Shown::Enough);
        }
    }
    // The daemon ended the stream without saying how the process stands: ask it.
    Ok(Shown::Enough)
}

fn outcome(view: &OutputView) -> ToolOutcome {
    let mut result = describe(view);
    let running = matches!(view.process.state, ProcessState::Running);
    let mut process_ids = Vec::new();
    if let Some(sandbox) = view.process.facts.as_ref().and_then(|facts| facts.sandbox) {
        let text = format!("read-only, no network ({sandbox}); $TMPDIR alone can be written");
        result.insert("sandbox".to_owned(), json!(text));
    }
    if running {
        process_ids.push(view.process.process_id);
        result.insert(
            "note".to_owned(),
            json!(
                "It goes on in the background. Read more with process_output (wait_s waits for the end), \
                 end it with process_signal."
            ),
        );
    }
    ToolOutcome { process_ids, ..ToolOutcome::ok(Value::Object(result)) }
}

/// A trailing `&` would hide the process from us: drop it and run the command in the background.
fn detach(command: &str, background: bool) -> (&str, bool) {
    let trimmed = command.trim_end();
    match trimmed.strip_suffix('&') {
        Some(rest)
            if !rest.ends_with(['&', '|', '>', '<', '\\', ';']) && !rest.trim().is_empty() =>
        {
            (rest.trim_end(), true)
        }
        _ => (command, background),
    }
}

fn environment(chat_id: &str) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    environment.insert("HOLDFAST_CHAT_ID".to_owned(), chat_id.to_owned());
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_ampersand_means_background() {
        let rows = [
            ("npm start &", "npm start", true),
            ("npm start & ", "npm start", true),
            ("make && true", "make && true", false),
            ("true &&", "true &&", false),
            ("a |&", "a |&", false),
            ("echo \\&", "echo \\&", false),
            ("ls", "ls", false),
            ("&", "&", false),
        ];
        for (command, expected, background) in rows {
            assert_eq!(detach(command, false), (expected, background), "{command}");
        }
    }
}
