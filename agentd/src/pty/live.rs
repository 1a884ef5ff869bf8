//! One terminal's screen: the emulator, fed from the log up to an offset.
//!
//! ```text
//! keeper ──► log ──► advance ──► emulator at offset n ──► screens for viewers, title, text
//!                       └──► checkpoint, every 256 KiB and at most once a second
//! ```
//!
//! The screen follows at its own pace and holds up nobody: viewers read the log themselves. A fault
//! of the emulator blanks the screen and is logged; the terminal and its output go on.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use shared::protocol::pty::{PtyScreen, PtySize};
use tokio::sync::watch;

use super::checkpoint;
use super::emulator::Emulator;
use crate::process::log::Piece;
use crate::process::terminal::{Sizes, TerminalProcess};

/// One read of the log.
const READ_BYTES: usize = 64 * 1024;
/// Output after which a new checkpoint is due.
const CHECKPOINT_BYTES: u64 = 256 * 1024;
/// Shortest time between two checkpoints.
const CHECKPOINT_MS: i64 = 1_000;
/// Output that is looked through for the lines above a screen.
const HISTORY_BYTES: u64 = 4 * 1024 * 1024;

/// A screen and where it stands.
pub(super) struct Live {
    process: TerminalProcess,
    path: PathBuf,
    state: Mutex<State>,
    progress: watch::Sender<u64>,
}

struct State {
    screen: Fed,
    checkpoint_offset: u64,
    checkpoint_at_ms: i64,
}

/// What the screen shows, for those who read text.
pub(super) struct Shown {
    pub(super) offset: u64,
    pub(super) rows: Vec<String>,
    pub(super) cursor: (u16, u16),
    pub(super) is_cursor_visible: bool,
    pub(super) is_alternate: bool,
}

impl Live {
    /// The screen of `process` as its last checkpoint has it. Blocks.
    pub(super) fn open(process: TerminalProcess) -> Self {
        let path = process.path();
        let total = process.log().extent().total;
        let found = checkpoint::read(&path).filter(|screen| screen.offset <= total);
        let screen = found.unwrap_or_else(|| Fed::new(process.sizes().borrow().at(0).0));
        let offset = screen.offset;
        let state = State { screen, checkpoint_offset: offset, checkpoint_at_ms: i64::MIN };
        Self { process, path, state: Mutex::new(state), progress: watch::Sender::new(offset) }
    }

    /// Every byte before this one is on the screen.
    pub(super) fn offset(&self) -> u64 {
        self.lock().screen.offset
    }

    /// Wakes whenever the screen has moved on.
    pub(super) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Brings up to about `most` bytes of output to the screen. Answers how many are left. Blocks.
    pub(super) fn advance(&self, most: u64) -> io::Result<u64> {
        // The length before the sizes: every byte up to there has its size among them.
        let total = self.process.log().extent().total;
        let sizes = self.process.sizes().borrow().clone();
        let until = self.offset().saturating_add(most).min(total);
        loop {
            let mut state = self.lock();
            let screen = &mut state.screen;
            if screen.offset >= until {
                // A size for which nothing was written yet.
                screen.resize(&sizes);
                let (offset, left) = (screen.offset, total.saturating_sub(screen.offset));
                drop(state);
                self.progress.send_replace(offset);
                return Ok(left);
            }
            feed(&self.process, &sizes, screen, until)?;
        }
    }

    pub(super) fn is_checkpoint_due(&self, now_ms: i64, is_last: bool) -> bool {
        self.lock().is_checkpoint_due(now_ms, is_last)
    }

    /// Writes a checkpoint if one is due, or if `is_last`. Blocks.
    pub(super) fn keep(&self, now_ms: i64, is_last: bool) {
        let bytes = {
            let mut state = self.lock();
            if !state.is_checkpoint_due(now_ms, is_last) {
                return;
            }
            (state.checkpoint_offset, state.checkpoint_at_ms) = (state.screen.offset, now_ms);
            checkpoint::encode(&state.screen)
        };
        if let Err(error) = checkpoint::write(&self.path, &bytes) {
            tracing::debug!(%error, "a checkpoint of a screen was not written");
        }
    }

