//! A terminal without a window: what stands on the screen after exactly so many bytes.
//!
//! ```text
//! bytes ──► parser ──► sequences ──► screen ──► format: bytes that show the same
//!                                      │  grid main, grid alternate, switches, title
//!                                      └──► written down whole, read back the same
//! ```
//!
//! Deterministic: the same bytes and sizes give the same state, however they are cut. The whole
//! state, an unfinished sequence included, can be written down and read back, so a daemon that is
//! started again goes on from there. `docs/design/011-pty.md` says why it is our own.
//!
//! Bounded: two screens of at most 1,000 × 1,000 cells, a sequence of at most 4 KiB, a title of at
//! most 256 characters, and 64 rows that have left the screen and come back when it grows, or as many
//! lines of scrollback as its maker wants.

mod cell;
mod charset;
mod format;
mod grid;
mod params;
mod parser;
mod plain;
mod screen;
mod sequences;
mod style;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use shared::protocol::pty::PtySize;

pub use cell::{Cell, Color, Row, Style};
pub(super) use params::Params;
pub(super) use parser::{Parser, Sink};
use screen::Screen;

/// A terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    parser: Parser,
    screen: Screen,
}

impl Emulator {
    /// A terminal that was just opened.
    #[must_use]
    pub fn new(size: PtySize) -> Self {
        Self { parser: Parser::default(), screen: Screen::new(size.cols(), size.rows()) }
    }

    /// Keeps up to `lines` lines that leave the main screen at its top.
    #[must_use]
    pub fn with_scrollback(mut self, lines: usize) -> Self {
        self.screen.main.keep_history(lines);
        self
    }

    /// Takes the next bytes of output.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.parser.feed(bytes, &mut self.screen);
    }

    /// Gives the terminal another size.
    pub fn resize(&mut self, size: PtySize) {
        if self.size() != size {
            self.screen.resize(size.cols(), size.rows());
        }
    }

    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> PtySize {
        let grid = &self.screen.main;
        PtySize::clamped(i64::from(grid.cols()), i64::from(grid.rows()))
    }

    /// Bytes that bring any terminal of this size into this state, an unfinished sequence included.
    #[must_use]
    pub fn formatted(&self) -> Vec<u8> {
        let mut bytes = format::format(&self.screen, std::iter::empty());
        bytes.extend_from_slice(self.parser.open());
        bytes
    }

    /// As [`formatted`](Self::formatted), with the last `lines` of what `history` has above its
    /// screen.
    #[must_use]
    pub fn formatted_below(&self, history: &Self, lines: usize) -> Vec<u8> {
        let kept = history.screen.main.scrollback();
        let above = kept.iter().skip(kept.len().saturating_sub(lines));
        let mut bytes = format::format(&self.screen, above);
        bytes.extend_from_slice(self.parser.open());
        bytes
    }

    /// The rows of the screen that is shown.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.screen.shown().lines()
    }

    /// Lines that have left the main screen at its top, oldest first: without
    /// [`with_scrollback`](Self::with_scrollback) a few.
    pub fn scrollback(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.screen.main.scrollback().iter()
    }

    /// Row and column of the cursor, from 0.
    #[must_use]
    pub fn cursor(&self) -> (u16, u16) {
        let cursor = self.screen.shown().cursor;
        (cursor.row, cursor.col)
    }

    /// Whether the cursor is shown.
    #[must_use]
    pub const fn is_cursor_visible(&self) -> bool {
        self.screen.modes.cursor_visible
    }

    /// Whether the alternate screen is shown.
    #[must_use]
    pub const fn is_alternate(&self) -> bool {
        self.screen.alternate.is_some()
    }

    /// What the program has set as title.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        Some(self.screen.title.as_str()).filter(|title| !title.is_empty())
    }

    /// Whether it can be gone on with: what is read back may be damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.screen.is_sound()
    }
}
