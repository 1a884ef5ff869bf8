//! Taking over what an earlier daemon left: records, output, keepers, and what has lost its keeper.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::ids::ProcessId;
use shared::limits::WORKSPACE_OUTPUT_KEPT_BYTES;
use shared::protocol::WireError;
use shared::protocol::process::{ProcessFacts, StopMeans, Stopped};

use super::keeper::protocol::Leader;
use super::launch::Attempt;
use super::log::{Budget, LogFiles, OutputLog};
use super::machine::{End, Phase};
use super::record::{Record, Started};
use super::supervise::Supervisor;
use super::table::{Durable, Process, ProcessTable};
use super::tree;
use crate::records::{OpenError, RecordFile};

/// Survivors of an end that are named.
const SURVIVORS_NAMED: usize = 8;

/// Why the records of processes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenProcessesError {
    /// The record file.
    #[error(transparent)]
    Records(#[from] OpenError),
    /// The directory of the keepers, or the program that makes them.
    #[error("keepers cannot be made in {path}")]
    Keepers {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A keeper that was found.
    #[error("a keeper cannot be connected to")]
    Link(#[source] io::Error),
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
    /// To be recorded: what was found out.
    pub(super) found: Vec<Vec<u8>>,
    /// Processes whose keepers are there.
    pub(super) alive: Vec<(Arc<Process>, UnixStream)>,
    /// Processes whose keepers are not needed once everything is recorded.
    pub(super) settled: Vec<ProcessId>,
}

/// What became of a process that was not on record as ended.
enum Fate {
    Alive(UnixStream),
    /// It ended while no daemon ran.
    Ended {
        end: End,
        total: Option<u64>,
        facts: Option<Box<ProcessFacts>>,
    },
    NotStarted(WireError),
    NeverRan,
    Lost,
}

impl Restored {
    /// Reads everything in `dir` and looks for keepers. What has lost its keeper is ended where it
    /// still runs.
    pub(super) fn open(
        dir: &Path,
        supervisor: &Supervisor,
        now_ms: i64,
    ) -> Result<Self, OpenProcessesError> {
        let output_dir = dir.join("output");
        let io = |source| OpenProcessesError::Output { path: output_dir.clone(), source };
        std::fs::create_dir_all(&output_dir).map_err(io)?;
        let mut replay = Replay::default();
        let mut pruned = Vec::new();
        let records = RecordFile::open(&dir.join("records"), |_, bytes| {
            let record = Record::decode(bytes);
            pruned.extend(record.and_then(|record| replay.take(record)));
        })?;
        let mut fates: HashMap<ProcessId, Fate> = replay
            .processes
            .iter()
            .filter(|(_, durable)| !durable.is_final())
            .filter_map(|(started, durable)| {
                Some((started.process, fate(supervisor, started, durable)?))
            })
            .collect();
        // After the keepers were asked: what has ended by then writes no more.
        let mut files = LogFiles::scan(&output_dir).map_err(io)?;
        let budget = Arc::new(Budget::new(WORKSPACE_OUTPUT_KEPT_BYTES));
        let settled = supervisor.all().map_err(io)?;
        let output_dir: Arc<Path> = output_dir.clone().into();
        let table = Arc::new(ProcessTable::new(Arc::clone(&output_dir), Arc::clone(&budget)));
        for (process, ended_at_ms) in pruned {
            table.remember_pruned(process, ended_at_ms);
        }
        let (found, alive) = (Vec::new(), Vec::new());
        let mut restored = Self { records, table, budget, output_dir, found, alive, settled };
        for (started, mut durable) in replay.processes {
            let fate = fates.remove(&started.process);
            if let Some(Fate::NeverRan) = fate {
                restored.found.push(Record::NeverRan { process: started.process }.encode());
                // At once: the same start may come again.
                restored.settled.retain(|id| *id != started.process);
                supervisor.remove(started.process);
                continue;
            }
            let stream = restored.settle(&started, &mut durable, fate, now_ms);
            let files = files.remove(&started.process).unwrap_or_default();
            let log = restored.log(started.process, &files, durable.total);
            let mut phase = durable.phase();
            if stream.is_some() {
                log.reopen();
                // Its leader's end was told; it may still have been writing.
                if let Phase::Ended { end } = phase {
                    phase = Phase::Held { end };
                }
            }
            let process = Process::new(started, log, phase);
            process.detail().durable = durable;
            if let Some(terminal) = &process.terminal {
                terminal.settle(&restored.output_dir.join(process.id().to_string()));
            }
            restored.table.insert(Arc::clone(&process));
            if stream.is_none() {
                restored.table.settle(&process);
            }
            if let Some(stream) = stream {
                restored.settled.retain(|id| *id != process.id());
                restored.alive.push((process, stream));
            }
        }
        // Output whose record was dropped just before the end of the earlier daemon.
        for (process, files) in files {
            restored.log(process, &files, None).discard();
        }
        Ok(restored)
    }

    fn log(&self, process: ProcessId, files: &LogFiles, total: Option<u64>) -> Arc<OutputLog> {
        let (dir, budget) = (Arc::clone(&self.output_dir), Arc::clone(&self.budget));
        OutputLog::restored(dir, process, files, total, budget)
    }

    /// Notes what was found out. Gives the link to the keeper that is there.
    fn settle(
        &mut self,
        started: &Started,
        durable: &mut Durable,
        fate: Option<Fate>,
        now_ms: i64,
    ) -> Option<UnixStream> {
        let process = started.process;
        match fate? {
            Fate::Alive(stream) => return Some(stream),
            Fate::Ended { end, total, facts } => {
                let End { exit, at_ms } = end;
                durable.end = Some(end);
                durable.total = total;
                self.found.push(Record::Exited { process, exit, at_ms }.encode());
                let complete = total.map(|total| Record::Complete { process, total }.encode());
                self.found.extend(complete);
                if let Some(facts) = facts {
                    durable.facts = *facts.clone();
                    self.found.push(Record::Facts { process, facts: *facts }.encode());
                }
            }
            Fate::NotStarted(error) => {
                durable.not_started = Some(error.clone());
                self.found.push(Record::NotStarted { process, error }.encode());
            }
            Fate::Lost => {
                tracing::warn!(process.id = %process, "a process was lost with its keeper");
                durable.lost_at_ms = Some(now_ms);
                self.found.push(Record::Lost { process, at_ms: now_ms }.encode());
            }
            Fate::NeverRan => {}
        }
        None
    }
}

/// Finds out about one process. None: its end is known, and no keeper is there to add to it.
fn fate(supervisor: &Supervisor, started: &Started, durable: &Durable) -> Option<Fate> {
    let process = started.process;
    if let Some(stream) = supervisor.find(process) {
        return Some(Fate::Alive(stream));
    }
    let kept = supervisor.kept(process);
    if let Some(refusal) = kept.refusal {
        let error = Attempt::shown(&started.command).error(refusal);
        return Some(Fate::NotStarted(error.into()));
    }
    if let Some((exit, at_ms)) = kept.exit {
        if kept.total.is_none() {
            end_leftover(supervisor, process, None);
        }
        let end = durable.end.unwrap_or(End { exit, at_ms });
        let facts = kept.facts.map(Box::new);
        return Some(Fate::Ended { end, total: kept.total, facts });
    }
    if durable.end.is_some() {
        return None;
    }
    // Every order of an earlier daemon was worked off before, and a keeper writes a note before it
    // executes anything. Notes survive a daemon, and not the machine.
    if !kept.is_begun && durable.running.is_none() && started.boot_id == supervisor.boot_id() {
        return Some(Fate::NeverRan);
    }
    end_leftover(supervisor, process, kept.leader.as_ref().or(durable.running.as_ref()));
    Some(Fate::Lost)
}

/// What the records say, gathered before the table is filled.
#[derive(Default)]
pub(super) struct Replay {
    processes: Vec<(Started, Durable)>,
    index: HashMap<ProcessId, usize>,
}

impl Replay {
    /// What is left of them: each with what is durable about it.
    pub(super) fn into_processes(self) -> impl Iterator<Item = (Started, Durable)> {
        self.processes.into_iter()
    }

    /// Takes a record in. Gives what was dropped, with when it ended.
    pub(super) fn take(&mut self, record: Record) -> Option<(ProcessId, i64)> {
        match record {
            Record::Started(started) => {
                self.index.entry(started.process).or_insert_with(|| {
                    self.processes.push((started, Durable::default()));
                    self.processes.len() - 1
                });
            }
            Record::Running { process, pid, start_time, boot_id } => {
                self.change(process, |durable| {
                    durable.running = Some(Leader { pid, start_time, boot_id });
                });
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
            Record::Facts { process, facts } => {
                self.change(process, |durable| durable.facts = facts);
            }
            Record::Lost { process, at_ms } => {
                self.change(process, |durable| durable.lost_at_ms = Some(at_ms));
            }
            Record::NeverRan { process } => self.forget(process),
            Record::Pruned { process, ended_at_ms } => {
                self.forget(process);
                return Some((process, ended_at_ms));
            }
        }
        None
    }

    fn forget(&mut self, process: ProcessId) {
        if let Some(index) = self.index.remove(&process) {
            self.processes.swap_remove(index);
            if let Some((moved, _)) = self.processes.get(index) {
                self.index.insert(moved.process, index);
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

/// Ends what runs without a keeper: nobody reads its output or could learn of its end.
///
/// Its control group is its own by its name; where there is none, or something has left it, the
/// leader is known by boot, pid and start time, and the rest by the mark in its environment. Gives by
/// which means, and what is left.
pub(super) fn end_leftover(
    supervisor: &Supervisor,
    process: ProcessId,
    leader: Option<&Leader>,
) -> Stopped {
    let group = supervisor.group(process);
    let mut means = StopMeans::Signal;
    if group.is_populated() == Some(true) {
        means = StopMeans::CgroupKill;
        if !group.kill() {
            means = StopMeans::FreezeKill;
            group.freeze_and_kill();
        }
    }
    if let Some(leader) = leader {
        tree::kill_group(leader);
    }
    let (killed, left) = tree::kill_members(process);
    if killed > 0 && means == StopMeans::Signal {
        means = StopMeans::Walk;
    }
    group.remove();
    let survivors = left.iter().take(SURVIVORS_NAMED).map(|pid| tree::named(*pid)).collect();
    Stopped { means, left: u32::try_from(left.len()).unwrap_or(u32::MAX), survivors }
}
