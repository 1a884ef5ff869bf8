//! Processes with a terminal, as the PTY service uses them: everything below the screen.
//!
//! A PTY is a process whose keeper holds a terminal in place of pipes. Start, records, log, keeper,
//! adoption, stop and pruning are those of every process; this file adds what a terminal has
//! besides: its sizes with their offsets, and numbered typing.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shared::ids::{OpId, ProcessId, PtyId};
use shared::limits::PTYS_RUNNING_MAX;
use shared::protocol::process::ProcessView;
use shared::protocol::pty::{OpenPty, PtySize};
use shared::protocol::{ErrorCode, WireError};
use tokio::sync::watch;

use super::error::StartError;
use super::handle::{GRACE_MAX_MS, ProcessHandle, check_range};
use super::keeper::protocol::{TerminalStatus, Typed, TypingOutcome};
use super::keeper::timeline::{self, SizeMark, TimeMark};
use super::kept::KeeperHandle;
use super::launch::Launch;
use super::log::OutputLog;
use super::machine::Phase;
use super::service::{Admitted, ProcessService};
use super::table::{Known, Process};

/// What the records say of a process with a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartedTerminal {
    /// At its start.
    pub(super) size: PtySize,
    /// What its programs take it for.
    #[serde(default)]
    pub(super) term: String,
}

/// What is known of a terminal besides its output.
pub(super) struct TerminalCell {
    news: watch::Sender<Sizes>,
    typed: Mutex<Vec<Typed>>,
}

/// The sizes of a terminal, in the order of their offsets. The first has offset 0.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    marks: Arc<Vec<SizeMark>>,
}

impl Sizes {
    fn begin(size: PtySize) -> Self {
        Self { marks: Arc::new(vec![SizeMark { offset: 0, at_ms: 0, size }]) }
    }

    /// The size now.
    pub(crate) fn now(&self) -> PtySize {
        self.marks.last().map_or_else(PtySize::default, |mark| mark.size)
    }

    /// The size for the bytes from `offset` on, and the next change as `(offset, size)`.
    pub(crate) fn at(&self, offset: u64) -> (PtySize, Option<(u64, PtySize)>) {
        let next = self.marks.partition_point(|mark| mark.offset <= offset);
        let size = next.checked_sub(1).and_then(|at| self.marks.get(at));
        let size = size.map_or_else(PtySize::default, |mark| mark.size);
        (size, self.marks.get(next).map(|mark| (mark.offset, mark.size)))
    }

    /// How many changes there were before `offset`.
    pub(crate) fn before(&self, offset: u64) -> usize {
        self.marks.partition_point(|mark| mark.offset < offset)
    }

    /// Applies to `resize` every change after the first `applied` ones that is due at `offset`.
    /// Answers the offset of the next one.
    pub(crate) fn due(
        &self,
        applied: &mut usize,
        offset: u64,
        mut resize: impl FnMut(PtySize),
    ) -> Option<u64> {
        // Where there are very many, the last one has given way to the next.
        if *applied >= self.marks.len() {
            resize(self.now());
        }
        while let Some(mark) = self.marks.get(*applied) {
            if mark.offset > offset {
                return Some(mark.offset);
            }
            resize(mark.size);
            *applied += 1;
        }
        None
    }

    /// The change that is the `applied`-th, when it is due at `offset`: its time and its size.
    pub(crate) fn change(&self, applied: usize, offset: u64) -> Option<(i64, PtySize)> {
        let mark = self.marks.get(applied).filter(|mark| mark.offset <= offset)?;
        Some((mark.at_ms, mark.size))
    }
}

impl TerminalCell {
    pub(super) fn new(size: PtySize) -> Self {
        Self { news: watch::Sender::new(Sizes::begin(size)), typed: Mutex::default() }
    }

    /// Takes in who typed, as a keeper tells when it is met.
    pub(super) fn met(&self, typed: Vec<Typed>) {
        *self.typed.lock().unwrap_or_else(PoisonError::into_inner) = typed;
    }

    /// Takes in what a keeper tells. Before the length of the output, so that no byte is seen
    /// without the size that it was written for.
    pub(super) fn learn(&self, status: TerminalStatus, path: &std::path::Path) {
        let known = self.news.borrow().clone();
        if status.sizes == known.marks.len() as u64 && status.size == known.now() {
            return;
        }
        match timeline::sizes(path, Some(status.sizes)) {
            Ok(marks) if !marks.is_empty() => {
                self.news.send_replace(Sizes { marks: Arc::new(marks) });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the sizes of a terminal cannot be read"),
        }
    }

    /// Takes over what is on disk: the keeper is gone.
    pub(super) fn settle(&self, path: &std::path::Path) {
        if let Ok(marks) = timeline::sizes(path, None)
            && !marks.is_empty()
        {
            self.news.send_replace(Sizes { marks: Arc::new(marks) });
        }
    }
}

/// One process with a terminal. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TerminalProcess {
    process: Arc<Process>,
    service: Arc<ProcessService>,
}

impl TerminalProcess {
    pub(crate) fn id(&self) -> PtyId {
        PtyId::from_ulid(self.process.id().ulid())
    }

