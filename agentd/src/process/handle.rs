//! The way into the process service.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use shared::clock::Clock;
use shared::fault;
use shared::ids::{OpId, ProcessId};
use shared::lifecycle::Lifecycle;
use shared::limits::{
    OUTPUT_PAGE_MAX_BYTES, PROCESSES_RUNNING_MAX, STDIN_WRITE_MAX_BYTES,
    WORKSPACE_OUTPUT_KEPT_BYTES,
};
use shared::protocol::process::{
    ListProcesses, OutputPage, OutputView, ProcessList, ProcessView, ReadOutput, SignalProcess,
    StartProcess, StdinWritten, StopProcess, ViewOutput, WaitProcess, WriteStdin,
};
use shared::protocol::{ErrorCode, WireError};
use tokio::sync::watch;

use super::child;
use super::driver::Driver;
use super::environment::Environment;
use super::error::StartError;
use super::follow::Follower;
use super::launch::Launch;
use super::log::{Budget, LogFiles, LogWriter, OutputLog, Piece};
use super::machine::{Event, Phase, ProcessMachine};
use super::reader::OutputReader;
use super::record::{Record, Started};
use super::stdin::{self, StdinWriter};
use super::table::{Durable, Known, Process, ProcessTable};
use super::{signal, tree, view};
use crate::records::{OpenError, RecordFile, Recorder, RecorderHandle, Urgency};

/// Longest wait of one `process/wait`.
const WAIT_MAX_MS: u64 = 600_000;
/// Longest grace of `process/stop`.
const GRACE_MAX_MS: u64 = 60_000;
/// Entries of a list when the caller does not say.
const LIST_DEFAULT: u32 = 100;
/// Most entries of a list.
const LIST_MAX: u32 = 1_000;

/// The process service. Cheap to clone.
#[derive(Clone)]
pub struct ProcessHandle {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    output_dir: Arc<Path>,
    environment: Environment,
    table: Arc<ProcessTable>,
    recorder: RecorderHandle,
    budget: Arc<Budget>,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    ended: watch::Sender<Option<ProcessId>>,
    boot_id: String,
}

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

