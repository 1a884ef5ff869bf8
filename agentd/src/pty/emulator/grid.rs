//! One screen of rows with its cursor: the main one or the alternate one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Row, Style};
use super::charset::Charsets;

/// Rows that have left a screen at its top and come back when there is room again. More would cost
/// every terminal memory for windows that hardly grow so much.
pub(super) const RETURNING_MAX: usize = 64;

/// Where the next character goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) row: u16,
    pub(super) col: u16,
    /// The last column was written: the next character begins a new row.
    pub(super) is_past_end: bool,
}

/// What `ESC 7` keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) cursor: Cursor,
    pub(super) style: Style,
    pub(super) charsets: Charsets,
    pub(super) is_origin: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grid {
    cols: u16,
    rows: u16,
    lines: VecDeque<Row>,
    pub(super) cursor: Cursor,
    pub(super) saved: Saved,
    /// First and last row of the part that scrolls.
    pub(super) top: u16,
    pub(super) bottom: u16,
    /// Rows that have left at the top, oldest first.
    scrollback: VecDeque<Row>,
    /// Most of them that there may be.
    scrollback_max: usize,
    /// They are for people who look back, and stay when a program resets its terminal.
    is_history: bool,
}

impl Grid {
    pub(super) fn new(cols: u16, rows: u16) -> Self {
        Self {
            cols,
            rows,
            lines: std::iter::repeat_with(Row::default).take(usize::from(rows)).collect(),
            cursor: Cursor::default(),
            saved: Saved::default(),
            top: 0,
            bottom: rows.saturating_sub(1),
            scrollback: VecDeque::new(),
            scrollback_max: 0,
            is_history: false,
        }
    }

    /// A grid whose rows come back.
    pub(super) fn returning(cols: u16, rows: u16) -> Self {
        Self { scrollback_max: RETURNING_MAX, ..Self::new(cols, rows) }
    }

    /// Whether it was written down whole: what is read back may be damaged.
    pub(super) fn is_sound(&self) -> bool {
        self.cols > 0
            && self.rows > 0
            && self.lines.len() == usize::from(self.rows)
            && self.lines.iter().all(|line| line.used() <= self.cols)
            && self.cursor.row < self.rows
            && self.cursor.col < self.cols
            && self.top <= self.bottom
            && self.bottom < self.rows
            && self.scrollback.len() <= self.scrollback_max
    }

    pub(super) const fn cols(&self) -> u16 {
        self.cols
    }

