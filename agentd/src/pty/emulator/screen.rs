//! Everything that a terminal shows and remembers, and what printing does to it.

use serde::{Deserialize, Serialize};
use unicode_width::UnicodeWidthChar;

use super::cell::{Cell, Style};
use super::charset::Charsets;
use super::grid::{Cursor, Grid, Saved};

/// Longest title, in characters.
pub(super) const TITLE_MAX_CHARS: usize = 256;
/// Titles that a program may put away.
const TITLES_MAX: usize = 8;

/// What a program has switched. The defaults are those of a terminal that was just opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the terminal")]
pub(super) struct Modes {
    pub(super) application_cursor: bool,
    pub(super) application_keypad: bool,
    pub(super) reverse_video: bool,
    pub(super) origin: bool,
    pub(super) wrap: bool,
    pub(super) insert: bool,
    pub(super) new_line: bool,
    pub(super) cursor_blinks: bool,
    pub(super) cursor_visible: bool,
    pub(super) reverse_wrap: bool,
    pub(super) bracketed_paste: bool,
    pub(super) focus_events: bool,
    pub(super) alternate_scroll: bool,
    /// 0 none, or 9, 1000, 1002, 1003.
    pub(super) mouse: u16,
    /// 0 none, or 1005, 1006, 1015, 1016.
    pub(super) mouse_encoding: u16,
    /// Shape of the cursor, 0 to 6.
    pub(super) cursor_shape: u8,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            application_cursor: false,
            application_keypad: false,
            reverse_video: false,
            origin: false,
            wrap: true,
            insert: false,
            new_line: false,
            cursor_blinks: false,
            cursor_visible: true,
            reverse_wrap: false,
            bracketed_paste: false,
            focus_events: false,
            alternate_scroll: false,
            mouse: 0,
            mouse_encoding: 0,
            cursor_shape: 0,
        }
    }
}

/// The whole screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Screen {
    pub(super) main: Grid,
    /// Present while a full-screen program has it.
    pub(super) alternate: Option<Grid>,
    pub(super) style: Style,
    pub(super) charsets: Charsets,
    /// Used for the next character only.
    pub(super) single_shift: Option<u8>,
    pub(super) modes: Modes,
    /// Columns at which a tab stops.
    pub(super) tabs: Vec<bool>,
    pub(super) title: String,
    titles: Vec<String>,
    /// The last character that was printed, for its repetition.
    last: Option<char>,
}

impl Screen {
    pub(super) fn new(cols: u16, rows: u16) -> Self {
        Self {
            main: Grid::returning(cols, rows),
            alternate: None,
            style: Style::default(),
            charsets: Charsets::default(),
            single_shift: None,
            modes: Modes::default(),
            tabs: default_tabs(cols),
            title: String::new(),
            titles: Vec::new(),
            last: None,
        }
    }

    /// See [`Grid::is_sound`].
    pub(super) fn is_sound(&self) -> bool {
        let (cols, rows) = (self.main.cols(), self.main.rows());
        let alike = |grid: &Grid| grid.is_sound() && (grid.cols(), grid.rows()) == (cols, rows);
        self.main.is_sound()
            && self.alternate.as_ref().is_none_or(alike)
            && self.tabs.len() == usize::from(cols)
    }

    pub(super) fn grid(&mut self) -> &mut Grid {
        self.alternate.as_mut().unwrap_or(&mut self.main)
    }

    pub(super) fn shown(&self) -> &Grid {
        self.alternate.as_ref().unwrap_or(&self.main)
    }

    pub(super) fn resize(&mut self, cols: u16, rows: u16) {
        self.main.resize(cols, rows);
        if let Some(alternate) = &mut self.alternate {
            alternate.resize(cols, rows);
        }
        let before = self.tabs.len();
        self.tabs.truncate(usize::from(cols));
        self.tabs.extend((before..usize::from(cols)).map(|col| col % 8 == 0 && col > 0));
    }

