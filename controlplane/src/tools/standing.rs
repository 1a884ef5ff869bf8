//! How a process stands, as a model is told: state, end, and what is worth knowing about it.

use serde_json::{Map, Value, json};
use shared::protocol::process::{Exit, ProcessFacts, ProcessState, ProcessView, SystemProcess};

/// Processes that are named in one remark.
const NAMED: usize = 4;

/// Whether it runs, or how it ended and how long it took, and what ran out.
pub(super) fn standing(process: &ProcessView) -> Map<String, Value> {
    let mut result = Map::new();
    let mut remarks = Vec::new();
    let facts = process.facts.as_deref();
    let state = match &process.state {
        ProcessState::Running => "running",
        ProcessState::Exited { exit, ended_at_ms, output_held_by } => {
            match exit {
                Exit::Code { code } => result.insert("exit_code".to_owned(), json!(code)),
                Exit::Signal { signal, core } => {
                    result.insert("core_dumped".to_owned(), json!(core));
                    result.insert("signal".to_owned(), json!(signal))
                }
            };
            let duration = ended_at_ms.saturating_sub(process.started_at_ms).max(0);
            result.insert("duration_ms".to_owned(), json!(duration));
            remarks.extend(held(*output_held_by, facts));
            "exited"
        }
        ProcessState::NotStarted { error } => {
            result.insert("error".to_owned(), json!(error.message));
            "not_started"
        }
        ProcessState::Lost { .. } => {
            let text =
                "Its supervisor is gone: how it ended is not known. Look before you repeat it.";
            remarks.push(text.to_owned());
            "lost"
        }
    };
    if let Some(facts) = facts {
        remarks.extend(ran_out(facts, &mut result));
    }
    if !remarks.is_empty() {
        result.insert("note".to_owned(), json!(remarks.join(" ")));
    }
    result.insert("state".to_owned(), json!(state));
    result
}

/// Who still writes after the end.
fn held(count: u32, facts: Option<&ProcessFacts>) -> Option<String> {
    if count == 0 {
        return None;
    }
    let holders = facts.map_or(&[][..], |facts| &facts.output_holders);
    let who = named(holders, count);
    let noun = if count == 1 { "process" } else { "processes" };
    let verb = if count == 1 { "holds" } else { "hold" };
    Some(format!("It exited; {count} {noun} that it started still {verb} its output{who}."))
}

/// What was too little, and how it was stopped.
fn ran_out(facts: &ProcessFacts, result: &mut Map<String, Value>) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(oom) = &facts.oom_killed {
        result.insert("oom_killed".to_owned(), json!(oom));
        let limit = oom.limit_bytes.map_or_else(
            || "the machine had no more".to_owned(),
            |bytes| format!("the limit is {}", mebibytes(bytes)),
        );
        let peak = oom.peak_bytes.map(|bytes| format!(", the peak was {}", mebibytes(bytes)));
        remarks.push(format!("Killed for memory: {limit}{}.", peak.unwrap_or_default()));
    }
    if let Some(pids) = &facts.pids_limit {
        result.insert("pids_limit".to_owned(), json!(pids));
        let limit = pids.limit.map(|limit| format!(": it may have {limit}")).unwrap_or_default();
        remarks.push(format!("It was refused more processes and threads{limit}."));
    }
    if let Some(stopped) = &facts.stopped {
        result
            .insert("stopped".to_owned(), json!({ "means": stopped.means, "left": stopped.left }));
        if stopped.left > 0 {
            let who = named(&stopped.survivors, stopped.left);
            remarks.push(format!("What could not be ended: {}{who}.", stopped.left));
        }
    }
    remarks
}

fn named(some: &[SystemProcess], count: u32) -> String {
    let shown: Vec<String> =
        some.iter().take(NAMED).map(|one| format!("{} (pid {})", one.command, one.pid)).collect();
    if shown.is_empty() {
        return String::new();
    }
    let more = (count as usize).saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(": {}{more}", shown.join(", "))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use shared::protocol::process::{OomKilled, PidsLimit, StopMeans, Stopped};

    use super::*;

    fn ended(output_held_by: u32, facts: ProcessFacts) -> ProcessView {
        ProcessView {
            process_id: "proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap(),
            command: "make".to_owned(),
            cwd: "/w".to_owned(),
            chat_id: None,
            os_pid: None,
            started_at_ms: 1_000,
            state: ProcessState::Exited {
                exit: Exit::Signal { signal: 9, core: false },
                ended_at_ms: 1_500,
                output_held_by,
            },
            output_total: 0,
            dropped_from: 0,
            dropped_to: 0,
            facts: facts.if_any(),
        }
    }

    #[test]
    fn a_model_is_told_why_its_command_was_killed() {
        let oom_killed =
            Some(OomKilled { kills: 1, limit_bytes: Some(512 << 20), peak_bytes: Some(511 << 20) });
        let told = standing(&ended(0, ProcessFacts { oom_killed, ..ProcessFacts::default() }));
        let note = "Killed for memory: the limit is 512 MiB, the peak was 511 MiB.";
        assert_eq!(told["note"], note);
        assert_eq!(told["oom_killed"]["kills"], 1);
        let pids_limit = Some(PidsLimit { refused: 9, limit: Some(512) });
        let told = standing(&ended(0, ProcessFacts { pids_limit, ..ProcessFacts::default() }));
        assert_eq!(told["note"], "It was refused more processes and threads: it may have 512.");
    }

    #[test]
    fn who_holds_an_output_is_named_and_bounded() {
        let one = |pid| SystemProcess { pid, command: format!("serve {pid}") };
        let output_holders: Vec<SystemProcess> = (1..=8).map(one).collect();
        let told = standing(&ended(20, ProcessFacts { output_holders, ..ProcessFacts::default() }));
        let note = "It exited; 20 processes that it started still hold its output: serve 1 (pid 1), \
                    serve 2 (pid 2), serve 3 (pid 3), serve 4 (pid 4) and 16 more.";
        assert_eq!(told["note"], note);
        let output_holders = vec![one(7)];
        let told = standing(&ended(1, ProcessFacts { output_holders, ..ProcessFacts::default() }));
        let note = "It exited; 1 process that it started still holds its output: serve 7 (pid 7).";
        assert_eq!(told["note"], note);
    }

    #[test]
    fn a_stop_says_by_which_means_and_what_is_left() {
        let survivor = SystemProcess { pid: 4, command: "dd".to_owned() };
        let stopped = Some(Stopped { means: StopMeans::Walk, left: 1, survivors: vec![survivor] });
        let told = standing(&ended(0, ProcessFacts { stopped, ..ProcessFacts::default() }));
        assert_eq!(told["stopped"], json!({ "means": "walk", "left": 1 }));
        assert_eq!(told["note"], "What could not be ended: 1: dd (pid 4).");
    }
}
