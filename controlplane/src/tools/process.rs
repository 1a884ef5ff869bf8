//! `process_output`, `process_input`, `process_list`, `process_signal`: what this chat's commands do
//! after `execute`.
//!
//! A process of another chat answers like one that does not exist.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::ids::ProcessId;
use shared::limits::{PATTERN_MAX_BYTES, STDIN_WRITE_MAX_BYTES};
use shared::protocol::ErrorCode;
use shared::protocol::process::{
    GetProcess, ListProcesses, OutputView, OutputWindow, ProcessState, ProcessView, SignalProcess,
    ViewOutput, WaitProcess, WriteStdin,
};

use super::arguments;
use super::catalogue::{Declaration, ToolKind};
use super::context::{ToolContext, ToolOutcome};
use super::errors::Stop;
use super::standing::standing;
use super::text;
use super::workspace::Workspace;
use crate::fleet::CallError;

/// Deadline of a call that only looks.
const LOOK: Duration = Duration::from_secs(30);
/// Bytes of one page that starts at an offset.
const PAGE_BYTES: u32 = 32 * 1024;
/// Longest wait for an end, in seconds.
const WAIT_MAX_S: u64 = 600;
/// Processes that a list shows.
const LIST_MAX: u32 = 50;
/// Matching lines that a grep shows.
const GREP_MAX: u32 = 200;

pub(super) fn declarations() -> [Declaration; 4] {
    let process_id = json!({ "type": "string", "description": "As execute gave it: proc_…" });
    [
        Declaration {
            name: "process_output",
            kind: ToolKind::Read,
            description: "Read the output of a command that execute started: its head and tail, or with \
                offset the page from there, with tail the last lines, with grep the matching lines. wait_s \
                waits that long for the end first.",
            schema: json!({
                "type": "object",
                "properties": {
                    "process_id": process_id,
                    "offset": {
                        "type": "integer", "minimum": 0,
                        "description": "Byte to start at: next_offset of an earlier answer."
                    },
                    "tail": { "type": "integer", "minimum": 1, "maximum": 2000, "description": "Last lines." },
                    "grep": {
                        "type": "string", "minLength": 1, "maxLength": PATTERN_MAX_BYTES,
                        "description": "Regular expression for lines."
                    },
                    "wait_s": { "type": "integer", "minimum": 0, "maximum": WAIT_MAX_S }
                },
                "required": ["process_id"],
                "additionalProperties": false
            }),
            deadline: Duration::from_secs(WAIT_MAX_S + 60),
        },
        Declaration {
            name: "process_input",
            kind: ToolKind::Operation,
            description: "Write to the standard input of a command that execute started with keep_stdin_open. \
                A line ends with \\n. Read the answer with process_output, offset = next_offset.",
            schema: json!({
                "type": "object",
                "properties": {
                    "process_id": process_id,
                    "input": { "type": "string", "description": "Text, as it is to be read." },
                    "close": { "type": "boolean", "description": "Close the input afterwards: no more comes." }
                },
                "required": ["process_id", "input"],
                "additionalProperties": false
            }),
            deadline: Duration::from_secs(120),
        },
        Declaration {
            name: "process_list",
            kind: ToolKind::Read,
            description: "List the commands of this chat, running ones first.",
            schema: json!({ "type": "object", "properties": {}, "additionalProperties": false }),
            deadline: LOOK,
        },
        Declaration {
            name: "process_signal",
            kind: ToolKind::Operation,
            description: "Send a signal to a command of this chat and everything it started.",
            schema: json!({
                "type": "object",
                "properties": {
                    "process_id": process_id,
                    "signal": {
                        "type": "string",
                        "enum": ["TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT"],
                        "description": "TERM asks it to end, KILL ends it."
                    }
                },
                "required": ["process_id", "signal"],
                "additionalProperties": false
            }),
            deadline: Duration::from_secs(60),
        },
    ]
}

#[derive(Debug, Deserialize)]
struct OutputArguments {
    process_id: String,
    offset: Option<u64>,
    tail: Option<u32>,
    grep: Option<String>,
    wait_s: Option<u64>,
}

pub(super) async fn output<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    args: &Value,
) -> Result<ToolOutcome, Stop> {
    let args: OutputArguments = arguments::parse("process_output", args)?;
    let (process_id, _) = own_process(context, workspace, &args.process_id).await?;
    if let Some(wait_s) = args.wait_s.filter(|wait_s| *wait_s > 0) {
        let wait = WaitProcess { process_id, timeout_ms: wait_s * 1_000 };
        workspace.read(&wait, Duration::from_secs(wait_s) + LOOK).await?;
    }
    let window = match args {
        OutputArguments { grep: Some(pattern), .. } => {
            OutputWindow::Grep { pattern, context: 0, limit: GREP_MAX }
        }
        OutputArguments { offset: Some(offset), .. } => {
            OutputWindow::From { offset, limit_bytes: PAGE_BYTES }
        }
        OutputArguments { tail: Some(lines), .. } => OutputWindow::TailLines { lines },
        _ => OutputWindow::HeadTail { head_bytes: None, tail_bytes: None },
    };
    let view = workspace.read(&ViewOutput { process_id, window }, LOOK).await?;
    let mut result = describe(&view);
    result.insert("next_offset".to_owned(), json!(view.next_offset));
    Ok(ToolOutcome::ok(Value::Object(result)))
}

