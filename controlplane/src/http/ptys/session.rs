//! What the two directions of an attached socket share, and the attachment that outlives its link.
//!
//! ```text
//!            attach ok                      end, replaced
//! lost ────────────────────► attached ────────────────────► over
//!   ▲  └─ refused for good ──────┼─────────────────────────► over
//!   └──────── link lost ─────────┘
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::protocol::ErrorCode;
use shared::protocol::pty::{AttachFrom, AttachPty, PtySize, WriteWish};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::message::PtyTold;
use crate::fleet::{
    CallError, PtyAttachment, PtyEvent, PtyEvents, PtyVoice, UnknownReason, WorkspaceLink,
};

/// How long a daemon may take to answer an attach.
const ATTACH_PATIENCE: Duration = Duration::from_secs(30);
/// Between attempts on a link that is there and fails; doubles to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What both directions know of the viewer.
pub(super) struct Viewer {
    state: Mutex<ViewerState>,
    phase_changed: Notify,
    /// Binary bytes that the client has dealt with.
    pub(super) acked: watch::Sender<u64>,
}

struct ViewerState {
    /// How the viewer would attach now.
    wish: AttachPty,
    heard_at: Instant,
    /// Input waits for the program to read; so the client is not listened to.
    is_held: bool,
    /// Not taken in yet; a newer one replaces it, since only the newest counts.
    phase: Option<Phase>,
}

impl Viewer {
    pub(super) fn new(wish: AttachPty, now: Instant) -> Self {
        let state = ViewerState { wish, heard_at: now, is_held: false, phase: None };
        Self {
            state: Mutex::new(state),
            phase_changed: Notify::new(),
            acked: watch::Sender::new(0),
        }
    }

    pub(super) fn resized(&self, size: PtySize) {
        self.state().wish.size = Some(size);
    }

    /// What it wants of the writer's role when it attaches the next time.
    pub(super) fn wishes(&self, write: WriteWish) {
        self.state().wish.write = write;
    }

    pub(super) fn heard(&self, now: Instant) {
        self.state().heard_at = now;
    }

    pub(super) fn hold(&self, is_held: bool, now: Instant) {
        let mut state = self.state();
        (state.is_held, state.heard_at) = (is_held, now);
    }

