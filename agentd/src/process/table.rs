//! Which processes there are, and what is durable about each.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::ids::{OpId, ProcessId};
use shared::limits::{FINISHED_PROCESS_AGE, FINISHED_PROCESSES_KEPT};
use shared::protocol::WireError;
use shared::protocol::process::{ProcessFacts, ProcessState, ProcessView, SystemProcess};
use tokio::sync::watch;

use super::keeper::protocol::Leader;
use super::kept::KeeperHandle;
use super::log::{Budget, OutputLog};
use super::machine::{End, Phase};
use super::record::{Record, Started};
use super::settled::{Held, Settled};
use super::stdin::StdinHandle;
use super::terminal::TerminalCell;
use crate::records::{Live, LiveRecord, Location};

/// Ids of dropped processes that are remembered, to say "dropped" and not "never seen".
const PRUNED_MAX: usize = 10_000;

/// One process, as everybody but its driver sees it.
pub(super) struct Process {
    pub(super) started: Started,
    pub(super) log: Arc<OutputLog>,
    /// Present when it has a terminal.
    pub(super) terminal: Option<TerminalCell>,
    /// Where it stands; changed by its driver alone.
    pub(super) phase: watch::Sender<Phase>,
    /// Whether its keeper has told once how it stands; changed by its driver alone.
    pub(super) heard: watch::Sender<bool>,
    /// Zero while there is none.
    pub(super) os_pid: AtomicU32,
    /// How many held its output when that was last counted.
    pub(super) held_by: AtomicU32,
    pub(super) state: Mutex<ProcessDetail>,
}

/// What changes about a process, besides its phase.
#[derive(Default)]
pub(super) struct ProcessDetail {
    pub(super) durable: Durable,
    pub(super) stdin: Option<StdinHandle>,
    /// While there is a keeper, and it is not released.
    pub(super) keeper: Option<KeeperHandle>,
    pub(super) keeper_pid: Option<u32>,
    /// Whether it can end the whole tree.
    pub(super) keeper_can_stop: bool,
    /// Who held the output when that was last looked at.
    pub(super) holders: Vec<SystemProcess>,
    /// Inodes of its output pipes.
    pub(super) pipes: Vec<u64>,
}

/// What the records say after `started`.
#[derive(Clone, Debug, Default)]
pub(super) struct Durable {
    pub(super) running: Option<Leader>,
    pub(super) end: Option<End>,
    pub(super) total: Option<u64>,
    pub(super) not_started: Option<WireError>,
    pub(super) lost_at_ms: Option<i64>,
    pub(super) facts: ProcessFacts,
}

impl Process {
    pub(super) fn new(started: Started, log: Arc<OutputLog>, phase: Phase) -> Arc<Self> {
        let terminal = started.terminal.as_ref().map(|terminal| TerminalCell::new(terminal.size));
        Arc::new(Self {
            started,
            terminal,
            log,
            phase: watch::Sender::new(phase),
            heard: watch::Sender::new(false),
            os_pid: AtomicU32::new(0),
            held_by: AtomicU32::new(0),
            state: Mutex::default(),
        })
    }

    pub(super) const fn id(&self) -> ProcessId {
        self.started.process
    }

    pub(super) fn detail(&self) -> MutexGuard<'_, ProcessDetail> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process at this moment. The phase is read before the length of the output, so that
    /// "exited" implies that the length is final.
    pub(super) fn view(&self) -> ProcessView {
        let phase = self.phase.borrow().clone();
        let extent = self.log.extent();
        let pid = self.os_pid.load(Ordering::Relaxed);
        let facts = self.facts(&phase);
        ProcessView {
            process_id: self.started.process,
            command: self.started.command.clone(),
            cwd: self.started.cwd.clone(),
            chat_id: self.started.chat.clone(),
            os_pid: (pid != 0 && phase.is_running()).then_some(pid),
            started_at_ms: self.started.at_ms,
            state: phase.to_state(self.held_by.load(Ordering::Relaxed)),
            output_total: extent.total,
            dropped_from: extent.dropped_from,
            dropped_to: extent.dropped_to,
            facts,
        }
    }

    fn facts(&self, phase: &Phase) -> Option<Box<ProcessFacts>> {
        let detail = self.detail();
        let is_held = matches!(phase, Phase::Held { .. });
        let output_holders = if is_held { detail.holders.clone() } else { Vec::new() };
        let facts = detail.durable.facts.clone();
        let lost = Some(self.log.spool_full()).filter(|bytes| *bytes > 0);
        let spool_full = facts.spool_full.or(lost);
        let sandbox = self.started.sandbox;
        ProcessFacts { output_holders, spool_full, sandbox, ..facts }.if_any()
    }

