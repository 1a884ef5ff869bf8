//! The way into the PTY service.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use shared::clock::Clock;
use shared::ids::{OpId, PtyId};
use shared::lifecycle::Lifecycle;
use shared::limits::{
    OUTPUT_PAGE_MAX_BYTES, PTY_INPUT_MAX_BYTES, PTY_SCROLLBACK_LINES_MAX, PTY_VIEWER_MAX_BYTES,
    PTY_VIEWERS_MAX,
};
use shared::protocol::process::ProcessState;
use shared::protocol::pty::{
    AttachFrom, AttachPty, ClosePty, ListPtys, OpenPty, PtyAttached, PtyList, PtyMatches,
    PtyOutputPage, PtyScreenText, PtyView, PtyWritten, ReadPtyOutput, ReadPtyScreen, RecordPty,
    ResizePty, SearchPty, WritePty, WriteWish,
};
use shared::protocol::{ErrorCode, WireError};

use super::attach::Viewing;
use super::recording::Recording;
use super::roster::{Effect, Event};
use super::search::Search;
use super::session::{NOT_A_VIEWER, Session, view_of};
use super::{check_range, unreadable};
use crate::process::ProcessHandle;
use crate::process::log::Piece;
use crate::process::terminal::TerminalProcess;

/// Entries of a list when the caller does not say.
const LIST_DEFAULT: u32 = 100;
/// Most entries of a list.
const LIST_MAX: u32 = 1_000;
/// How long a program may leave typing unread before the caller of an operation is told.
const TYPING_WAIT: Duration = Duration::from_secs(5);

/// The PTY service. Cheap to clone.
#[derive(Clone)]
pub struct PtyHandle {
    shared: Arc<PtyService>,
}

/// Sessions of the terminals whose programs run. One mutex, held for moments.
struct PtyService {
    processes: ProcessHandle,
    sessions: Mutex<HashMap<PtyId, Arc<Session>>>,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
}

/// An attachment that is entered: what to answer, and what to serve after it.
pub(super) struct Begun {
    pub(super) head: PtyAttached,
    pub(super) screen: Bytes,
    pub(super) viewing: Viewing,
}

impl PtyHandle {
    /// Takes over the terminals that `processes` has. Blocks for their checkpoints.
    #[must_use]
    pub fn open(processes: ProcessHandle, lifecycle: &Lifecycle, clock: Arc<dyn Clock>) -> Self {
        let sessions = Mutex::default();
        let lifecycle = lifecycle.clone();
        let handle =
            Self { shared: Arc::new(PtyService { processes, sessions, lifecycle, clock }) };
        for process in handle.shared.processes.terminals() {
            if process.phase().is_open() {
                handle.shared.begin(process);
            }
        }
        handle
    }

    /// Opens a terminal, or says why not. As [`ProcessHandle::start`]: a repeat with the same
    /// operation is answered with the terminal as it is.
    pub async fn start(
        &self,
        op: OpId,
        request: &OpenPty,
        begun: impl Future<Output = Result<(), WireError>>,
    ) -> Result<PtyView, WireError> {
        let process = self.shared.processes.open_terminal(op, request, begun).await?;
        let session = self.shared.running(process.id());
        let session = session
            .or_else(|| process.phase().is_open().then(|| self.shared.begin(process.clone())));
        Ok(session.map_or_else(|| view_of(&process), |session| session.view()))
    }

    /// What became of the opening that `op` asked for; none: it provably was not executed.
    #[must_use]
    pub fn recover(&self, op: OpId) -> Option<Result<PtyView, WireError>> {
        let found = self.shared.processes.recover_terminal(op)?;
        Some(found.map(|process| self.shared.view(&process)))
    }

    /// One terminal.
    pub fn view(&self, id: PtyId) -> Result<PtyView, WireError> {
        Ok(self.shared.view(&self.shared.processes.terminal(id)?))
    }

    /// Running ones first, then the newest.
    pub fn list(&self, request: &ListPtys) -> Result<PtyList, WireError> {
        let limit = request.limit.unwrap_or(LIST_DEFAULT);
        check_range("limit", u64::from(limit), 1, u64::from(LIST_MAX))?;
        let all = self.shared.processes.terminals();
        let mut views: Vec<PtyView> = all.iter().map(|process| self.shared.view(process)).collect();
        views.retain(|view| request.chat_id.is_none() || view.chat_id == request.chat_id);
        let is_over = |view: &PtyView| !matches!(view.state, ProcessState::Running);
        views.sort_by_key(|view| {
            (is_over(view), std::cmp::Reverse((view.started_at_ms, view.pty_id)))
        });
        let total = views.len() as u64;
        views.truncate(limit as usize);
        Ok(PtyList { items: views, total })
    }