    /// The screen as bytes for a viewer, with up to `lines` above it. Blocks.
    pub(super) fn screen(&self, lines: u32) -> io::Result<(PtyScreen, Vec<u8>)> {
        let Fed { emulator, offset, .. } = self.lock().screen.clone();
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        let bytes = if lines <= emulator.scrollback().len() {
            emulator.formatted_below(&emulator, lines)
        } else {
            emulator.formatted_below(&self.history(offset, lines)?.emulator, lines)
        };
        Ok((described(&emulator, offset, &bytes), bytes))
    }

    /// The screen for a viewer that is given a new one, with what comes back to it when it grows.
    pub(super) fn screen_anew(&self) -> (PtyScreen, Vec<u8>) {
        let Fed { emulator, offset, .. } = self.lock().screen.clone();
        let bytes = emulator.formatted_below(&emulator, emulator.scrollback().len());
        (described(&emulator, offset, &bytes), bytes)
    }

    /// What has left the screen at its top by `to`: read again from the log, so that it costs
    /// nothing while nobody asks.
    fn history(&self, to: u64, lines: usize) -> io::Result<Fed> {
        let sizes = self.process.sizes().borrow().clone();
        let dropped_to = self.process.log().extent().dropped_to;
        let offset = to.saturating_sub(HISTORY_BYTES).max(dropped_to.min(to));
        let emulator = Emulator::new(sizes.at(offset).0).with_scrollback(lines);
        let mut history = Fed { emulator, offset, sizes: sizes.before(offset) };
        while history.offset < to {
            feed(&self.process, &sizes, &mut history, to)?;
        }
        Ok(history)
    }

    pub(super) fn shown(&self) -> Shown {
        let state = self.lock();
        let emulator = &state.screen.emulator;
        Shown {
            offset: state.screen.offset,
            rows: emulator.rows().map(super::emulator::Row::text).collect(),
            cursor: emulator.cursor(),
            is_cursor_visible: emulator.is_cursor_visible(),
            is_alternate: emulator.is_alternate(),
        }
    }

    pub(super) fn title(&self) -> Option<String> {
        self.lock().screen.emulator.title().map(str::to_owned)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What could panic is caught before it reaches the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_checkpoint_due(&self, now_ms: i64, is_last: bool) -> bool {
        let new = self.screen.offset.saturating_sub(self.checkpoint_offset);
        let is_old = now_ms.saturating_sub(self.checkpoint_at_ms) >= CHECKPOINT_MS;
        new > 0 && (is_last || (new >= CHECKPOINT_BYTES && is_old))
    }
}

/// An emulator that has seen every byte before an offset, and so many sizes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fed {
    pub(super) emulator: Emulator,
    pub(super) offset: u64,
    pub(super) sizes: usize,
}

impl Fed {
    pub(super) fn new(size: PtySize) -> Self {
        Self { emulator: Emulator::new(size), offset: 0, sizes: 0 }
    }

    /// Applies the sizes that are due. Answers how many bytes there are up to the next one.
    fn resize(&mut self, sizes: &Sizes) -> u64 {
        let Self { emulator, offset, sizes: applied } = self;
        let next = sizes.due(applied, *offset, |size| emulator.resize(size));
        next.map_or(u64::MAX, |next| next.saturating_sub(*offset))
    }
}

fn described(emulator: &Emulator, offset: u64, bytes: &[u8]) -> PtyScreen {
    PtyScreen { offset, size: emulator.size(), len: bytes.len() as u64 }
}

/// Feeds the next run of the log, which ends at `to` at the latest, with the size it was written
/// for. Blocks.
pub(super) fn feed(
    process: &TerminalProcess,
    sizes: &Sizes,
    screen: &mut Fed,
    to: u64,
) -> io::Result<()> {
    let room = screen.resize(sizes).min(to.saturating_sub(screen.offset));
    let most = READ_BYTES.min(usize::try_from(room).unwrap_or(READ_BYTES));
    let (bytes, to) = match process.log().read(screen.offset, most)? {
        // Whatever was open when bytes were lost is over.
        Some(Piece::Gap { to, .. }) => (vec![0x18], to),
        Some(Piece::Bytes { offset, bytes }) => {
            let to = offset + bytes.len() as u64;
            (bytes, to)
        }
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let emulator = &mut screen.emulator;
    if std::panic::catch_unwind(AssertUnwindSafe(|| emulator.feed(&bytes))).is_err() {
        tracing::error!(pty.id = %process.id(), offset = screen.offset, "a screen failed and is blank");
        screen.emulator = Emulator::new(screen.emulator.size());
    }
    screen.offset = to;
    Ok(())
}
