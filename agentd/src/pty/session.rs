//! One terminal as viewers share it: its screen, who watches, who writes, and its wanted size.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::clock::Clock;
use shared::ids::PtyId;
use shared::lifecycle::Lifecycle;
use shared::protocol::WireError;
use shared::protocol::pty::{PtySize, PtyView};
use tokio::sync::watch;

use super::live::Live;
use super::roster::{Effect, Event, Roster};
use crate::process::terminal::TerminalProcess;

/// So little is brought to the screen in place; more is the work of a blocking thread.
const IN_PLACE_BYTES: u64 = 4 * 1024;
/// Brought to the screen at a time before others have their turn.
const TURN_BYTES: u64 = 1024 * 1024;
/// Shortest time between two sizes: a window that is dragged sends hundreds, and each of them makes
/// the program draw everything anew.
const RESIZE_PAUSE: Duration = Duration::from_millis(20);
/// Viewers whose numbers are remembered; as many as a keeper remembers.
const TYPISTS_MAX: usize = 128;
/// Begins the names of those who type without being viewers; no viewer's name may.
pub(super) const NOT_A_VIEWER: char = '@';

/// One terminal.
pub(super) struct Session {
    pub(super) process: TerminalProcess,
    pub(super) live: Live,
    roster: Mutex<Roster>,
    /// Raised whenever the roster changes.
    roster_changed: watch::Sender<u64>,
    wanted: watch::Sender<Option<PtySize>>,
    /// Highest number of each viewer that was taken; the one that typed last stands last.
    taken: Mutex<VecDeque<(String, u64)>>,
    pub(super) lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
}

