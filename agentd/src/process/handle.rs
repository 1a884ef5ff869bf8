//! The way into the process service.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::clock::Clock;
use shared::fault;
use shared::ids::{OpId, ProcessId};
use shared::lifecycle::Lifecycle;
use shared::limits::{OUTPUT_PAGE_MAX_BYTES, STDIN_WRITE_MAX_BYTES};
use shared::protocol::process::{
    ListProcesses, OutputPage, OutputView, ProcessList, ProcessView, ReadOutput, SandboxFacts,
    SignalProcess, StartProcess, StartSandboxed, StdinWritten, StopProcess, ViewOutput,
    WaitProcess, WriteStdin,
};
use shared::protocol::{ErrorCode, WireError};
use tokio::sync::watch;

use super::cgroup::Availability;
use super::environment::Environment;
use super::error::StartError;
use super::follow::Follower;
use super::kept::expect_input;
use super::launch::Attempt;
use super::log::Piece;
use super::machine::Phase;
use super::restore::{OpenProcessesError, Restored};
use super::service::{Admitted, ProcessService, keep_house};
use super::stdin;
use super::supervise::{KeeperProgram, Ordered, Supervisor};
use super::table::Process;
use super::{signal, tree, view};
use crate::records::{Recorder, RecorderError, Urgency};

/// Longest wait of one `process/wait`.
const WAIT_MAX_MS: u64 = 600_000;
/// Longest grace of `process/stop`.
pub(super) const GRACE_MAX_MS: u64 = 60_000;
/// Entries of a list when the caller does not say.
const LIST_DEFAULT: u32 = 100;
/// Most entries of a list.
const LIST_MAX: u32 = 1_000;
/// Turns of the runtime after which the recorders have handed what they were given to the disk.
const TURNS_TO_THE_DISK: usize = 2;

/// The process service. Cheap to clone.
#[derive(Clone)]
pub struct ProcessHandle {
    shared: Arc<ProcessService>,
}