    /// Takes in what its keeper found out; how it was stopped is known here.
    pub(super) fn learn(&self, facts: ProcessFacts) {
        let mut detail = self.detail();
        let stopped = detail.durable.facts.stopped.take().or(facts.stopped);
        detail.durable.facts = ProcessFacts { stopped, ..facts };
    }

    /// Its facts as a record, if there are any.
    pub(super) fn facts_record(&self) -> Option<Record> {
        let facts = self.detail().durable.facts.clone().if_any()?;
        Some(Record::Facts { process: self.id(), facts: *facts })
    }

    /// Whether nothing about it can change any more, but for what is kept of its output.
    pub(super) fn is_final(&self) -> bool {
        !self.phase.borrow().is_open()
            && self.log.extent().closed
            && self.detail().durable.is_final()
    }

    /// When it ended; when it began, if it never ran. Unix milliseconds.
    pub(super) fn over_at_ms(&self) -> i64 {
        let ended = self.phase.borrow().ended_at_ms();
        ended.unwrap_or(self.started.at_ms)
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let process = self.id();
        let durable = self.detail().durable.clone();
        let mut records = vec![Record::Started(self.started.clone())];
        if let Some(Leader { pid, start_time, boot_id }) = durable.running {
            records.push(Record::Running { process, pid, start_time, boot_id });
        }
        if let Some(error) = durable.not_started {
            records.push(Record::NotStarted { process, error });
        }
        if let Some(End { exit, at_ms }) = durable.end {
            records.push(Record::Exited { process, exit, at_ms });
        }
        if let Some(total) = durable.total {
            records.push(Record::Complete { process, total });
        }
        if let Some(at_ms) = durable.lost_at_ms {
            records.push(Record::Lost { process, at_ms });
        }
        if let Some(facts) = durable.facts.if_any() {
            records.push(Record::Facts { process, facts: *facts });
        }
        records
    }
}

impl Durable {
    /// Whether nothing about it can change any more.
    pub(super) const fn is_final(&self) -> bool {
        let is_complete = self.end.is_some() && self.total.is_some();
        is_complete || self.not_started.is_some() || self.lost_at_ms.is_some()
    }

    /// Where the process stood when the last of these was written.
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self { not_started: Some(error), .. } => Phase::NotStarted { error: error.clone() },
            Self { end: Some(end), .. } => Phase::Ended { end: *end },
            Self { lost_at_ms: Some(noticed_at_ms), .. } => {
                Phase::Lost { noticed_at_ms: *noticed_at_ms }
            }
            Self { running: Some(_), .. } => Phase::Running,
            _ => Phase::Starting,
        }
    }
}

/// What is known of an id.
pub(super) enum Known {
    Here(Arc<Process>),
    /// It ended then, and was dropped.
    Pruned {
        ended_at_ms: i64,
    },
    Never,
}

/// All processes. One mutex, held for moments.
pub(super) struct ProcessTable {
    state: Mutex<State>,
    output_dir: Arc<Path>,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct State {
    processes: HashMap<ProcessId, Entry>,
    by_op: HashMap<OpId, ProcessId>,
    /// Those that were open when they were last looked at.
    open: Vec<Arc<Process>>,
    /// Settled ones that somebody has.
    held: Held,
    /// Nothing is too old before this; unix milliseconds.
    prune_after_ms: i64,
    /// In the order of their ids, which is that of their starts, with when they ended. The ids in a form
    /// that leaves no holes: there are thousands.
    pruned: VecDeque<([u64; 2], i64)>,
}

enum Entry {
    Whole(Arc<Process>),
    Settled(Settled),
}

impl ProcessTable {
    /// An empty table of processes whose output is in `output_dir`.
    pub(super) fn new(output_dir: Arc<Path>, budget: Arc<Budget>) -> Self {
        Self { state: Mutex::default(), output_dir, budget }
    }

    pub(super) fn insert(&self, process: Arc<Process>) {
        let mut state = self.lock();
        state.by_op.insert(process.started.op, process.id());
        if process.phase.borrow().is_open() {
            state.open.push(Arc::clone(&process));
        }
        state.processes.insert(process.id(), Entry::Whole(process));
    }