    pub(crate) fn log(&self) -> &Arc<OutputLog> {
        &self.process.log
    }

    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.process.phase.subscribe()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.process.phase.borrow().clone()
    }

    pub(crate) fn sizes(&self) -> watch::Receiver<Sizes> {
        match &self.process.terminal {
            Some(cell) => cell.news.subscribe(),
            // Only terminals are handed out.
            None => watch::Sender::new(Sizes::begin(PtySize::default())).subscribe(),
        }
    }

    /// As a process.
    pub(crate) fn view(&self) -> ProcessView {
        self.process.view()
    }

    /// What programs take the terminal for.
    pub(crate) fn term(&self) -> String {
        self.process
            .started
            .terminal
            .as_ref()
            .map(|started| started.term.clone())
            .unwrap_or_default()
    }

    /// When each part of the output was written, as `(offset, Unix milliseconds)`. Blocks.
    pub(crate) fn times(&self) -> io::Result<Vec<(u64, i64)>> {
        let marks = timeline::times(&self.path())?;
        Ok(marks.into_iter().map(|TimeMark { offset, at_ms }| (offset, at_ms)).collect())
    }

    /// Where the log is, without an ending.
    pub(crate) fn path(&self) -> PathBuf {
        self.service.output_dir.join(self.process.id().to_string())
    }

    /// Everybody who typed before this daemon, with their highest number; who typed last is last.
    pub(crate) fn typed(&self) -> Vec<(String, u64)> {
        let Some(cell) = &self.process.terminal else { return Vec::new() };
        let typed = cell.typed.lock().unwrap_or_else(PoisonError::into_inner);
        typed.iter().map(|typed| (typed.viewer.clone(), typed.seq)).collect()
    }

    /// Types `data`, once for each number of `viewer`. Resolves when the terminal has all of it.
    pub(crate) async fn type_in(
        &self,
        viewer: String,
        seq: u64,
        data: Vec<u8>,
    ) -> Result<(), WireError> {
        let keeper = self.keeper().ok_or_else(exited)?;
        match keeper.type_in(viewer, seq, data).await {
            Some(TypingOutcome::Done) => Ok(()),
            Some(TypingOutcome::Full) => Err(WireError::refused(
                ErrorCode::Busy,
                "the program does not read its terminal, and too much waits for it",
            )),
            Some(TypingOutcome::Closed) | None => Err(exited()),
        }
    }

    /// Gives the terminal another size. Resolves when it has it.
    pub(crate) async fn resize(&self, size: PtySize) -> Result<(), WireError> {
        let keeper = self.keeper().ok_or_else(exited)?;
        if keeper.resize(size).await { Ok(()) } else { Err(exited()) }
    }

    fn keeper(&self) -> Option<KeeperHandle> {
        let runs = self.process.phase.borrow().is_running();
        self.process.detail().keeper.clone().filter(|_| runs)
    }
}

/// The program of a terminal has ended.
pub(crate) fn exited() -> WireError {
    WireError::refused(ErrorCode::PtyExited, "the program of the terminal has ended")
}

impl ProcessHandle {
    /// Opens a terminal, or says why not. As [`start`](Self::start).
    pub(crate) async fn open_terminal(
        &self,
        op: OpId,
        request: &OpenPty,
        begun: impl Future<Output = Result<(), WireError>>,
    ) -> Result<TerminalProcess, WireError> {
        let service = self.service();
        let id = ProcessId::from_ulid(request.pty_id.ulid());
        let admitted = match service.admitted_before(op, id)? {
            Some(process) => Admitted::Before(process),
            None => {
                let running = service.table.running_terminals();
                if running >= PTYS_RUNNING_MAX {
                    return Err(StartError::TooMany { running, limit: PTYS_RUNNING_MAX }.into());
                }
                let launch = Launch::check_terminal(request, &service.root, &service.environment)?;
                service.enter(op, id, request.chat_id.clone(), launch)
            }
        };
        let process = self.run(admitted, begun).await?;
        Ok(self.terminal_of(process))
    }

    /// What became of the opening that `op` asked for; none: it provably was not executed.
    pub(crate) fn recover_terminal(&self, op: OpId) -> Option<Result<TerminalProcess, WireError>> {
        let process = self.service().table.by_op(op)?;
        process.terminal.as_ref()?;
        let error = process.detail().durable.not_started.clone();
        Some(error.map_or_else(|| Ok(self.terminal_of(process)), Err))
    }

    /// One terminal.
    pub(crate) fn terminal(&self, id: PtyId) -> Result<TerminalProcess, WireError> {
        let refused = |text: String| WireError::refused(ErrorCode::PtyNotFound, text);
        match self.service().table.known(ProcessId::from_ulid(id.ulid())) {
            Known::Here(process) if process.terminal.is_some() => Ok(self.terminal_of(process)),
            Known::Pruned { ended_at_ms } => {
                let error = refused(format!("{id} ended and its record was dropped"));
                Err(error.with("ended_at_ms", ended_at_ms))
            }
            _ => Err(refused(format!("there is no terminal {id}"))),
        }
    }

    /// Every terminal.
    pub(crate) fn terminals(&self) -> Vec<TerminalProcess> {
        let terminals = self.service().table.terminals().into_iter();
        terminals.map(|process| self.terminal_of(process)).collect()
    }

    /// The terminal that is the process `id`, if it is one.
    #[must_use]
    pub fn as_terminal(&self, id: ProcessId) -> Option<PtyId> {
        match self.service().table.known(id) {
            Known::Here(process) if process.terminal.is_some() => Some(PtyId::from_ulid(id.ulid())),
            _ => None,
        }
    }

    /// Ends a terminal and everything in it: hang-up, grace, kill.
    pub(crate) async fn close_terminal(
        &self,
        terminal: &TerminalProcess,
        grace_ms: u64,
    ) -> Result<(), WireError> {
        check_range("grace_ms", grace_ms, 0, GRACE_MAX_MS)?;
        let process = &terminal.process;
        // One that has ended is closed; what it left behind has lost its terminal.
        if process.phase.borrow().is_open() {
            self.end(process, grace_ms).await;
        }
        Ok(())
    }

    fn terminal_of(&self, process: Arc<Process>) -> TerminalProcess {
        TerminalProcess { process, service: Arc::clone(self.service()) }
    }
}