impl ProcessHandle {
    /// Opens the records in `dir` and takes in what an earlier daemon left: what had not ended is
    /// lost, and what of it still runs is ended, by identity and never by pid alone.
    ///
    /// Blocks for the replay. `root` is absolute.
    pub fn open(
        dir: &Path,
        root: &Path,
        environment: Environment,
        lifecycle: &Lifecycle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenProcessesError> {
        let output_dir = dir.join("output");
        let io = |source| OpenProcessesError::Output { path: output_dir.clone(), source };
        std::fs::create_dir_all(&output_dir).map_err(io)?;
        let mut files = LogFiles::scan(&output_dir).map_err(io)?;
        let (table, budget) =
            (Arc::new(ProcessTable::default()), Arc::new(Budget::new(WORKSPACE_OUTPUT_KEPT_BYTES)));
        let mut replay = Replay::default();
        let file = RecordFile::open(&dir.join("records"), |_, bytes| {
            if let Some(record) = Record::decode(bytes) {
                replay.take(record, &table);
            }
        })?;
        let output_dir: Arc<Path> = output_dir.into();
        let now_ms = clock.now_ms();
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
                lost.push((process.id(), durable));
            }
            table.insert(process);
        }
        let (recorder, handle) = Recorder::new(file, Arc::clone(&table) as _, lifecycle.clone());
        lifecycle.spawn_vital("process.records", recorder.run());
        for (process, durable) in lost {
            tracing::warn!(process.id = %process, "a process was lost with the daemon before");
            end_leftover(process, &durable, &boot_id);
            let record = Record::Lost { process, at_ms: now_ms };
            // Not waited for: a crash finds the same again.
            drop(handle.append(record.encode(), Urgency::Finish, drop));
        }
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            output_dir,
            environment,
            table,
            recorder: handle,
            budget,
            lifecycle: lifecycle.clone(),
            clock,
            ended: watch::Sender::new(None),
            boot_id,
        });
        lifecycle.spawn_vital("process.housekeeping", keep_house(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Starts a process, or says why not. `begun` resolves when `op` is durable in the journal, or
    /// cannot be; it is waited for before the program is executed, beside the service's own record.
    ///
    /// A repeat with the same operation is answered with the process as it is: so the answer need
    /// not be durable, see [`recover`](Self::recover).
    pub async fn start(
        &self,
        op: OpId,
        request: &StartProcess,
        begun: impl Future<Output = Result<(), WireError>>,
    ) -> Result<ProcessView, WireError> {
        let shared = &self.shared;
        let (process, launch) = match shared.admit(op, request)? {
            Admitted::Before(process) => {
                begun.await?;
                return Ok(process.view());
            }
            Admitted::New(process, launch) => (process, launch),
        };
        let recorded = shared.record_start(&process);
        if let (Err(error), _) | (_, Err(error)) = tokio::join!(begun, recorded) {
            shared.table.remove(process.id());
            return Err(error);
        }
        fault::point("w3 process recorded");
        match child::spawn(&launch) {
            Ok(spawned) => {
                fault::point("w4 process runs");
                shared.take_over(&process, spawned).map_err(StartError::Pipe)?;
                Ok(process.view())
            }
            Err(error) => {
                shared.not_started(&process, &error);
                Err(error.into())
            }
        }
    }

    /// What became of the start that `op` asked for; none: it provably was not executed.
    #[must_use]
    pub fn recover(&self, op: OpId) -> Option<Result<ProcessView, WireError>> {
        let process = self.shared.table.by_op(op)?;
        let error = process.detail().durable.not_started.clone();
        Some(error.map_or_else(|| Ok(process.view()), Err))
    }

    /// One process.
    pub async fn get(&self, id: ProcessId) -> Result<ProcessView, WireError> {
        let process = self.shared.find(id)?;
        self.shared.recount(&process).await;
        Ok(process.view())
    }

    /// Running ones first, then the newest.
    pub fn list(&self, request: &ListProcesses) -> Result<ProcessList, WireError> {
        let limit = request.limit.unwrap_or(LIST_DEFAULT);
        check_range("limit", u64::from(limit), 1, u64::from(LIST_MAX))?;
        let mut views: Vec<ProcessView> = self
            .shared
            .table
            .all()
            .iter()
            .filter(|process| request.chat_id.is_none() || process.started.chat == request.chat_id)
            .map(|process| process.view())
            .collect();
        let is_over = |view: &ProcessView| {
            !matches!(view.state, shared::protocol::process::ProcessState::Running)
        };
        views.sort_by_key(|view| {
            (is_over(view), std::cmp::Reverse((view.started_at_ms, view.process_id)))
        });
        let total = views.len() as u64;
        views.truncate(limit as usize);
        Ok(ProcessList { items: views, total })
    }

    /// Waits until the process has ended and its output is complete (or is held by others), or
    /// until the time is up. Cancel-safe.
    pub async fn wait(&self, request: &WaitProcess) -> Result<ProcessView, WireError> {
        check_range("timeout_ms", request.timeout_ms, 0, WAIT_MAX_MS)?;
        let process = self.shared.find(request.process_id)?;
        let mut phases = process.phase.subscribe();
        let ended = phases.wait_for(|phase| !phase.is_running());
        // A time-out is an answer.
        let _ = tokio::time::timeout(Duration::from_millis(request.timeout_ms), ended).await;
        self.shared.recount(&process).await;
        Ok(process.view())
    }

    /// Output as text for a model.
    pub async fn view(&self, request: ViewOutput) -> Result<OutputView, WireError> {
        let process = self.shared.find(request.process_id)?;
        self.shared.recount(&process).await;
        // Before the text: "exited" implies that the text is final.
        let before = process.view();
        let is_final = !process.phase.borrow().is_open();
        let log = Arc::clone(&process.log);
        let rendered = self
            .shared
            .lifecycle
            .blocking("process.view", move || view::render(&log, &request.window, is_final))
            .await?;
        Ok(OutputView {
            process: before,
            text: rendered.text,
            omitted_bytes: rendered.omitted_bytes,
            next_offset: rendered.next_offset,
            lines_cut: rendered.lines_cut,
        })
    }

    /// One page of raw output; the bytes are exactly `len`.
    pub async fn read(&self, request: &ReadOutput) -> Result<(OutputPage, Bytes), WireError> {
        let process = self.shared.find(request.process_id)?;
        let before = process.view();
        let total = before.output_total;
        let offset = if request.from_end {
            total.saturating_sub(request.offset)
        } else {
            request.offset.min(total)
        };
        let limit = request.limit_bytes.min(OUTPUT_PAGE_MAX_BYTES);
        let log = Arc::clone(&process.log);
        let read = move || log.read_range(offset, offset.saturating_add(limit).min(total));
        let pieces = self.shared.lifecycle.blocking("process.read", read).await;
        let pieces = pieces.map_err(|error| {
            WireError::failed(ErrorCode::IoFailed, format!("the output cannot be read: {error}"))
        })?;
        // A page ends at a gap; one that begins in it says where it ends.
        let bytes = match pieces.into_iter().next() {
            None => Vec::new(),
            Some(Piece::Bytes { bytes, .. }) => bytes,
            Some(Piece::Gap { from, .. }) => return Err(range_dropped(&process, from)),
        };
        let page = OutputPage { offset, len: bytes.len() as u64, process: before };
        Ok((page, bytes.into()))
    }

    /// Follows output from `offset` on.
    pub fn follow(&self, id: ProcessId, offset: u64) -> Result<Follower, WireError> {
        let process = self.shared.find(id)?;
        Ok(Follower::new(process, offset, self.shared.lifecycle.clone()))
    }

    /// Sends a signal to the group, or to what is left of it.
    pub async fn signal(&self, request: &SignalProcess) -> Result<ProcessView, WireError> {
        let number = signal::parse(&request.signal)?;
        let process = self.shared.find(request.process_id)?;
        self.shared.signal(&process, number).await?;
        Ok(process.view())
    }

    /// Ends the process and everything it started: polite signal, grace, kill.
    pub async fn stop(&self, request: &StopProcess) -> Result<ProcessView, WireError> {
        check_range("grace_ms", request.grace_ms, 0, GRACE_MAX_MS)?;
        let process = self.shared.find(request.process_id)?;
        let mut phases = process.phase.subscribe();
        if process.phase.borrow().is_open() {
            // What is stopped does not see the polite signal before it goes on.
            for number in [Signal::TERM.as_raw(), Signal::CONT.as_raw()] {
                // It may be gone by now, which is what was asked for.
                let _ = self.shared.signal(&process, number).await;
            }
            let grace = Duration::from_millis(request.grace_ms);
            let gone = phases.wait_for(|phase| !phase.is_open());
            let _ = tokio::time::timeout(grace, gone).await;
        }
        // Also after a polite end: what ignored the signal and left the group goes as well.
        if let Some(pid) = process.leader() {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let id = process.id();
        let left =
            self.shared.lifecycle.blocking("process.stop", move || tree::kill_members(id)).await;
        if left > 0 {
            let text = format!("{left} processes could not be killed; the kernel holds them");
            return Err(WireError::failed(ErrorCode::Internal, text).with("count", left));
        }
        let _ = phases.wait_for(|phase| !phase.is_running()).await;
        Ok(process.view())
    }

    /// Writes to standard input.
    pub async fn write_stdin(&self, request: WriteStdin) -> Result<StdinWritten, WireError> {
        if request.data.len() > STDIN_WRITE_MAX_BYTES {
            let text = format!("data has {} bytes, the limit is 1 MiB", request.data.len());
            return Err(WireError::refused(ErrorCode::ArgumentTooLarge, text).with("field", "data"));
        }
        let process = self.shared.find(request.process_id)?;
        let handle = process.detail().stdin.clone();
        let written = match handle {
            Some(handle) => handle.write(request.data, request.close).await,
            None => Err(stdin::closed()),
        };
        if request.close {
            process.detail().stdin = None;
        }
        written
    }

    /// Told the id of each process that ends. A hint: of several at once only the last is told.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<Option<ProcessId>> {
        self.shared.ended.subscribe()
    }

    /// How many processes run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.shared.table.running()
    }

    /// Reaps children that came to the daemon as their sub-reaper, at every `SIGCHLD`, until the
    /// stop. Only for a program whose every other child is one of this service.
    pub async fn reap_strays(self) {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut child) = signal(SignalKind::child()) else { return };
        let soft = self.shared.lifecycle.soft();
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                received = child.recv() => if received.is_none() { return },
            }
            tree::reap_strays(|pid| self.shared.table.is_leader(pid));
        }
    }
}

