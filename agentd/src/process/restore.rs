//! Taking in what an earlier daemon left: records, output, and processes that nobody watches.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Pid, Signal};
use shared::ids::ProcessId;
use shared::limits::WORKSPACE_OUTPUT_KEPT_BYTES;

use super::log::{Budget, LogFiles, OutputLog};
use super::machine::{End, Event, Phase, ProcessMachine};
use super::record::{Record, Started};
use super::table::{Durable, Process, ProcessTable};
use super::tree;
use crate::records::{OpenError, RecordFile};

/// Why the records of processes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenProcessesError {
    /// The record file.
    #[error(transparent)]
    Records(#[from] OpenError),
    /// The directory of the output.
    #[error("the output directory {path} cannot be used")]
    Output {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// The state that the service begins with.
pub(super) struct Restored {
    pub(super) records: RecordFile,
    pub(super) table: Arc<ProcessTable>,
    pub(super) budget: Arc<Budget>,
    pub(super) output_dir: Arc<Path>,
    pub(super) boot_id: String,
    /// To be recorded: what was found to be lost.
    pub(super) lost: Vec<Vec<u8>>,
}

impl Restored {
    /// Reads everything in `dir`. What had not ended is lost, and is ended where it still runs.
    pub(super) fn open(dir: &Path, now_ms: i64) -> Result<Self, OpenProcessesError> {
        let output_dir = dir.join("output");
        let io = |source| OpenProcessesError::Output { path: output_dir.clone(), source };
        std::fs::create_dir_all(&output_dir).map_err(io)?;
        let mut files = LogFiles::scan(&output_dir).map_err(io)?;
        let table = Arc::new(ProcessTable::default());
        let budget = Arc::new(Budget::new(WORKSPACE_OUTPUT_KEPT_BYTES));
        let mut replay = Replay::default();
        let records = RecordFile::open(&dir.join("records"), |_, bytes| {
            if let Some(record) = Record::decode(bytes) {
                replay.take(record, &table);
            }
        })?;
        let output_dir: Arc<Path> = output_dir.into();
        let boot_id = tree::boot_id();
        let mut lost = Vec::new();
        for (started, durable) in replay.processes {
            let files = files.remove(&started.process).unwrap_or_default();
            let (dir, budget) = (Arc::clone(&output_dir), Arc::clone(&budget));
            let log = OutputLog::restored(dir, started.process, &files, durable.total, budget);
            let mut machine = ProcessMachine::recorded(durable.phase());
            machine.apply(Event::Restarted { now_ms });
            let process = Process::new(started, log, machine.phase().clone());
            process.detail().durable = durable.clone();
            if matches!(machine.phase(), Phase::Lost { .. }) && durable.lost_at_ms.is_none() {
                process.detail().durable.lost_at_ms = Some(now_ms);
                let process = process.id();
                tracing::warn!(process.id = %process, "a process was lost with the daemon before");
                end_leftover(process, &durable, &boot_id);
                lost.push(Record::Lost { process, at_ms: now_ms }.encode());
            }
            table.insert(process);
        }
        // Output whose record was dropped just before the end of the earlier daemon.
        for (process, files) in files {
            let (dir, budget) = (Arc::clone(&output_dir), Arc::clone(&budget));
            OutputLog::restored(dir, process, &files, None, budget).discard();
        }
        Ok(Self { records, table, budget, output_dir, boot_id, lost })
    }
}

/// What the records say, gathered before the table is filled.
#[derive(Default)]
struct Replay {
    processes: Vec<(Started, Durable)>,
    index: HashMap<ProcessId, usize>,
}

impl Replay {
    fn take(&mut self, record: Record, table: &ProcessTable) {
        match record {
            Record::Started(started) => {
                self.index.entry(started.process).or_insert_with(|| {
                    self.processes.push((started, Durable::default()));
                    self.processes.len() - 1
                });
            }
            Record::Running { process, pid, start_time, boot_id } => {
                self.change(process, |durable| durable.running = Some((pid, start_time, boot_id)));
            }
            Record::NotStarted { process, error } => {
                self.change(process, |durable| durable.not_started = Some(error));
            }
            Record::Exited { process, exit, at_ms } => {
                let end = End { exit, at_ms };
                self.change(process, |durable| durable.end = Some(end));
            }
            Record::Complete { process, total } => {
                self.change(process, |durable| durable.total = Some(total));
            }
            Record::Lost { process, at_ms } => {
                self.change(process, |durable| durable.lost_at_ms = Some(at_ms));
            }
            Record::Pruned { process, ended_at_ms } => {
                if let Some(index) = self.index.remove(&process) {
                    self.processes.swap_remove(index);
                    if let Some((moved, _)) = self.processes.get(index) {
                        self.index.insert(moved.process, index);
                    }
                }
                table.remember_pruned(process, ended_at_ms);
            }
        }
    }

    fn change(&mut self, process: ProcessId, change: impl FnOnce(&mut Durable)) {
        let index = self.index.get(&process).copied();
        if let Some((_, durable)) = index.and_then(|index| self.processes.get_mut(index)) {
            change(durable);
        }
    }
}

/// Ends what an earlier daemon left running: nobody reads its output or could learn of its end.
fn end_leftover(process: ProcessId, durable: &Durable, boot_id: &str) {
    if let Some((pid, start_time, boot)) = &durable.running
        && boot == boot_id
        && tree::start_time(*pid) == Some(*start_time)
        && let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    tree::kill_members(process);
}