    /// Ends a terminal and everything in it.
    pub async fn close(&self, request: &ClosePty) -> Result<PtyView, WireError> {
        let process = self.shared.processes.terminal(request.pty_id)?;
        self.shared.processes.close_terminal(&process, request.grace_ms).await?;
        Ok(self.shared.view(&process))
    }

    /// Gives a terminal another size.
    pub async fn resize(&self, request: &ResizePty) -> Result<PtyView, WireError> {
        let process = self.shared.processes.terminal(request.pty_id)?;
        process.resize(request.size).await?;
        Ok(self.shared.view(&process))
    }

    /// Types for somebody who is not attached; once for each operation.
    pub async fn write(&self, op: OpId, request: WritePty) -> Result<PtyWritten, WireError> {
        let written = request.data.len() as u64;
        check_range("data", written, 1, PTY_INPUT_MAX_BYTES as u64)?;
        let process = self.shared.processes.terminal(request.pty_id)?;
        let session = self.shared.running(request.pty_id);
        if session.is_some_and(|session| session.roster(super::roster::Roster::has_writer)) {
            let text = "a viewer writes to the terminal";
            return Err(WireError::refused(ErrorCode::ReadOnly, text));
        }
        let typing = process.type_in(format!("{NOT_A_VIEWER}{op}"), 1, request.data);
        match tokio::time::timeout(TYPING_WAIT, typing).await {
            Ok(typed) => typed.map(|()| PtyWritten { written }),
            Err(_) => Err(WireError::failed(
                ErrorCode::StdinBlocked,
                "the program does not read its terminal; it gets the input when it does",
            )),
        }
    }

    /// The screen as text.
    pub async fn screen(&self, request: &ReadPtyScreen) -> Result<PtyScreenText, WireError> {
        let session = self.shared.session(request.pty_id).await?;
        session.catch_up().await?;
        let pty = session.view();
        let shown = session.live.shown();
        Ok(PtyScreenText {
            pty,
            offset: shown.offset,
            rows: shown.rows,
            cursor_row: shown.cursor.0,
            cursor_col: shown.cursor.1,
            cursor_visible: shown.is_cursor_visible,
            alternate: shown.is_alternate,
        })
    }

    /// One page of raw output; the bytes are exactly `len`.
    pub async fn read(&self, request: &ReadPtyOutput) -> Result<(PtyOutputPage, Bytes), WireError> {
        let process = self.shared.processes.terminal(request.pty_id)?;
        let pty = self.shared.view(&process);
        let total = pty.output_total;
        let offset = match request.from_end {
            true => total.saturating_sub(request.offset),
            false => request.offset.min(total),
        };
        let to = offset.saturating_add(request.limit_bytes.min(OUTPUT_PAGE_MAX_BYTES)).min(total);
        let log = Arc::clone(process.log());
        let read = move || log.read_range(offset, to);
        let pieces = self.shared.lifecycle.blocking("pty.page", read).await;
        // A page ends at a gap; one that begins in it says where it ends.
        let bytes = match pieces.map_err(|error| unreadable(&error))?.into_iter().next() {
            None => Vec::new(),
            Some(Piece::Bytes { bytes, .. }) => bytes,
            Some(Piece::Gap { .. }) => {
                let (from, to) = (pty.dropped_from, pty.dropped_to);
                let text = format!("bytes {from} to {to} are not kept");
                let error = WireError::refused(ErrorCode::RangeDropped, text);
                return Err(error.with("from", from).with("to", to));
            }
        };
        Ok((PtyOutputPage { offset, len: bytes.len() as u64, pty }, bytes.into()))
    }

    /// Searches the lines of a terminal.
    pub async fn search(&self, request: &SearchPty) -> Result<PtyMatches, WireError> {
        let search = Search::check(request)?;
        let process = self.shared.processes.terminal(request.pty_id)?;
        let run = move || search.run(process.log());
        let found = self.shared.lifecycle.blocking("pty.search", run).await;
        found.map_err(|error| unreadable(&error))
    }

