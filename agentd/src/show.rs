//! The daemon's answers as text for people, or as JSON.

use std::fmt::Write as _;

use shared::protocol::process::{Exit, ProcessState, ProcessView};
use shared::protocol::pty::PtyView;

use crate::link::LinkState;
use crate::status::{DaemonStatus, DownStatus, Listing, LocalAnswer};

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

/// For people, at `now_ms`.
#[must_use]
pub fn text(answer: &LocalAnswer, now_ms: i64) -> String {
    match answer {
        LocalAnswer::Status(status) => status_text(status, now_ms),
        LocalAnswer::Processes(list) => listing_text(list, now_ms),
        LocalAnswer::Failed { message } => format!("the daemon could not answer: {message}\n"),
    }
}

/// A workspace whose daemon does not run, for people or as one line of JSON.
#[must_use]
pub fn down(status: &DownStatus, json: bool) -> String {
    if json {
        return format!("{}\n", serde_json::to_string(status).unwrap_or_default());
    }
    let mut out = "agentd     does not run\n".to_owned();
    if let Some(root) = &status.root {
        let _ = writeln!(out, "root       {}", root.display());
    }
    let _ = writeln!(out, "state      {}", status.state_dir.display());
    match (&status.workspace_name, &status.workspace_id) {
        (Some(name), Some(id)) => drop(writeln!(out, "workspace  {} ({id})", clean(name))),
        _ => out.push_str("workspace  not joined\n"),
    }
    let _ = writeln!(out, "processes  {} running, each with its keeper", status.processes_running);
    out
}

fn status_text(status: &DaemonStatus, now_ms: i64) -> String {
    let mut out = format!(
        "agentd     {} (pid {}), for {}\nroot       {}\nstate      {}\nprocesses  {} running\n",
        status.version,
        status.pid,
        age(now_ms.saturating_sub(status.started_at_ms)),
        status.root.display(),
        status.state_dir.display(),
        status.processes_running
    );
    // Writing to a text cannot fail.
    if !status.sandbox.is_empty() {
        let _ = writeln!(out, "sandbox    {}", status.sandbox);
    }
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

fn listing_text(list: &Listing, now_ms: i64) -> String {
    let mut rows = vec![["ID", "STATE", "AGE", "CHAT", "OUTPUT", "COMMAND"].map(str::to_owned)];
    let processes = list.items.iter().map(|view| {
        let ProcessView { chat_id, started_at_ms, state, output_total, command, .. } = view;
        let id = view.process_id.to_string();
        row(id, state, (now_ms, *started_at_ms), chat_id.as_deref(), *output_total, command)
    });
    let terminals = list.terminals.iter().map(|view| {
        let PtyView { chat_id, started_at_ms, state, output_total, command, .. } = view;
        let id = view.pty_id.to_string();
        row(id, state, (now_ms, *started_at_ms), chat_id.as_deref(), *output_total, command)
    });
    rows.extend(terminals.chain(processes));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for [id, state, age, chat, output, command] in &rows {
        let [ids, states, ages, chats, outputs, _] = widths;
        let _ = writeln!(
            out,
            "{id:<ids$}  {state:<states$}  {age:>ages$}  {chat:<chats$}  {output:>outputs$}  {command}"
        );
    }
    if list.total > list.items.len() as u64 {
        let _ = writeln!(out, "… and {} more", list.total - list.items.len() as u64);
    }
    out
}

fn row(
    id: String,
    state: &ProcessState,
    (now_ms, started_at_ms): (i64, i64),
    chat: Option<&str>,
    output: u64,
    command: &str,
) -> [String; 6] {
    let command = clean(command).chars().take(COMMAND_SHOWN).collect();
    let chat = clean(chat.unwrap_or("-"));
    [id, state_text(state), age(now_ms.saturating_sub(started_at_ms)), chat, bytes(output), command]
}

/// Control characters of a command must not reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// In the largest unit of which there is one: `45s`, `12m`, `3h`, `9d`.
fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count / 1_024),
        _ => format!("{} MiB", count / 1_048_576),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_in_the_largest_unit_that_says_enough() {
        let ages: Vec<String> = [-5, 0, 59_999, 60_000, 3_600_000, 86_400_000 * 9].map(age).into();
        assert_eq!(ages, ["0s", "0s", "59s", "1m", "1h", "9d"]);
        let sizes: Vec<String> = [0, 10_239, 10_240, 64 << 20].map(bytes).into();
        assert_eq!(sizes, ["0 B", "10239 B", "10 KiB", "64 MiB"]);
    }
}
