//! The daemon's answers as text for people, or as JSON.

use std::fmt::Write as _;

use shared::protocol::process::{Exit, ProcessState, ProcessView};

use crate::link::LinkState;
use crate::status::{DaemonStatus, LocalAnswer};

/// Longest command in a line of `ps`, in characters.
const COMMAND_SHOWN: usize = 80;

/// As JSON, one line.
#[must_use]
pub fn json(answer: &LocalAnswer) -> String {
    let value = match answer {
        LocalAnswer::Status(status) => serde_json::to_string(status),
        LocalAnswer::Processes(list) => serde_json::to_string(list),
        LocalAnswer::Failed { .. } => serde_json::to_string(answer),
    };
    format!("{}\n", value.unwrap_or_default())
}

/// For people.
#[must_use]
pub fn text(answer: &LocalAnswer) -> String {
    match answer {
        LocalAnswer::Status(status) => status_text(status),
        LocalAnswer::Processes(list) => processes_text(&list.items, list.total),
        LocalAnswer::Failed { message } => format!("the daemon could not answer: {message}\n"),
    }
}

fn status_text(status: &DaemonStatus) -> String {
    let mut out = format!(
        "agentd     {} (pid {})\nroot       {}\nstate      {}\nprocesses  {} running\n",
        status.version,
        status.pid,
        status.root.display(),
        status.state_dir.display(),
        status.processes_running
    );
    // Writing to a text cannot fail.
    match &status.link {
        None => out.push_str("link       none\n"),
        Some(link) => {
            let state = match link.state {
                LinkState::Connected => "connected",
                LinkState::Connecting => "connecting",
                LinkState::Waiting => "waiting for the next try",
                LinkState::Stopped => "stopped",
            };
            let rtt = link.rtt_ms.map(|rtt| format!(", round trip {rtt} ms")).unwrap_or_default();
            let _ = writeln!(out, "workspace  {} ({})", link.workspace_name, link.workspace_id);
            let _ = writeln!(out, "link       {state} to {}{rtt}", link.server);
            if let Some(fault) = &link.fault {
                let _ = writeln!(out, "fault      {}", fault.text);
            }
        }
    }
    out
}

fn processes_text(items: &[ProcessView], total: u64) -> String {
    let mut out = format!("{:<31} {:<14} {:>12}  COMMAND\n", "PROCESS", "STATE", "OUTPUT");
    for view in items {
        // Control characters of a command must not reach the terminal.
        let command: String = view
            .command
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .take(COMMAND_SHOWN)
            .collect();
        let id = view.process_id.to_string();
        let _ = writeln!(
            out,
            "{id:<31} {:<14} {:>12}  {command}",
            state_text(&view.state),
            view.output_total
        );
    }
    if total > items.len() as u64 {
        let _ = writeln!(out, "… and {} more", total - items.len() as u64);
    }
    out
}

fn state_text(state: &ProcessState) -> String {
    match state {
        ProcessState::Running => "running".to_owned(),
        ProcessState::Exited { exit: Exit::Code { code }, .. } => format!("exit {code}"),
        ProcessState::Exited { exit: Exit::Signal { signal, .. }, .. } => {
            format!("signal {signal}")
        }
        ProcessState::NotStarted { .. } => "not started".to_owned(),
        ProcessState::Lost { .. } => "lost".to_owned(),
    }
}