/// What a request to start meets.
enum Admitted {
    /// The same operation has started it before.
    Before(Arc<Process>),
    /// It is entered and not yet recorded.
    New(Arc<Process>, Launch),
}

impl Process {
    /// The leader's pid, while it is certainly its own: it is taken back in the same moment in
    /// which the leader is reaped, on the one thread of the executor.
    fn leader(&self) -> Option<Pid> {
        let pid = self.os_pid.load(std::sync::atomic::Ordering::Relaxed);
        i32::try_from(pid).ok().and_then(Pid::from_raw)
    }
}

impl Shared {
    fn find(&self, id: ProcessId) -> Result<Arc<Process>, WireError> {
        match self.table.known(id) {
            Known::Here(process) => Ok(process),
            Known::Pruned { ended_at_ms } => {
                let text = format!("{id} ended and its record was dropped");
                let error = WireError::refused(ErrorCode::ProcessPruned, text);
                Err(error.with("ended_at_ms", ended_at_ms))
            }
            Known::Never => {
                let text = format!("there is no process {id}");
                Err(WireError::refused(ErrorCode::ProcessNotFound, text))
            }
        }
    }

    /// Checks a request and enters the process.
    fn admit(&self, op: OpId, request: &StartProcess) -> Result<Admitted, StartError> {
        match self.table.known(request.process_id) {
            Known::Here(process) if process.started.op == op => {
                return Ok(Admitted::Before(process));
            }
            Known::Here(_) | Known::Pruned { .. } => return Err(StartError::IdInUse),
            Known::Never => {}
        }
        let running = self.table.running();
        if running >= PROCESSES_RUNNING_MAX {
            return Err(StartError::TooMany { running, limit: PROCESSES_RUNNING_MAX });
        }
        let launch = Launch::check(request, &self.root, &self.environment)?;
        let started = Started {
            process: request.process_id,
            op,
            command: launch.command.clone(),
            cwd: launch.cwd.path.to_string_lossy().into_owned(),
            chat: request.chat_id.clone(),
            at_ms: self.clock.now_ms(),
        };
        let log = OutputLog::new(
            Arc::clone(&self.output_dir),
            request.process_id,
            launch.output_kept_bytes,
            Arc::clone(&self.budget),
        );
        let process = Process::new(started, log, Phase::Starting);
        self.table.insert(Arc::clone(&process));
        Ok(Admitted::New(process, launch))
    }

