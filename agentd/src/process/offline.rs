//! The processes of a workspace whose daemon does not run: what records, keepers' notes and `/proc`
//! tell together. Reads only; connects to no keeper, because that would be taken for a daemon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared::ids::ProcessId;
use shared::protocol::process::{ProcessList, ProcessState, ProcessView};

use super::keeper::protocol::Leader;
use super::keeper::record::Kept;
use super::launch::Attempt;
use super::log::{Budget, LogFiles, OutputLog};
use super::machine::{End, Phase};
use super::record::{Record, Started};
use super::restore::Replay;
use super::table::{Durable, Process, ProcessTable};
use super::tree;
use crate::records::{OpenError, RecordFile};

/// The processes whose records are in `dir`, running ones first, then the newest; at most `limit`.
/// None where no daemon has ever kept any.
pub fn list_offline(dir: &Path, limit: usize) -> Result<ProcessList, OpenError> {
    let mut replay = Replay::default();
    let table = ProcessTable::default();
    RecordFile::read(&dir.join("records"), |bytes| {
        if let Some(record) = Record::decode(bytes) {
            replay.take(record, &table);
        }
    })?;
    let output_dir: Arc<Path> = dir.join("output").into();
    let mut files = LogFiles::scan(&output_dir).unwrap_or_default();
    let budget = Arc::new(Budget::new(u64::MAX));
    let mut views: Vec<ProcessView> = replay
        .into_processes()
        .filter_map(|(started, durable)| {
            let id = started.process;
            let (phase, pid, total) = stand(dir, &started, &durable)?;
            let files = files.remove(&id).unwrap_or_default();
            let (dir, budget) = (Arc::clone(&output_dir), Arc::clone(&budget));
            let log = OutputLog::restored(dir, id, &files, total, budget);
            let process = Process::new(started, log, phase);
            process.os_pid.store(pid.unwrap_or(0), Ordering::Relaxed);
            Some(process.view())
        })
        .collect();
    let is_over = |view: &ProcessView| !matches!(view.state, ProcessState::Running);
    views.sort_by_key(|view| {
        (is_over(view), std::cmp::Reverse((view.started_at_ms, view.process_id)))
    });
    let total = views.len() as u64;
    views.truncate(limit);
    Ok(ProcessList { items: views, total })
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