impl ProcessHandle {
    /// Opens the records in `dir` and takes over what an earlier daemon left: keepers are found and
    /// gone on with, ends are learnt from what they wrote down, and what has lost its keeper is
    /// ended, by identity and never by pid alone.
    ///
    /// Blocks for the replay. `root` is absolute.
    pub fn open(
        dir: &Path,
        root: &Path,
        environment: Environment,
        keepers: KeeperProgram,
        lifecycle: &Lifecycle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenProcessesError> {
        let keepers_dir = dir.join("keepers");
        let supervisor = Supervisor::open(keepers, keepers_dir.clone(), tree::boot_id())
            .map_err(|source| OpenProcessesError::Keepers { path: keepers_dir, source })?;
        let restored = Restored::open(dir, &supervisor, clock.now_ms())?;
        let table = Arc::clone(&restored.table);
        let (recorder, handle) =
            Recorder::new(restored.records, Arc::clone(&table) as _, lifecycle.clone());
        lifecycle.spawn_vital("process.records", recorder.run());
        let Restored { output_dir, budget, found, alive, settled, .. } = restored;
        let found: Vec<_> =
            found.into_iter().map(|record| handle.append(record, Urgency::Finish, drop)).collect();
        let service = Arc::new(ProcessService {
            root: root.to_owned(),
            output_dir,
            environment,
            table,
            recorder: handle,
            budget,
            lifecycle: lifecycle.clone(),
            clock,
            ended: watch::Sender::new(None),
            supervisor,
        });
        for (process, stream) in alive {
            let attempt = Attempt::shown(&process.started.command);
            service.watch(&process, stream, attempt).map_err(OpenProcessesError::Link)?;
            // Who asks at once must not be told that there is none.
            let keeper = process.detail().keeper.clone();
            if let Some(keeper) = keeper {
                expect_input(&process, &keeper, lifecycle);
            }
        }
        lifecycle.spawn_serving("process.settled", forget(Arc::clone(&service), found, settled));
        lifecycle.spawn_vital("process.housekeeping", keep_house(Arc::clone(&service)));
        Ok(Self { shared: service })
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
        let process = self.run(self.shared.admit(op, request)?, begun).await?;
        Ok(process.view())
    }

    /// As [`start`](Self::start), in a sandbox; without one nothing is run.
    pub async fn start_sandboxed(
        &self,
        op: OpId,
        request: &StartSandboxed,
        begun: impl Future<Output = Result<(), WireError>>,
    ) -> Result<ProcessView, WireError> {
        let process = self.run(self.shared.admit_sandboxed(op, request)?, begun).await?;
        Ok(process.view())
    }

    pub(super) const fn service(&self) -> &Arc<ProcessService> {
        &self.shared
    }

    /// Runs what was admitted, or says why not.
    pub(super) async fn run(
        &self,
        admitted: Admitted,
        begun: impl Future<Output = Result<(), WireError>>,
    ) -> Result<Arc<Process>, WireError> {
        let shared = &self.shared;
        let (process, launch) = match admitted {
            Admitted::Before(process) => {
                begun.await?;
                return Ok(process);
            }
            Admitted::New(process, launch) => (process, launch),
        };
        let recorded = shared.record_start(&process);
        // Beside the disk, which both records wait for: a keeper that is ready to go.
        let ordered = async {
            for _ in 0..TURNS_TO_THE_DISK {
                tokio::task::yield_now().await;
            }
            shared.supervisor.order(process.id(), &launch, &shared.output_dir)
        };
        let (begun, recorded, ordered) = tokio::join!(begun, recorded, ordered);
        if let Err(error) = begun.and(recorded) {
            drop(ordered);
            shared.table.remove(process.id());
            shared.supervisor.remove(process.id());
            return Err(error);
        }
        fault::point("w3 process recorded");
        let mut phases = process.phase.subscribe();
        let watched = ordered.and_then(Ordered::go).and_then(|stream| {
            shared.watch(&process, stream, Attempt::of(&launch)).map_err(StartError::of_io)
        });
        if let Err(error) = watched {
            shared.not_started(&process, &error);
            shared.supervisor.remove(process.id());
            return Err(error.into());
        }
        let soft = shared.lifecycle.soft();
        tokio::select! {
            _ = phases.wait_for(|phase| *phase != Phase::Starting) => {}
            // The next daemon finds it.
            () = soft.cancelled() => {}
        }
        let phase = phases.borrow().clone();
        if let Phase::NotStarted { error } = phase {
            return Err(error);
        }
        fault::point("w4 process runs");
        Ok(process)
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
        let mut views = self.shared.table.views(request.chat_id.as_deref());
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
    ///
    /// The same operation signals once, also when a daemon that was started again repeats it.
    pub async fn signal(
        &self,
        op: OpId,
        request: &SignalProcess,
    ) -> Result<ProcessView, WireError> {
        let number = signal::parse(&request.signal)?;
        let process = self.shared.find(request.process_id)?;
        self.shared.signal(Some(op), &process, number).await?;
        Ok(process.view())
    }

    /// Ends the process and everything it started: polite signal, grace, kill. The view says by which
    /// means it ended, and what is left.
    ///
    /// Its keeper does it, and goes on when nobody waits any more. What has no keeper that can is
    /// ended from here.
    pub async fn stop(&self, request: &StopProcess) -> Result<ProcessView, WireError> {
        check_range("grace_ms", request.grace_ms, 0, GRACE_MAX_MS)?;
        let process = self.shared.find(request.process_id)?;
        self.end(&process, request.grace_ms).await;
        Ok(process.view())
    }

    pub(super) async fn end(&self, process: &Arc<Process>, grace_ms: u64) {
        let mut phases = process.phase.subscribe();
        let stopped = match self.shared.stop_by_keeper(process, grace_ms).await {
            Some(stopped) => stopped,
            None => self.shared.stop_without_keeper(process, grace_ms).await,
        };
        let is_clean = stopped.left == 0;
        self.shared.note_stopped(process, stopped);
        if is_clean {
            let _ = phases.wait_for(|phase| !phase.is_running()).await;
        }
    }

    /// Writes to standard input. The same operation is written once, as with [`signal`](Self::signal).
    pub async fn write_stdin(
        &self,
        op: OpId,
        request: WriteStdin,
    ) -> Result<StdinWritten, WireError> {
        if request.data.len() > STDIN_WRITE_MAX_BYTES {
            let text = format!("data has {} bytes, the limit is 1 MiB", request.data.len());
            return Err(WireError::refused(ErrorCode::ArgumentTooLarge, text).with("field", "data"));
        }
        let process = self.shared.find(request.process_id)?;
        let (handle, keeper) = {
            let detail = process.detail();
            (detail.stdin.clone(), detail.keeper.clone())
        };
        let written = match (handle, keeper) {
            (Some(handle), _) => handle.write(op, request.data, request.close).await,
            // A keeper that was just found has not said yet whether the input is open: it knows.
            (None, Some(keeper)) => keeper.write(op, request.data, request.close).await,
            (None, None) => Err(stdin::closed()),
        };
        if request.close {
            process.detail().stdin = None;
        }
        written
    }

    /// Told the id of each process that ends or whose record is dropped. A hint: of several at once
    /// only the last is told.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<Option<ProcessId>> {
        self.shared.ended.subscribe()
    }

    /// Waits, for a bounded time, until what was found at the start has told how it stands: before
    /// that, a process that has ended meanwhile would be shown as running.
    pub async fn adopted(&self) {
        self.shared.adopted().await;
    }

    /// By which means processes can be sandboxed; the error says to people why they cannot.
    pub fn sandbox(&self) -> Result<SandboxFacts, String> {
        self.shared.supervisor.sandbox().clone()
    }

    /// By which means this daemon holds processes together.
    #[must_use]
    pub fn containment(&self) -> Availability {
        self.shared.supervisor.availability()
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

/// Removes what keepers had that are gone, once the records have it.
async fn forget<F: Future<Output = Result<(), RecorderError>>>(
    service: Arc<ProcessService>,
    found: Vec<F>,
    settled: Vec<ProcessId>,
) {
    for recorded in found {
        if recorded.await.is_err() {
            return; // it is found again at the next start
        }
    }
    for process in settled {
        service.supervisor.remove(process);
    }
}

fn range_dropped(process: &Process, from: u64) -> WireError {
    let extent = process.log.extent();
    let (first, to) = (extent.dropped_from, extent.dropped_to);
    let text = format!("offset {from} was dropped: bytes {first} to {to} are not kept");
    WireError::refused(ErrorCode::RangeDropped, text).with("from", first).with("to", to)
}

pub(super) fn check_range(field: &str, value: u64, min: u64, max: u64) -> Result<(), WireError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let text = format!("{field} is {value}; it may be {min} to {max}");
    Err(WireError::refused(ErrorCode::OutOfRange, text)
        .with("field", field)
        .with("min", min)
        .with("max", max))
}
