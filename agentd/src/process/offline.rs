//! The processes of a workspace whose daemon does not run: what records, keepers' notes and `/proc`
//! tell together. Reads only; connects to no keeper, because that would be taken for a daemon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared::ids::{ProcessId, PtyId};
use shared::protocol::process::{ProcessState, ProcessView};
use shared::protocol::pty::{PtySize, PtyView};

use super::keeper::protocol::Leader;
use super::keeper::record::Kept;
use super::launch::Attempt;
use super::log::{Budget, LogFiles, OutputLog};
use super::machine::{End, Phase};
use super::record::{Record, Started};
use super::restore::Replay;
use super::table::{Durable, Process};
use super::tree;
use crate::records::{OpenError, RecordFile};

/// What is known of a workspace without its daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offline {
    /// Running ones first, then the newest.
    pub processes: Vec<ProcessView>,
    /// Running ones first, then the newest. Nobody is attached.
    pub terminals: Vec<PtyView>,
}

/// The processes and terminals whose records are in `dir`. Empty where no daemon has ever kept any.
pub fn list_offline(dir: &Path) -> Result<Offline, OpenError> {
    let mut replay = Replay::default();
    RecordFile::read(&dir.join("records"), |bytes| {
        if let Some(record) = Record::decode(bytes) {
            replay.take(record);
        }
    })?;
    let output_dir: Arc<Path> = dir.join("output").into();
    let mut files = LogFiles::scan(&output_dir).unwrap_or_default();
    let budget = Arc::new(Budget::new(u64::MAX));
    let mut views = Vec::new();
    for (started, durable) in replay.into_processes() {
        let id = started.process;
        let Some((phase, pid, total)) = stand(dir, &started, &durable) else { continue };
        let files = files.remove(&id).unwrap_or_default();
        let (output_dir, budget) = (Arc::clone(&output_dir), Arc::clone(&budget));
        let log = OutputLog::restored(output_dir, id, &files, total, budget);
        let size = started.terminal.as_ref().map(|terminal| terminal.size);
        let process = Process::new(started, log, phase);
        process.os_pid.store(pid.unwrap_or(0), Ordering::Relaxed);
        process.detail().durable = durable;
        views.push((process.view(), size));
    }
    views.sort_by_key(|(view, _)| {
        let is_over = !matches!(view.state, ProcessState::Running);
        (is_over, std::cmp::Reverse((view.started_at_ms, view.process_id)))
    });
    let mut offline = Offline::default();
    for (view, size) in views {
        match size {
            None => offline.processes.push(view),
            Some(size) => offline.terminals.push(terminal(view, size)),
        }
    }
    Ok(offline)
}

fn terminal(view: ProcessView, size: PtySize) -> PtyView {
    PtyView {
        pty_id: PtyId::from_ulid(view.process_id.ulid()),
        command: view.command,
        cwd: view.cwd,
        chat_id: view.chat_id,
        os_pid: view.os_pid,
        started_at_ms: view.started_at_ms,
        state: view.state,
        size,
        title: None,
        writer: None,
        viewers: 0,
        output_total: view.output_total,
        dropped_from: view.dropped_from,
        dropped_to: view.dropped_to,
    }
}

/// Where a process stands, its pid, and the length of its output if that is on record. None: it
/// never ran.
fn stand(
    dir: &Path,
    started: &Started,
    durable: &Durable,
) -> Option<(Phase, Option<u32>, Option<u64>)> {
    if durable.is_final() {
        return Some((durable.phase(), None, durable.total));
    }
    let kept = Kept::read(&record_of(dir, started.process));
    let total = durable.total.or(kept.total);
    if let Some(refusal) = kept.refusal {
        let error = Attempt::shown(&started.command).error(refusal).into();
        return Some((Phase::NotStarted { error }, None, None));
    }
    let end = durable.end.or(kept.exit.map(|(exit, at_ms)| End { exit, at_ms }));
    if let Some(end) = end {
        return Some((Phase::Ended { end }, None, total));
    }
    let leader = kept.leader.as_ref().or(durable.running.as_ref());
    if let Some(leader) = leader.filter(|leader| is_there(leader)) {
        return Some((Phase::Running, Some(leader.pid), total));
    }
    if !kept.is_begun && leader.is_none() && started.boot_id == tree::boot_id() {
        return None;
    }
    // Nobody has noticed yet: the next daemon will.
    Some((Phase::Lost { noticed_at_ms: started.at_ms }, None, total))
}

/// Whether exactly this process is there, and not another with its number.
fn is_there(leader: &Leader) -> bool {
    leader.boot_id == tree::boot_id() && tree::start_time(leader.pid) == Some(leader.start_time)
}

fn record_of(dir: &Path, process: ProcessId) -> std::path::PathBuf {
    dir.join("keepers").join(process.to_string()).join("record")
}