    /// Makes the start durable, before the program is executed.
    async fn record_start(&self, process: &Process) -> Result<(), WireError> {
        let record = Record::Started(process.started.clone()).encode();
        let written = self.recorder.append(record, Urgency::Begin, drop).await;
        written.map_err(|error| StartError::Record(error).into())
    }

    /// Starts the tasks of a process that runs.
    fn take_over(&self, process: &Arc<Process>, spawned: child::Spawned) -> io::Result<()> {
        let child::Spawned { child, stdout, stderr, stdin } = spawned;
        let pid = u32::try_from(child.pid().as_raw_pid()).unwrap_or(0);
        process.os_pid.store(pid, std::sync::atomic::Ordering::Relaxed);
        let running = (pid, tree::start_time(pid).unwrap_or(0), self.boot_id.clone());
        {
            let mut detail = process.detail();
            detail.pipes = [&stdout, &stderr]
                .into_iter()
                .filter_map(|pipe| rustix::fs::fstat(pipe).ok())
                .map(|stat| stat.st_ino)
                .collect();
            detail.durable.running = Some(running.clone());
            if let Some(pipe) = stdin {
                let (writer, handle) = StdinWriter::new(pipe)?;
                detail.stdin = Some(handle);
                self.lifecycle.spawn_serving("process.stdin", writer.run());
            }
        }
        let (pid, start_time, boot_id) = running;
        let record = Record::Running { process: process.id(), pid, start_time, boot_id };
        self.recorder.append_lazily(record.encode(), Urgency::Finish, drop);
        let mut machine = ProcessMachine::starting();
        machine.apply(Event::Started);
        process.phase.send_replace(machine.phase().clone());
        let writer = LogWriter::new(Arc::clone(&process.log));
        let reader = OutputReader::new(stdout, stderr, writer, self.lifecycle.clone())?;
        self.lifecycle.spawn_serving("process.output", reader.run());
        let driver = Driver {
            process: Arc::clone(process),
            machine,
            child,
            recorder: self.recorder.clone(),
            lifecycle: self.lifecycle.clone(),
            clock: Arc::clone(&self.clock),
            ended: self.ended.clone(),
        };
        self.lifecycle.spawn_serving("process.driver", driver.run());
        Ok(())
    }

