//! One screen of rows with its cursor: the main one or the alternate one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Row, Style};
use super::charset::Charsets;

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
    /// Rows that have left at the top; most there may be. Not written down.
    #[serde(skip)]
    scrollback: VecDeque<Row>,
    #[serde(skip)]
    scrollback_max: usize,
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
        }
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

    pub(super) fn keep_scrollback(&mut self, max: usize) {
        self.scrollback_max = max;
    }

    pub(super) const fn scrollback(&self) -> &VecDeque<Row> {
        &self.scrollback
    }

    /// Goes on with what another one has kept.
    pub(super) fn take_scrollback_of(&mut self, other: Self) {
        (self.scrollback, self.scrollback_max) = (other.scrollback, other.scrollback_max);
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
            let mut new = Row::default();
            match self.lines.remove(usize::from(from)) {
                Some(line) if is_kept && self.scrollback_max > 0 => self.keep(line),
                // What it has allocated serves the new row.
                Some(line) => {
                    new = line;
                    new.clear();
                }
                None => {}
            }
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

    fn keep(&mut self, mut line: Row) {
        if self.scrollback.len() >= self.scrollback_max {
            self.scrollback.pop_front();
        }
        line.trim();
        self.scrollback.push_back(line);
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
    /// there is no room. Nothing is wrapped anew: programs draw anew themselves.
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
                let gone = self.lines.pop_front();
                if let (Some(line), true) = (gone, self.scrollback_max > 0) {
                    self.keep(line);
                }
                self.cursor.row = self.cursor.row.saturating_sub(1);
                self.saved.cursor.row = self.saved.cursor.row.saturating_sub(1);
            }
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