    /// Since when nothing was heard of it; none: nobody listens.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        let state = self.state();
        (!state.is_held).then_some(state.heard_at)
    }

    /// The next phase of the attachment. Cancel-safe.
    pub(super) async fn phase(&self) -> Phase {
        loop {
            if let Some(phase) = self.state().phase.take() {
                return phase;
            }
            self.phase_changed.notified().await;
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.state().phase = Some(phase);
        self.phase_changed.notify_one();
    }

    fn wish(&self, from: AttachFrom) -> AttachPty {
        AttachPty { from, ..self.state().wish.clone() }
    }

    fn state(&self) -> MutexGuard<'_, ViewerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the incoming direction is told of the attachment.
pub(super) enum Phase {
    /// Attached, with the highest number of input that was taken.
    Attached(PtyVoice, u64),
    /// The program ended.
    Exited,
}

type Attaching = Pin<Box<dyn Future<Output = Result<PtyAttachment, CallError>> + Send>>;

/// The attachment, on one link after the other.
pub(super) struct Feed {
    link: WorkspaceLink,
    viewer: Arc<Viewer>,
    state: FeedState,
    /// Where a new attachment begins: where the last one stopped, or with a screen.
    from: AttachFrom,
    /// With what it began, for when a screen came only in part.
    begin: AttachFrom,
    screen_missing: u64,
    failures: u32,
}

enum FeedState {
    Attached(PtyEvents),
    Lost(Attaching),
    Over,
}

/// What the outgoing direction does next.
pub(super) enum Step {
    /// Tell it.
    Tell(Box<PtyTold>),
    /// Bytes for the terminal.
    Bytes(bytes::Bytes),
    /// Another attachment has the viewer's name.
    Replaced,
    /// It cannot be attached again.
    Gone(String),
}

impl Feed {
    /// Takes over an attachment; what to tell first comes back.
    pub(super) fn new(
        link: WorkspaceLink,
        viewer: Arc<Viewer>,
        begin: AttachFrom,
        attachment: PtyAttachment,
    ) -> (Self, PtyTold) {
        let mut feed = Self {
            link,
            viewer,
            state: FeedState::Over,
            from: begin,
            begin,
            screen_missing: 0,
            failures: 0,
        };
        let told = feed.enter(attachment);
        (feed, told)
    }

    /// Ends the attachment.
    pub(super) fn end(&mut self) {
        self.state = FeedState::Over;
    }

    /// Nothing more will come.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, FeedState::Over)
    }

    /// The next thing to do. Cancel-safe.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            match &mut self.state {
                FeedState::Attached(events) => match events.next().await {
                    Ok(Some(event)) => return self.step(event),
                    Ok(None) => self.state = FeedState::Over,
                    Err(error) => return self.lost(error),
                },
                FeedState::Lost(attaching) => match attaching.as_mut().await {
                    Ok(attachment) => return Step::Tell(Box::new(self.enter(attachment))),
                    Err(error) => match self.again(error) {
                        Ok(()) => {}
                        Err(gone) => return gone,
                    },
                },
                FeedState::Over => std::future::pending().await,
            }
        }
    }

    fn enter(&mut self, attachment: PtyAttachment) -> PtyTold {
        let PtyAttachment { attached, events, voice } = attachment;
        self.failures = 0;
        self.from = AttachFrom::Offset { offset: attached.offset };
        self.screen_missing = attached.screen.map_or(0, |screen| screen.len);
        self.writes(attached.is_writer);
        self.state = FeedState::Attached(events);
        self.viewer.enter(Phase::Attached(voice, attached.taken_seq));
        attached.into()
    }

    fn step(&mut self, event: PtyEvent) -> Step {
        let told = match event {
            PtyEvent::Output { offset, bytes } => {
                self.from = AttachFrom::Offset { offset: offset + bytes.len() as u64 };
                return Step::Bytes(bytes);
            }
            PtyEvent::ScreenBytes(bytes) => {
                self.screen_missing = self.screen_missing.saturating_sub(bytes.len() as u64);
                return Step::Bytes(bytes);
            }
            PtyEvent::Screen(screen) => {
                self.from = AttachFrom::Offset { offset: screen.offset };
                self.screen_missing = screen.len;
                PtyTold::Screen { screen: screen.into() }
            }
            PtyEvent::Dropped { from, to } => {
                self.from = AttachFrom::Offset { offset: to };
                PtyTold::Dropped { from, to }
            }
            PtyEvent::Resized { offset, size } => {
                PtyTold::Resized { offset, cols: size.cols(), rows: size.rows() }
            }
            PtyEvent::Writer { viewer, is_you } => {
                self.writes(is_you);
                PtyTold::Writer { viewer, is_you }
            }
            PtyEvent::Taken(seq) => PtyTold::Taken { seq },
            PtyEvent::Refused { seq, error } => {
                PtyTold::Refused { seq, code: error.code, detail: error.message }
            }
            PtyEvent::End(pty) => {
                self.state = FeedState::Over;
                self.viewer.enter(Phase::Exited);
                PtyTold::End { pty: Box::new((*pty).into()) }
            }
            PtyEvent::Replaced => {
                self.state = FeedState::Over;
                return Step::Replaced;
            }
        };
        Step::Tell(Box::new(told))
    }

    /// A writer is it again on the next link, if nobody took over; a watcher only watches.
    fn writes(&self, is_writer: bool) {
        self.viewer.wishes(if is_writer { WriteWish::IfFree } else { WriteWish::Never });
    }

    fn lost(&mut self, error: CallError) -> Step {
        match self.again(error) {
            Ok(()) => Step::Tell(Box::new(PtyTold::Waiting { reason: "link_lost" })),
            Err(gone) => gone,
        }
    }

    /// Begins to attach again, or says why not.
    fn again(&mut self, error: CallError) -> Result<(), Step> {
        if let CallError::Refused(wire) | CallError::Failed(wire) = &error
            && !may_pass(wire.known_code())
        {
            self.state = FeedState::Over;
            return Err(Step::Gone(wire.code.clone()));
        }
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => PAUSE_MIN.saturating_mul(1 << (failures - 1).min(8)).min(PAUSE_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        if self.screen_missing > 0 {
            self.from = self.begin;
        }
        let (link, wish) = (self.link.clone(), self.viewer.wish(self.from));
        self.state = FeedState::Lost(Box::pin(async move {
            // A link that is there and fails is asked again, but not in a hot loop.
            tokio::time::sleep(pause).await;
            link.connected().await;
            attach(&link, &wish).await
        }));
        Ok(())
    }
}

/// Attaches, within a bounded time.
pub(super) async fn attach(
    link: &WorkspaceLink,
    wish: &AttachPty,
) -> Result<PtyAttachment, CallError> {
    tokio::time::timeout(ATTACH_PATIENCE, link.attach(wish))
        .await
        .unwrap_or(Err(CallError::Unknown { reason: UnknownReason::DeadlinePassed }))
}

/// Whether the daemon may answer otherwise a moment later.
fn may_pass(code: Option<ErrorCode>) -> bool {
    matches!(
        code,
        Some(
            ErrorCode::Busy
                | ErrorCode::ShuttingDown
                | ErrorCode::TooManyViewers
                | ErrorCode::Internal
        )
    )
}