impl Session {
    /// Reads the last checkpoint. Blocks.
    pub(super) fn open(
        process: TerminalProcess,
        lifecycle: &Lifecycle,
        clock: &Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            live: Live::open(process.clone()),
            process,
            roster: Mutex::default(),
            roster_changed: watch::Sender::new(0),
            wanted: watch::Sender::new(None),
            taken: Mutex::default(),
            lifecycle: lifecycle.clone(),
            clock: Arc::clone(clock),
        })
    }

    pub(super) fn id(&self) -> PtyId {
        self.process.id()
    }

    /// Makes the one who typed last to an earlier daemon the writer, if nobody came before.
    pub(super) fn remember_writer(&self) {
        let typed = self.process.typed();
        let last = typed.into_iter().rev().find(|(name, _)| !name.starts_with(NOT_A_VIEWER));
        let mut roster = self.lock();
        if let (Some((writer, _)), true) = (last, *roster == Roster::default()) {
            *roster = Roster::adopted(Some(writer));
        }
    }

    pub(super) fn apply(&self, event: Event) -> Vec<Effect> {
        let effects = self.lock().apply(event);
        if effects != [Effect::Stale] {
            self.roster_changed.send_modify(|generation| *generation += 1);
        }
        effects
    }

    pub(super) fn roster<T>(&self, look: impl FnOnce(&Roster) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn roster_changes(&self) -> watch::Receiver<u64> {
        self.roster_changed.subscribe()
    }

    /// The terminal is to have this size; of many at once the last counts.
    pub(super) fn want_size(&self, size: PtySize) {
        self.wanted.send_replace(Some(size));
    }

    /// Notes that everything of `viewer` up to `seq` was typed.
    pub(super) fn note_taken(&self, viewer: &str, seq: u64) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let known = taken.iter().position(|(name, _)| name == viewer);
        let before = known.and_then(|at| taken.remove(at)).map_or(0, |(_, seq)| seq);
        if taken.len() >= TYPISTS_MAX {
            taken.pop_front();
        }
        taken.push_back((viewer.to_owned(), seq.max(before)));
    }

    /// Up to which number everything of `viewer` was typed, to this daemon or to an earlier one.
    pub(super) fn taken(&self, viewer: &str) -> u64 {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all = taken.iter().cloned().chain(self.process.typed());
        all.filter(|(name, _)| name == viewer).map(|(_, seq)| seq).max().unwrap_or(0)
    }

    pub(super) fn view(&self) -> PtyView {
        let mut view = view_of(&self.process);
        view.title = self.live.title();
        self.roster(|roster| {
            view.writer = roster.writer().map(str::to_owned);
            view.viewers = u32::try_from(roster.len()).unwrap_or(u32::MAX);
        });
        view
    }

    /// Keeps the screen up to date until the program has ended or the daemon stops.
    pub(super) async fn follow(self: Arc<Self>) {
        let soft = self.lifecycle.soft();
        let mut changes = self.process.log().changes();
        let mut sizes = self.process.sizes();
        let mut phases = self.process.phases();
        loop {
            changes.borrow_and_update();
            sizes.borrow_and_update();
            let is_over = !phases.borrow_and_update().is_running();
            let left = match self.advance().await {
                Ok(left) => left,
                Err(error) => {
                    tracing::warn!(pty.id = %self.id(), %error, "a screen is not kept up to date");
                    return;
                }
            };
            if left == 0 && is_over {
                break;
            }
            if left > 0 {
                continue;
            }
            tokio::select! {
                () = soft.cancelled() => break,
                changed = changes.changed() => if changed.is_err() { break },
                changed = sizes.changed() => if changed.is_err() { break },
                changed = phases.changed() => if changed.is_err() { break },
            }
            // Viewers read the log themselves and have their turn first.
            tokio::task::yield_now().await;
        }
        self.keep(true).await;
    }

    /// Brings the screen forward by a turn. Answers how many bytes are left.
    pub(super) async fn advance(self: &Arc<Self>) -> std::io::Result<u64> {
        let behind = self.process.log().extent().total.saturating_sub(self.live.offset());
        if behind <= IN_PLACE_BYTES {
            let left = self.live.advance(IN_PLACE_BYTES)?;
            self.keep(false).await;
            return Ok(left);
        }
        let (session, now_ms) = (Arc::clone(self), self.clock.now_ms());
        let advance = move || {
            let left = session.live.advance(TURN_BYTES);
            session.live.keep(now_ms, false);
            left
        };
        self.lifecycle.blocking("pty.screen", advance).await
    }

    /// Brings the screen to where the output stands now.
    pub(super) async fn catch_up(self: &Arc<Self>) -> Result<(), WireError> {
        let total = self.process.log().extent().total;
        while self.live.offset() < total {
            self.advance().await.map_err(|error| super::unreadable(&error))?;
        }
        Ok(())
    }

    /// As [`catch_up`](Self::catch_up), where what is on the screen is good enough.
    pub(super) async fn catch_up_quietly(self: &Arc<Self>) {
        if let Err(error) = self.catch_up().await {
            tracing::debug!(pty.id = %self.id(), %error, "a screen is not up to date");
        }
    }

    async fn keep(self: &Arc<Self>, is_last: bool) {
        if self.live.is_checkpoint_due(self.clock.now_ms(), is_last) {
            let (session, now_ms) = (Arc::clone(self), self.clock.now_ms());
            let keep = move || session.live.keep(now_ms, is_last);
            self.lifecycle.blocking("pty.checkpoint", keep).await;
        }
    }

    /// Gives the terminal the sizes that are wanted, not too often, until the program has ended.
    pub(super) async fn size(self: Arc<Self>) {
        let soft = self.lifecycle.soft();
        let mut wanted = self.wanted.subscribe();
        let mut phases = self.process.phases();
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                _ = phases.wait_for(|phase| !phase.is_open()) => return,
                changed = wanted.changed() => if changed.is_err() { return },
            }
            let size = *wanted.borrow_and_update();
            let Some(size) = size else { continue };
            if self.process.resize(size).await.is_err() {
                return; // it has ended
            }
            tokio::time::sleep(RESIZE_PAUSE).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A terminal that nobody has a session of.
pub(super) fn view_of(process: &TerminalProcess) -> PtyView {
    let view = process.view();
    PtyView {
        pty_id: process.id(),
        command: view.command,
        cwd: view.cwd,
        chat_id: view.chat_id,
        os_pid: view.os_pid,
        started_at_ms: view.started_at_ms,
        state: view.state,
        size: process.sizes().borrow().now(),
        title: None,
        writer: None,
        viewers: 0,
        output_total: view.output_total,
        dropped_from: view.dropped_from,
        dropped_to: view.dropped_to,
    }
}