    pub(super) const fn rows(&self) -> u16 {
        self.rows
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Row> {
        self.lines.iter()
    }

    /// Keeps up to `max` rows for people who look back.
    pub(super) fn keep_history(&mut self, max: usize) {
        (self.scrollback_max, self.is_history) = (max, true);
    }

    pub(super) const fn scrollback(&self) -> &VecDeque<Row> {
        &self.scrollback
    }

    /// Goes on after a reset with what `other` has kept for people who look back. What would only
    /// come back with more room is gone, as it is in every viewer's terminal.
    pub(super) fn take_history_of(&mut self, other: Self) {
        if other.is_history {
            (self.scrollback_max, self.is_history) = (other.scrollback_max, true);
            self.scrollback = other.scrollback;
        }
    }

    /// Rows that may stand above the screen.
    pub(super) const fn kept_above(&self) -> usize {
        self.scrollback_max
    }

    pub(super) fn forget_scrollback(&mut self) {
        self.scrollback.clear();
    }

    /// The row. Every caller keeps `row` within the grid; one outside is the last one.
    pub(super) fn line(&mut self, row: u16) -> &mut Row {
        let row = usize::from(row.min(self.rows - 1));
        &mut self.lines[row]
    }

    pub(super) fn row(&self, row: u16) -> Option<&Row> {
        self.lines.get(usize::from(row))
    }

    pub(super) fn current(&mut self) -> &mut Row {
        self.line(self.cursor.row)
    }

    /// Puts a cell of `width` columns at the cursor, which stays.
    pub(super) fn put(&mut self, cell: Cell) {
        let (col, width) = (self.cursor.col, u16::from(cell.width));
        let style = cell.style;
        let line = self.current();
        line.split(col);
        line.split(col + width);
        *line.at(col) = cell;
        if width == 2 {
            *line.at(col + 1) = Cell::new(' ', style, 0);
        }
    }

    pub(super) fn go_to(&mut self, row: u16, col: u16) {
        self.cursor =
            Cursor { row: row.min(self.rows - 1), col: col.min(self.cols - 1), is_past_end: false };
    }

    /// Down by one; at the end of the part that scrolls everything in it moves up.
    pub(super) fn line_feed(&mut self, style: Style) {
        if self.cursor.row == self.bottom {
            self.scroll_up(1, style);
        } else if self.cursor.row + 1 < self.rows {
            self.cursor.row += 1;
        }
        self.cursor.is_past_end = false;
    }

    /// Up by one, with the opposite.
    pub(super) fn reverse_line_feed(&mut self, style: Style) {
        if self.cursor.row == self.top {
            self.scroll_down(self.top, 1, style);
        } else {
            self.cursor.row = self.cursor.row.saturating_sub(1);
        }
        self.cursor.is_past_end = false;
    }

    pub(super) fn scroll_up(&mut self, count: u16, style: Style) {
        let leaves = self.top == 0;
        self.remove_lines(self.top, count, style, leaves);
    }

    /// Rows from `from` on move up, `count` at the end of the part that scrolls are new.
    pub(super) fn remove_lines(&mut self, from: u16, count: u16, style: Style, is_kept: bool) {
        let count = count.min(self.bottom + 1 - from);
        for _ in 0..count {
            let gone = self.lines.remove(usize::from(from)).unwrap_or_default();
            let mut new = if is_kept { self.keep(gone) } else { gone };
            // What it has allocated serves the new row.
            new.clear();
            if style != Style::default() {
                new.erase(0, self.cols, style);
            }
            self.lines.insert(usize::from(self.bottom), new);
        }
    }

    /// Rows from `from` on move down, `count` there are new.
    pub(super) fn scroll_down(&mut self, from: u16, count: u16, style: Style) {
        let count = count.min(self.bottom + 1 - from);
        for _ in 0..count {
            self.lines.remove(usize::from(self.bottom));
            self.lines.insert(usize::from(from), blank_line(self.cols, style));
        }
    }

    /// Puts a row above the screen. Gives back one that is not needed any more.
    fn keep(&mut self, mut line: Row) -> Row {
        if self.scrollback_max == 0 {
            return line;
        }
        let is_full = self.scrollback.len() >= self.scrollback_max;
        let spare = if is_full { self.scrollback.pop_front() } else { None };
        // A few rows take turns; of thousands each keeps no more than it needs.
        if self.is_history {
            line.trim();
        }
        self.scrollback.push_back(line);
        spare.unwrap_or_default()
    }

    pub(super) fn erase_rows(&mut self, from: u16, to: u16, style: Style) {
        for row in from..to.min(self.rows) {
            let cols = self.cols;
            let line = self.line(row);
            line.erase(0, cols, style);
            line.is_wrapped = false;
        }
    }

    /// Another size. Rows are cut or go on blank; what is above the cursor leaves at the top when
    /// there is no room, and comes back when there is room and nothing stands below the cursor's row:
    /// so does xterm.js, in which people look at it. Nothing is wrapped anew: programs draw anew
    /// themselves.
    pub(super) fn resize(&mut self, cols: u16, rows: u16) {
        if cols < self.cols {
            for line in &mut self.lines {
                line.cut(cols);
                line.is_wrapped = false;
            }
        }
        while self.lines.len() > usize::from(rows) {
            let below =
                self.lines.len() - 1 - usize::from(self.cursor.row).min(self.lines.len() - 1);
            if below > 0 {
                self.lines.pop_back();
            } else {
                let gone = self.lines.pop_front().unwrap_or_default();
                self.keep(gone);
                self.cursor.row = self.cursor.row.saturating_sub(1);
                self.saved.cursor.row = self.saved.cursor.row.saturating_sub(1);
            }
        }
        let is_at_end = self.lines.len() == usize::from(self.cursor.row) + 1;
        while is_at_end && self.lines.len() < usize::from(rows) {
            let Some(mut line) = self.scrollback.pop_back() else { break };
            if line.used() > cols {
                line.cut(cols);
                line.is_wrapped = false;
            }
            self.lines.push_front(line);
            self.cursor.row += 1;
            self.saved.cursor.row += 1;
        }
        self.lines.resize_with(usize::from(rows), Row::default);
        (self.cols, self.rows) = (cols, rows);
        (self.top, self.bottom) = (0, rows - 1);
        for cursor in [&mut self.cursor, &mut self.saved.cursor] {
            cursor.row = cursor.row.min(rows - 1);
            cursor.col = cursor.col.min(cols - 1);
            cursor.is_past_end = false;
        }
    }
}

fn blank_line(cols: u16, style: Style) -> Row {
    let mut line = Row::default();
    if style != Style::default() {
        line.erase(0, cols, style);
    }
    line
}