pub(super) async fn list<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    _args: &Value,
) -> Result<ToolOutcome, Stop> {
    let list = ListProcesses { chat_id: Some(context.chat_id.to_string()), limit: Some(LIST_MAX) };
    let list = workspace.read(&list, LOOK).await?;
    let processes: Vec<Value> = list
        .items
        .iter()
        .map(|process| {
            let mut row = standing(process);
            row.insert("process_id".to_owned(), json!(process.process_id));
            row.insert("command".to_owned(), json!(text::cut(&process.command, 256)));
            row.insert("output_bytes".to_owned(), json!(process.output_total));
            Value::Object(row)
        })
        .collect();
    Ok(ToolOutcome::ok(json!({ "processes": processes, "total": list.total })))
}

#[derive(Debug, Deserialize)]
struct InputArguments {
    process_id: String,
    input: String,
    #[serde(default)]
    close: bool,
}

pub(super) async fn input<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    args: &Value,
) -> Result<ToolOutcome, Stop> {
    let args: InputArguments = arguments::parse("process_input", args)?;
    if args.input.len() > STDIN_WRITE_MAX_BYTES {
        let message = format!(
            "`input` has {} bytes, over the limit of {STDIN_WRITE_MAX_BYTES}. Nothing was written. \
             Send it in pieces, or through a file.",
            args.input.len()
        );
        return Err(ToolOutcome::error("invalid_arguments", message).into());
    }
    // Looked at first, so that what the input causes stands behind this offset.
    let (process_id, before) = own_process(context, workspace, &args.process_id).await?;
    let write = WriteStdin { process_id, data: args.input.into_bytes(), close: args.close };
    let done = workspace.operate(&context.operation, &write).await?;
    let mut result = Map::new();
    result.insert("process_id".to_owned(), json!(process_id));
    result.insert("written".to_owned(), json!(done.written));
    if args.close {
        result.insert("closed".to_owned(), json!(true));
    }
    if let Some(before) = before {
        result.insert("next_offset".to_owned(), json!(before.output_total));
    }
    Ok(ToolOutcome::ok(Value::Object(result)))
}

#[derive(Debug, Deserialize)]
struct SignalArguments {
    process_id: String,
    signal: String,
}

pub(super) async fn signal<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    args: &Value,
) -> Result<ToolOutcome, Stop> {
    let args: SignalArguments = arguments::parse("process_signal", args)?;
    let (process_id, _) = own_process(context, workspace, &args.process_id).await?;
    let signal = SignalProcess { process_id, signal: args.signal };
    let process = workspace.operate(&context.operation, &signal).await?;
    let mut result = standing(&process);
    result.insert("process_id".to_owned(), json!(process_id));
    result.insert("signalled".to_owned(), json!(true));
    Ok(ToolOutcome::ok(Value::Object(result)))
}

/// The id, if it is one of a process of this chat, and how the process stands while there is one.
async fn own_process<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    text: &str,
) -> Result<(ProcessId, Option<ProcessView>), Stop> {
    let process_id: ProcessId =
        text.parse().map_err(|_| ToolOutcome::error("process_not_found", missing(text)))?;
    match workspace.read(&GetProcess { process_id }, LOOK).await {
        Ok(process) if process.chat_id == Some(context.chat_id.to_string()) => {
            Ok((process_id, Some(process)))
        }
        Ok(_) => Err(ToolOutcome::error("process_not_found", missing(text)).into()),
        // Nothing can be said of it that the next call would not say better: a repeated operation
        // is answered from the journal even after its process is gone.
        Err(CallError::Refused(error))
            if matches!(
                error.known_code(),
                Some(ErrorCode::ProcessPruned | ErrorCode::ProcessNotFound)
            ) =>
        {
            Ok((process_id, None))
        }
        Err(error) => Err(error.into()),
    }
}

fn missing(text: &str) -> String {
    format!(
        "There is no process `{}` in this chat. List its processes with process_list.",
        text::cut(text, 64)
    )
}

/// Output and standing of a process, as `execute` and `process_output` show them.
pub(super) fn describe(view: &OutputView) -> Map<String, Value> {
    let mut result = standing(&view.process);
    result.insert("output".to_owned(), json!(view.text));
    if view.omitted_bytes > 0 {
        result.insert(
            "truncated".to_owned(),
            json!({
                "total_bytes": view.process.output_total,
                "omitted_bytes": view.omitted_bytes,
                "hint": "process_output shows the rest: by offset, tail or grep."
            }),
        );
    }
    if view.lines_cut > 0 {
        result.insert("lines_cut".to_owned(), json!(view.lines_cut));
    }
    // Whoever may want more has to name it.
    if view.omitted_bytes > 0 || matches!(view.process.state, ProcessState::Running) {
        result.insert("process_id".to_owned(), json!(view.process.process_id));
    }
    result
}