    pub(super) fn print(&mut self, character: char) {
        // Format characters and others that take no column, but for marks, leave no trace.
        let width = character.width().unwrap_or(0);
        if width == 0 {
            return self.mark(character);
        }
        self.last = Some(character);
        let style = self.style;
        let is_wide = width >= 2;
        let (wraps, inserts) = (self.modes.wrap, self.modes.insert);
        let grid = self.grid();
        let cols = grid.cols();
        // A screen of one column has no room for it.
        let (character, width) = match is_wide {
            true if cols < 2 => (char::REPLACEMENT_CHARACTER, 1_u8),
            true => (character, 2),
            false => (character, 1),
        };
        let fits = grid.cursor.col + u16::from(width) <= cols;
        if grid.cursor.is_past_end || !fits {
            if wraps {
                grid.current().is_wrapped = true;
                grid.cursor.col = 0;
                grid.line_feed(style.erased());
            } else {
                grid.cursor.col = cols - u16::from(width);
                grid.cursor.is_past_end = false;
            }
        }
        if inserts {
            let (col, cols) = (grid.cursor.col, grid.cols());
            grid.current().insert(col, u16::from(width), cols, style.erased());
        }
        grid.put(Cell::new(character, style, width));
        let next = grid.cursor.col + u16::from(width);
        if next >= cols {
            grid.cursor.col = cols - 1;
            grid.cursor.is_past_end = wraps;
        } else {
            grid.cursor.col = next;
        }
    }

    /// Bytes of ASCII, many at a time: nearly all output is this. Only where each is one character
    /// of its own and nothing is inserted.
    pub(super) fn print_run(&mut self, text: &[u8]) {
        let Some(last) = text.last() else { return };
        self.last = Some(char::from(*last));
        let style = self.style;
        let grid = self.grid();
        let cols = grid.cols();
        let mut rest = text;
        while !rest.is_empty() {
            if grid.cursor.is_past_end {
                grid.current().is_wrapped = true;
                grid.cursor.col = 0;
                grid.line_feed(style.erased());
            }
            let col = grid.cursor.col;
            let (run, after) = rest.split_at(rest.len().min(usize::from(cols - col)));
            grid.current().put_ascii(col, run, style);
            let next = col + u16::try_from(run.len()).unwrap_or(cols);
            grid.cursor.is_past_end = next >= cols;
            grid.cursor.col = next.min(cols - 1);
            rest = after;
        }
    }

    /// A combining character belongs to the one before it.
    fn mark(&mut self, mark: char) {
        let grid = self.grid();
        let Cursor { col, is_past_end, .. } = grid.cursor;
        let Some(mut at) = (if is_past_end { Some(col) } else { col.checked_sub(1) }) else {
            return;
        };
        let line = grid.current();
        if line.cell(at).width == 0 && at > 0 {
            at -= 1;
        }
        line.at(at).add_mark(mark);
    }

    /// `character` was the last one, wherever it went.
    pub(super) const fn printed(&mut self, character: char) {
        self.last = Some(character);
    }

    pub(super) fn repeat_last(&mut self, count: u16) {
        let Some(last) = self.last else { return };
        // No program means more than a screen full.
        let cells = u32::from(self.main.cols()) * u32::from(self.main.rows());
        for _ in 0..u32::from(count).min(cells) {
            self.print(last);
        }
    }

    pub(super) fn save(&mut self) {
        let (style, charsets, is_origin) = (self.style, self.charsets, self.modes.origin);
        let grid = self.grid();
        grid.saved = Saved { cursor: grid.cursor, style, charsets, is_origin };
    }

    pub(super) fn restore(&mut self) {
        let grid = self.grid();
        let Saved { cursor, style, charsets, is_origin } = grid.saved;
        grid.cursor = cursor;
        (self.style, self.charsets, self.modes.origin) = (style, charsets, is_origin);
        self.keep_to_origin();
    }