    pub(super) async fn record(
        &self,
        request: &RecordPty,
    ) -> Result<(PtyView, Recording), WireError> {
        let process = self.shared.processes.terminal(request.pty_id)?;
        let view = self.shared.view(&process);
        let (format, from) = (request.format, request.offset.unwrap_or(0));
        let open = move || Recording::open(process, format, from);
        let recording = self.shared.lifecycle.blocking("pty.record", open).await;
        Ok((view, recording.map_err(|error| unreadable(&error))?))
    }

    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.shared.lifecycle
    }

    /// Enters a viewer.
    pub(super) async fn attach(&self, request: AttachPty) -> Result<Begun, WireError> {
        check_viewer(&request.viewer)?;
        let session = self.shared.session(request.pty_id).await?;
        session.remember_writer();
        let wish = match session.process.phase().is_running() {
            true => request.write,
            false => WriteWish::Never,
        };
        let effects = session.apply(Event::Attach { viewer: request.viewer.clone(), wish });
        let Some(Effect::Attached(id)) = effects.first().cloned() else {
            let text = format!("{PTY_VIEWERS_MAX} viewers are attached to the terminal");
            let error = WireError::refused(ErrorCode::TooManyViewers, text);
            return Err(error.with("limit", PTY_VIEWERS_MAX));
        };
        // From here on the viewer is entered: an error must take it out again.
        match self.begin(&session, id, &request).await {
            Ok(begun) => Ok(begun),
            Err(error) => {
                session.apply(Event::Lost(id));
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        session: &Arc<Session>,
        id: super::roster::AttachmentId,
        request: &AttachPty,
    ) -> Result<Begun, WireError> {
        let is_writer = session.roster(|roster| roster.is_writer(id));
        if let (Some(size), true) = (request.size, is_writer) {
            session.want_size(size);
        }
        let (screen, bytes, offset) = match request.from {
            AttachFrom::Screen { scrollback_lines } => {
                let lines = scrollback_lines.min(PTY_SCROLLBACK_LINES_MAX);
                if !session.process.phase().is_open() {
                    session.catch_up().await?;
                }
                let live = Arc::clone(session);
                let screen = move || live.live.screen(lines);
                let screen = self.shared.lifecycle.blocking("pty.attach", screen).await;
                let (screen, bytes) = screen.map_err(|error| unreadable(&error))?;
                (Some(screen), Bytes::from(bytes), screen.offset)
            }
            AttachFrom::Offset { offset } => {
                let total = session.process.log().extent().total;
                (None, Bytes::new(), offset.min(total))
            }
        };
        let pty = session.view();
        let taken_seq = session.taken(&request.viewer);
        let live_from = pty.output_total;
        let head = PtyAttached { pty, is_writer, taken_seq, offset, live_from, screen };
        let viewing = Viewing {
            session: Arc::clone(session),
            id,
            viewer: request.viewer.clone(),
            size: request.size,
            skip_behind_bytes: request.skip_behind_bytes,
            offset,
            told_size: screen.map(|screen| screen.size),
            taken_seq,
        };
        Ok(Begun { head, screen: bytes, viewing })
    }
}

impl PtyService {
    fn view(&self, process: &TerminalProcess) -> PtyView {
        self.running(process.id()).map_or_else(|| view_of(process), |session| session.view())
    }

    fn running(&self, id: PtyId) -> Option<Arc<Session>> {
        self.lock().get(&id).cloned()
    }

    /// The session of a terminal; that of one which has ended is made for the caller.
    async fn session(&self, id: PtyId) -> Result<Arc<Session>, WireError> {
        if let Some(session) = self.running(id) {
            return Ok(session);
        }
        let process = self.processes.terminal(id)?;
        let (lifecycle, clock) = (self.lifecycle.clone(), Arc::clone(&self.clock));
        let open = move || Session::open(process, &lifecycle, &clock);
        Ok(self.lifecycle.blocking("pty.session", open).await)
    }

    /// Makes the session of a terminal whose program runs, and its tasks.
    fn begin(self: &Arc<Self>, process: TerminalProcess) -> Arc<Session> {
        let session = match self.lock().entry(process.id()) {
            std::collections::hash_map::Entry::Occupied(entry) => return Arc::clone(entry.get()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let session = Session::open(process, &self.lifecycle, &self.clock);
                Arc::clone(entry.insert(session))
            }
        };
        self.lifecycle.spawn_serving("pty.size", Arc::clone(&session).size());
        let (service, followed) = (Arc::clone(self), Arc::clone(&session));
        self.lifecycle.spawn_serving("pty.screen", async move {
            Arc::clone(&followed).follow().await;
            if !followed.process.phase().is_open() {
                service.lock().remove(&followed.id());
            }
        });
        session
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PtyId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_viewer(viewer: &str) -> Result<(), WireError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if viewer.is_empty() || viewer.len() > PTY_VIEWER_MAX_BYTES || !viewer.chars().all(is_plain) {
        let text = "the name of a viewer is 1 to 64 letters, digits, dots, dashes and underscores";
        return Err(WireError::refused(ErrorCode::InvalidRequest, text).with("field", "viewer"));
    }
    Ok(())
}