    /// Keeps `process` in little room from now on, as it is; nothing, while it can change. Also to be
    /// called when something has changed about one that is kept so.
    pub(super) fn settle(&self, process: &Arc<Process>) {
        let id = process.id();
        let mut state = self.lock();
        // Under the lock: of two that settle it the later one is right.
        let Some(settled) = Settled::of(process) else { return };
        let Some(entry) = state.processes.get_mut(&id) else { return };
        *entry = Entry::Settled(settled);
        state.open.retain(|open| open.id() != id);
        state.held.add(process);
    }

    pub(super) fn remove(&self, id: ProcessId) {
        let mut state = self.lock();
        if let Some(process) = self.find(&mut state, id) {
            state.processes.remove(&id);
            state.by_op.remove(&process.started.op);
            state.open.retain(|open| open.id() != id);
        }
    }

    pub(super) fn known(&self, id: ProcessId) -> Known {
        let mut state = self.lock();
        if let Some(process) = self.find(&mut state, id) {
            return Known::Here(process);
        }
        match state.pruned.binary_search_by_key(&halves(id), |pruned| pruned.0) {
            Ok(at) => Known::Pruned { ended_at_ms: state.pruned[at].1 },
            Err(_) => Known::Never,
        }
    }

    pub(super) fn by_op(&self, op: OpId) -> Option<Arc<Process>> {
        let mut state = self.lock();
        let id = *state.by_op.get(&op)?;
        self.find(&mut state, id)
    }

    fn find(&self, state: &mut State, id: ProcessId) -> Option<Arc<Process>> {
        let settled = match state.processes.get(&id)? {
            Entry::Whole(process) => return Some(Arc::clone(process)),
            Entry::Settled(settled) => settled,
        };
        if let Some(process) = state.held.find(id) {
            return Some(process);
        }
        let process = settled.process(&self.output_dir, &self.budget)?;
        state.held.add(&process);
        Some(process)
    }

    /// Those that were open when they were last looked at.
    pub(super) fn open(&self) -> Vec<Arc<Process>> {
        self.lock().open.clone()
    }

    /// All with a terminal.
    pub(super) fn terminals(&self) -> Vec<Arc<Process>> {
        let mut state = self.lock();
        let is_terminal = |entry: &Entry| match entry {
            Entry::Whole(process) => process.terminal.is_some(),
            Entry::Settled(settled) => settled.is_terminal,
        };
        let terminals = state.processes.iter().filter(|(_, entry)| is_terminal(entry));
        let ids: Vec<ProcessId> = terminals.map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.find(&mut state, id)).collect()
    }

    /// Processes without a terminal, of one chat or of all: running ones first, then the newest.
    pub(super) fn views(&self, chat: Option<&str>) -> Vec<ProcessView> {
        let mut views = Vec::new();
        let mut state = self.lock();
        let ids: Vec<ProcessId> = state.processes.keys().copied().collect();
        for id in ids {
            if let Some(Entry::Settled(settled)) = state.processes.get(&id)
                && (settled.is_terminal || !settled.may_be_of(chat))
            {
                continue;
            }
            let found = self.find(&mut state, id);
            views.extend(
                found
                    .filter(|process| process.terminal.is_none())
                    .filter(|process| chat.is_none() || process.started.chat.as_deref() == chat)
                    .map(|process| process.view()),
            );
        }
        drop(state);
        let is_over = |view: &ProcessView| !matches!(view.state, ProcessState::Running);
        views.sort_by_key(|view| {
            (is_over(view), std::cmp::Reverse((view.started_at_ms, view.process_id)))
        });
        views
    }

    /// How many terminals' programs run.
    pub(super) fn running_terminals(&self) -> usize {
        let state = self.lock();
        let terminals = state.open.iter().filter(|process| process.terminal.is_some());
        terminals.filter(|process| process.phase.borrow().is_running()).count()
    }

    pub(super) fn running(&self) -> usize {
        let mut state = self.lock();
        state.open.retain(|process| process.phase.borrow().is_open());
        let plain = state.open.iter().filter(|process| process.terminal.is_none());
        plain.filter(|process| process.phase.borrow().is_running()).count()
    }

    pub(super) fn is_leader(&self, pid: u32) -> bool {
        let state = self.lock();
        state.open.iter().any(|process| process.os_pid.load(Ordering::Relaxed) == pid)
    }

