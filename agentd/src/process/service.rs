//! What the handle and the drivers share: admission, take-over, signals, tidying.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;
use shared::clock::Clock;
use shared::ids::{OpId, ProcessId};
use shared::lifecycle::Lifecycle;
use shared::limits::PROCESSES_RUNNING_MAX;
use shared::protocol::process::{SandboxKind, StartProcess, StartSandboxed, Stopped};
use shared::protocol::{ErrorCode, WireError};
use tokio::sync::watch;

use super::driver::Driver;
use super::environment::Environment;
use super::error::StartError;
use super::kept::{KeeperLink, LinkParts};
use super::launch::{Attempt, Launch};
use super::log::{Budget, LogWriter, OutputLog};
use super::machine::{Event, Phase, ProcessMachine};
use super::record::{Record, Started};
use super::supervise::Supervisor;
use super::table::{Known, Process, ProcessTable};
use super::{restore, tree};
use crate::records::{RecorderHandle, Urgency};
use crate::resident::give_back_heap;

/// Longest wait for the first word of the keepers that were found.
const ADOPTION_TIME: Duration = Duration::from_secs(2);
/// Records dropped at once whose memory is given back to the system: some hundred KiB.
const GIVEN_BACK_FROM: usize = 100;
/// Processes that hold an output and are named.
const HOLDERS_NAMED: usize = 8;

/// The service behind the handle. Its only lock is the table's.
pub(super) struct ProcessService {
    pub(super) root: PathBuf,
    pub(super) output_dir: Arc<Path>,
    pub(super) environment: Environment,
    pub(super) table: Arc<ProcessTable>,
    pub(super) recorder: RecorderHandle,
    pub(super) budget: Arc<Budget>,
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ended: watch::Sender<Option<ProcessId>>,
    pub(super) supervisor: Supervisor,
}

/// What a request to start meets.
pub(super) enum Admitted {
    /// The same operation has started it before.
    Before(Arc<Process>),
    /// It is entered and not yet recorded.
    New(Arc<Process>, Box<Launch>),
}

impl ProcessService {
    pub(super) fn find(&self, id: ProcessId) -> Result<Arc<Process>, WireError> {
        match self.table.known(id) {
            Known::Here(process) if process.terminal.is_none() => Ok(process),
            Known::Pruned { ended_at_ms } => {
                let text = format!("{id} ended and its record was dropped");
                let error = WireError::refused(ErrorCode::ProcessPruned, text);
                Err(error.with("ended_at_ms", ended_at_ms))
            }
            Known::Here(_) | Known::Never => {
                let text = format!("there is no process {id}");
                Err(WireError::refused(ErrorCode::ProcessNotFound, text))
            }
        }
    }

    /// Checks a request and enters the process.
    pub(super) fn admit(&self, op: OpId, request: &StartProcess) -> Result<Admitted, StartError> {
        if let Some(process) = self.admitted_before(op, request.process_id)? {
            return Ok(Admitted::Before(process));
        }
        self.check_room()?;
        let launch = Launch::check(request, &self.root, &self.environment)?;
        Ok(self.enter(op, request.process_id, request.chat_id.clone(), launch))
    }

    /// As [`admit`](Self::admit), for a sandbox.
    pub(super) fn admit_sandboxed(
        &self,
        op: OpId,
        request: &StartSandboxed,
    ) -> Result<Admitted, StartError> {
        let StartSandboxed { start, sandbox: SandboxKind::ReadOnly } = request;
        if let Some(process) = self.admitted_before(op, start.process_id)? {
            return Ok(Admitted::Before(process));
        }
        let facts = self.supervisor.sandbox().clone().map_err(StartError::Sandbox)?;
        self.check_room()?;
        let launch = Launch::check_sandboxed(start, facts, &self.root, &self.environment)?;
        Ok(self.enter(op, start.process_id, start.chat_id.clone(), launch))
    }

    fn check_room(&self) -> Result<(), StartError> {
        let running = self.table.running();
        if running >= PROCESSES_RUNNING_MAX {
            return Err(StartError::TooMany { running, limit: PROCESSES_RUNNING_MAX });
        }
        Ok(())
    }

    /// The process that the same operation has started before.
    pub(super) fn admitted_before(
        &self,
        op: OpId,
        id: ProcessId,
    ) -> Result<Option<Arc<Process>>, StartError> {
        match self.table.known(id) {
            Known::Here(process) if process.started.op == op => Ok(Some(process)),
            Known::Here(_) | Known::Pruned { .. } => Err(StartError::IdInUse),
            Known::Never => Ok(None),
        }
    }