    /// With the origin in the part that scrolls the cursor does not leave it.
    fn keep_to_origin(&mut self) {
        if self.modes.origin {
            let grid = self.grid();
            let row = grid.cursor.row.clamp(grid.top, grid.bottom);
            if row != grid.cursor.row {
                grid.go_to(row, grid.cursor.col);
            }
        }
    }

    /// Moves the cursor; rows count from the part that scrolls when that is the origin.
    pub(super) fn go_to(&mut self, row: u16, col: u16) {
        let is_origin = self.modes.origin;
        let grid = self.grid();
        if is_origin {
            let row = grid.top.saturating_add(row).min(grid.bottom);
            grid.go_to(row, col);
        } else {
            grid.go_to(row, col);
        }
    }

    pub(super) fn line_feed(&mut self) {
        let style = self.style.erased();
        self.grid().line_feed(style);
    }

    pub(super) fn tab(&mut self) {
        let col = usize::from(self.shown().cursor.col);
        let next = self.tabs.iter().skip(col + 1).position(|stop| *stop);
        let last = self.main.cols() - 1;
        let to = next.and_then(|next| u16::try_from(col + 1 + next).ok()).unwrap_or(last);
        let grid = self.grid();
        grid.cursor.col = to.min(last);
        grid.cursor.is_past_end = false;
    }

    pub(super) fn tab_back(&mut self) {
        let col = usize::from(self.shown().cursor.col);
        let to = self.tabs.iter().take(col).rposition(|stop| *stop).unwrap_or(0);
        let grid = self.grid();
        grid.cursor.col = u16::try_from(to).unwrap_or(0);
        grid.cursor.is_past_end = false;
    }

    pub(super) fn backspace(&mut self) {
        let grid = self.grid();
        grid.cursor.col = grid.cursor.col.saturating_sub(1);
        grid.cursor.is_past_end = false;
    }

    /// The alternate screen begins blank, with the cursor where it is.
    pub(super) fn enter_alternate(&mut self) {
        if self.alternate.is_none() {
            let mut grid = Grid::new(self.main.cols(), self.main.rows());
            grid.cursor = self.main.cursor;
            grid.cursor.is_past_end = false;
            self.alternate = Some(grid);
        }
    }

    pub(super) fn leave_alternate(&mut self) {
        if let Some(alternate) = self.alternate.take() {
            let Cursor { row, col, .. } = alternate.cursor;
            self.main.go_to(row, col);
            self.keep_to_origin();
        }
    }

    pub(super) fn set_title(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        self.title = text.chars().filter(|char| !char.is_control()).take(TITLE_MAX_CHARS).collect();
    }

    pub(super) fn push_title(&mut self) {
        if self.titles.len() < TITLES_MAX {
            self.titles.push(self.title.clone());
        }
    }

    pub(super) fn pop_title(&mut self) {
        if let Some(title) = self.titles.pop() {
            self.title = title;
        }
    }

    /// `ESC c`: as it was opened, at its size.
    pub(super) fn reset(&mut self) {
        let new = Self::new(self.main.cols(), self.main.rows());
        let before = std::mem::replace(self, new);
        self.main.take_history_of(before.main);
    }

    /// `ESC [ ! p`: switches and looks, not the content.
    pub(super) fn soft_reset(&mut self) {
        let Modes { mouse, mouse_encoding, bracketed_paste, focus_events, .. } = self.modes;
        self.modes =
            Modes { mouse, mouse_encoding, bracketed_paste, focus_events, ..Modes::default() };
        self.style = Style::default();
        self.charsets = Charsets::default();
        let grid = self.grid();
        (grid.top, grid.bottom) = (0, grid.rows() - 1);
        grid.saved = Saved::default();
    }
}

fn default_tabs(cols: u16) -> Vec<bool> {
    (0..cols).map(|col| col % 8 == 0 && col > 0).collect()
}