    /// Finished processes, the one that ended first at the front: when it ended, and the bytes of
    /// output that are kept.
    pub(super) fn finished(&self) -> Vec<(i64, ProcessId, u64)> {
        let state = self.lock();
        let finished = state.processes.iter().filter_map(|(id, entry)| match entry {
            Entry::Whole(process) if process.phase.borrow().is_open() => None,
            Entry::Whole(process) => Some((process.over_at_ms(), *id, process.log.kept_bytes())),
            Entry::Settled(settled) => Some((settled.over_at_ms, *id, settled.kept_bytes)),
        });
        let mut finished: Vec<_> = finished.collect();
        drop(state);
        finished.sort_unstable();
        finished
    }

    /// Finished processes whose records are too old or too many, oldest first, with when each ended.
    pub(super) fn due(&self, now_ms: i64) -> Vec<(ProcessId, i64)> {
        {
            let state = self.lock();
            let finished = state.processes.len().saturating_sub(state.open.len());
            // Asked at every end of a process: most of the time there is nothing to do.
            if finished <= FINISHED_PROCESSES_KEPT && now_ms < state.prune_after_ms {
                return Vec::new();
            }
        }
        let finished = self.finished();
        let excess = finished.len().saturating_sub(FINISHED_PROCESSES_KEPT);
        let age_ms = i64::try_from(FINISHED_PROCESS_AGE.as_millis()).unwrap_or(i64::MAX);
        // Oldest first: the first that is young enough ends the walk.
        let is_old = |ended_at_ms: i64| now_ms.saturating_sub(ended_at_ms) >= age_ms;
        let old = finished.partition_point(|(ended_at_ms, ..)| is_old(*ended_at_ms));
        let due = old.max(excess);
        let oldest = finished.get(due).map_or(now_ms, |(ended_at_ms, ..)| *ended_at_ms);
        self.lock().prune_after_ms = oldest.saturating_add(age_ms);
        finished.iter().take(due).map(|(ended_at_ms, id, _)| (*id, *ended_at_ms)).collect()
    }

    /// Drops a finished process, which is remembered as one that was. Gives it once more.
    pub(super) fn prune(&self, id: ProcessId, ended_at_ms: i64) -> Option<Arc<Process>> {
        let process = self.find(&mut self.lock(), id)?;
        self.remove(id);
        self.remember_pruned(id, ended_at_ms);
        Some(process)
    }

    /// Gives back what thousands needed that are gone; it grows again with the next ones.
    pub(super) fn shrink(&self) {
        let mut state = self.lock();
        state.processes.shrink_to_fit();
        state.by_op.shrink_to_fit();
        state.open.shrink_to_fit();
    }

    pub(super) fn remember_pruned(&self, id: ProcessId, ended_at_ms: i64) {
        let id = halves(id);
        let mut state = self.lock();
        let pruned = &mut state.pruned;
        if pruned.len() == pruned.capacity() {
            pruned.reserve_exact(PRUNED_MAX / 16);
        }
        // The newest nearly always: so it goes to the end.
        if let Err(at) = pruned.binary_search_by_key(&id, |pruned| pruned.0) {
            pruned.insert(at, (id, ended_at_ms));
        }
        if pruned.len() > PRUNED_MAX {
            pruned.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id as two numbers in the order of ids.
fn halves(id: ProcessId) -> [u64; 2] {
    let bytes = id.ulid().to_bytes();
    let (high, low) = bytes.split_at(8);
    [high, low].map(|half| half.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn whole([high, low]: [u64; 2]) -> ProcessId {
    ProcessId::from_ulid((u128::from(high) << 64 | u128::from(low)).into())
}

impl Live for ProcessTable {
    fn live(&self) -> Vec<LiveRecord> {
        let state = self.lock();
        let pruned = state.pruned.iter().map(|(id, ended_at_ms)| {
            Record::Pruned { process: whole(*id), ended_at_ms: *ended_at_ms }.encode()
        });
        let mut live: Vec<LiveRecord> = pruned.map(LiveRecord::Fresh).collect();
        for entry in state.processes.values() {
            match entry {
                Entry::Whole(process) => {
                    live.extend(process.records().iter().map(|r| LiveRecord::Fresh(r.encode())));
                }
                Entry::Settled(settled) => live.extend(settled.records().map(LiveRecord::Fresh)),
            }
        }
        live
    }

    fn moved(&self, _: Vec<Location>) {
        // Everything is in memory; no record is read again.
    }
}