    /// Enters a process whose launch is checked.
    pub(super) fn enter(
        &self,
        op: OpId,
        id: ProcessId,
        chat: Option<String>,
        launch: Launch,
    ) -> Admitted {
        let started = Started {
            process: id,
            op,
            command: launch.command.clone(),
            cwd: launch.cwd.path.to_string_lossy().into_owned(),
            chat,
            at_ms: self.clock.now_ms(),
            boot_id: self.supervisor.boot_id().to_owned(),
            terminal: launch.terminal.clone(),
            sandbox: launch.sandbox,
        };
        let log = OutputLog::new(
            Arc::clone(&self.output_dir),
            id,
            launch.output_kept_bytes,
            Arc::clone(&self.budget),
        );
        let process = Process::new(started, log, Phase::Starting);
        self.table.insert(Arc::clone(&process));
        Admitted::New(process, Box::new(launch))
    }

    /// Makes the start durable, before the program is executed.
    pub(super) async fn record_start(&self, process: &Process) -> Result<(), WireError> {
        let record = Record::Started(process.started.clone()).encode();
        let written = self.recorder.append(record, Urgency::Begin, drop).await;
        written.map_err(|error| StartError::Record(error).into())
    }

    /// Starts the tasks of a process whose keeper is at the other end of `stream`.
    pub(super) fn watch(
        self: &Arc<Self>,
        process: &Arc<Process>,
        stream: UnixStream,
        attempt: Attempt,
    ) -> io::Result<()> {
        let (service, id) = (Arc::clone(self), process.id());
        let parts = LinkParts {
            find: Arc::new(move || service.supervisor.find(id)),
            output_dir: Arc::clone(&self.output_dir),
            budget: Arc::clone(&self.budget),
            clock: Arc::clone(&self.clock),
            lifecycle: self.lifecycle.clone(),
        };
        let (link, keeper, seen) = KeeperLink::new(Arc::clone(process), stream, parts)?;
        process.detail().keeper = Some(keeper.clone());
        let driver = Driver {
            process: Arc::clone(process),
            machine: ProcessMachine::recorded(process.phase.borrow().clone()),
            keeper,
            seen,
            attempt,
            service: Arc::clone(self),
        };
        self.lifecycle.spawn_serving("process.keeper", link.run());
        self.lifecycle.spawn_serving("process.driver", driver.run());
        Ok(())
    }

    pub(super) fn not_started(&self, process: &Arc<Process>, error: &StartError) {
        let error = WireError::refused(error.code(), error.to_string());
        let mut machine = ProcessMachine::starting();
        machine.apply(Event::NotStarted(error.clone()));
        process.detail().durable.not_started = Some(error.clone());
        let record = Record::NotStarted { process: process.id(), error };
        // Not waited for: the journal has the error too.
        drop(self.recorder.append(record.encode(), Urgency::Finish, drop));
        drop(LogWriter::new(Arc::clone(&process.log))); // closes it
        process.phase.send_replace(machine.phase().clone());
        self.table.settle(process);
    }

    /// Signals the group through its keeper, or by their mark those that the leader left behind.
    pub(super) async fn signal(
        &self,
        op: Option<OpId>,
        process: &Arc<Process>,
        number: i32,
    ) -> Result<(), WireError> {
        let ended = || WireError::refused(ErrorCode::ProcessEnded, "the process has ended");
        let keeper = process.detail().keeper.clone();
        if let Some(keeper) = keeper
            && keeper.signal(op, number).await
        {
            return Ok(());
        }
        let named = Signal::from_named_raw(number).filter(|_| process.phase.borrow().is_open());
        let signal = named.ok_or_else(ended)?;
        // The leader is gone, and what it left behind can still be reached.
        let id = process.id();
        let send = move || tree::signal_members(id, signal);
        match self.lifecycle.blocking("process.signal", send).await {
            0 => Err(ended()),
            _ => Ok(()),
        }
    }

    /// Waits until every keeper that was found has told how its process stands, or has turned out to be
    /// gone: until then only the records of an earlier daemon are known. Bounded: a keeper that hangs
    /// must not hold the daemon.
    pub(super) async fn adopted(&self) {
        let all = async {
            for process in self.table.open() {
                if process.phase.borrow().is_open() {
                    // The sender lives as long as the process.
                    let _ = process.heard.subscribe().wait_for(|heard| *heard).await;
                }
            }
        };
        if tokio::time::timeout(ADOPTION_TIME, all).await.is_err() {
            tracing::warn!("a keeper does not say how its process stands; it is taken to run");
        }
    }