    fn not_started(&self, process: &Arc<Process>, error: &StartError) {
        let error = WireError::refused(error.code(), error.to_string());
        let mut machine = ProcessMachine::starting();
        machine.apply(Event::NotStarted(error.clone()));
        process.detail().durable.not_started = Some(error.clone());
        let record = Record::NotStarted { process: process.id(), error };
        // Not waited for: the journal has the error too.
        drop(self.recorder.append(record.encode(), Urgency::Finish, drop));
        drop(LogWriter::new(Arc::clone(&process.log))); // closes it
        process.phase.send_replace(machine.phase().clone());
    }

    async fn signal(&self, process: &Arc<Process>, number: i32) -> Result<(), WireError> {
        let ended = || WireError::refused(ErrorCode::ProcessEnded, "the process has ended");
        let Some(signal) = Signal::from_named_raw(number) else {
            return self.signal_number(process, number);
        };
        if let Some(pid) = process.leader() {
            return rustix::process::kill_process_group(pid, signal).map_err(|_| ended());
        }
        if !process.phase.borrow().is_open() {
            return Err(ended());
        }
        // The leader is gone, and what it left behind can still be reached.
        let id = process.id();
        let send = move || tree::signal_members(id, signal);
        match self.lifecycle.blocking("process.signal", send).await {
            0 => Err(ended()),
            _ => Ok(()),
        }
    }

    /// Real-time signals have numbers and no names.
    fn signal_number(&self, process: &Process, number: i32) -> Result<(), WireError> {
        let ended = || WireError::refused(ErrorCode::ProcessEnded, "the process has ended");
        let pid = process.leader().ok_or_else(ended)?;
        child::signal_group(pid, number).map_err(|_| ended())
    }

    /// Counts who holds the output now, where that matters.
    async fn recount(&self, process: &Arc<Process>) {
        if matches!(*process.phase.borrow(), Phase::Held { .. }) {
            let pipes = process.detail().pipes.clone();
            let count =
                self.lifecycle.blocking("process.holders", move || tree::holders(&pipes)).await;
            process.held_by.store(count, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Drops what is too old, too many or too much.
    fn tidy(&self) {
        for (process, record) in self.table.prune(self.clock.now_ms()) {
            process.log.discard();
            self.recorder.append_lazily(record, Urgency::Begin, drop);
        }
        if self.budget.excess() == 0 {
            return;
        }
        for process in self.table.finished() {
            process.log.discard();
            if self.budget.excess() == 0 {
                return;
            }
        }
    }
}

/// Tidies up whenever a process ends or the budget is passed. Ends at the stop.
async fn keep_house(shared: Arc<Shared>) {
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

/// What the records say, gathered before the table is filled.
#[derive(Default)]
struct Replay {
    processes: Vec<(Started, Durable)>,
    index: std::collections::HashMap<ProcessId, usize>,
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
                let end = super::machine::End { exit, at_ms };
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

fn range_dropped(process: &Process, from: u64) -> WireError {
    let extent = process.log.extent();
    let (first, to) = (extent.dropped_from, extent.dropped_to);
    let text = format!("offset {from} was dropped: bytes {first} to {to} are not kept");
    WireError::refused(ErrorCode::RangeDropped, text).with("from", first).with("to", to)
}

fn check_range(field: &str, value: u64, min: u64, max: u64) -> Result<(), WireError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let text = format!("{field} is {value}; it may be {min} to {max}");
    Err(WireError::refused(ErrorCode::OutOfRange, text)
        .with("field", field)
        .with("min", min)
        .with("max", max))
}