    /// Asks the keeper to end everything; none: there is no keeper that can.
    pub(super) async fn stop_by_keeper(&self, process: &Process, grace_ms: u64) -> Option<Stopped> {
        let keeper = {
            let detail = process.detail();
            detail.keeper.clone().filter(|_| detail.keeper_can_stop)
        };
        keeper?.stop(grace_ms).await
    }

    /// Ends what has no keeper, or one of a version that cannot.
    pub(super) async fn stop_without_keeper(
        self: &Arc<Self>,
        process: &Arc<Process>,
        grace_ms: u64,
    ) -> Stopped {
        let mut phases = process.phase.subscribe();
        if process.phase.borrow().is_open() {
            // What is stopped does not see the polite signal before it goes on.
            for number in [Signal::TERM.as_raw(), Signal::CONT.as_raw()] {
                // It may be gone by now, which is what was asked for.
                let _ = self.signal(None, process, number).await;
            }
            let gone = phases.wait_for(|phase| !phase.is_open());
            let _ = tokio::time::timeout(Duration::from_millis(grace_ms), gone).await;
        }
        let keeper = process.detail().keeper.clone();
        if let Some(keeper) = keeper {
            keeper.signal(None, Signal::KILL.as_raw()).await;
        }
        // Also after a polite end: what ignored the signal and left the group goes as well.
        let (id, service) = (process.id(), Arc::clone(self));
        let end = move || restore::end_leftover(&service.supervisor, id, None);
        self.lifecycle.blocking("process.stop", end).await
    }

    /// Remembers how the process was stopped.
    pub(super) fn note_stopped(&self, process: &Arc<Process>, stopped: Stopped) {
        if stopped.left > 0 {
            tracing::warn!(process.id = %process.id(), left = stopped.left,
                "a process was stopped, and the kernel holds some of it");
        }
        process.detail().durable.facts.stopped = Some(stopped);
        if let Some(record) = process.facts_record() {
            self.recorder.append_lazily(record.encode(), Urgency::Finish, drop);
        }
        self.table.settle(process);
    }

    /// Counts who holds the output now, where that matters.
    pub(super) async fn recount(&self, process: &Arc<Process>) {
        if matches!(*process.phase.borrow(), Phase::Held { .. }) {
            self.count_holders(process).await;
        }
    }

    /// Counts who holds the output.
    pub(super) async fn count_holders(&self, process: &Process) {
        {
            let (pipes, keeper) = {
                let detail = process.detail();
                (detail.pipes.clone(), detail.keeper_pid)
            };
            let look = move || {
                let pids = tree::holders(&pipes, keeper);
                let named = pids.iter().take(HOLDERS_NAMED).map(|pid| tree::named(*pid)).collect();
                (u32::try_from(pids.len()).unwrap_or(u32::MAX), named)
            };
            let (count, named) = self.lifecycle.blocking("process.holders", look).await;
            process.held_by.store(count, Ordering::Relaxed);
            process.detail().holders = named;
        }
    }

    /// Drops what is too old, too many or too much.
    fn tidy(&self) {
        let due = self.table.due(self.clock.now_ms());
        // One after the other: all of them at once would be as large as what is kept of them is small.
        for (id, ended_at_ms) in &due {
            let Some(process) = self.table.prune(*id, *ended_at_ms) else { continue };
            process.log.discard();
            let record = Record::Pruned { process: *id, ended_at_ms: *ended_at_ms };
            self.recorder.append_lazily(record.encode(), Urgency::Begin, drop);
        }
        if let Some((last, _)) = due.last() {
            self.table.shrink();
            self.ended.send_replace(Some(*last));
        }
        let count = due.len();
        drop(due);
        if count >= GIVEN_BACK_FROM {
            give_back_heap();
        }
        if self.budget.excess() == 0 {
            return;
        }
        for (_, id, kept_bytes) in self.table.finished() {
            if let (Known::Here(process), 1..) = (self.table.known(id), kept_bytes) {
                process.log.discard();
                self.table.settle(&process);
            }
            if self.budget.excess() == 0 {
                return;
            }
        }
    }
}

/// Tidies up whenever a process ends or the budget is passed. Ends at the stop.
pub(super) async fn keep_house(shared: Arc<ProcessService>) {
    let soft = shared.lifecycle.soft();
    let mut ended = shared.ended.subscribe();
    loop {
        let tidied = Arc::clone(&shared);
        shared.lifecycle.blocking("process.tidy", move || tidied.tidy()).await;
        tokio::select! {
            () = soft.cancelled() => return,
            () = shared.budget.passed() => {}
            changed = ended.changed() => drop(changed),
        }
    }
}
