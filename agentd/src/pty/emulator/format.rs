//! A screen as bytes that bring any terminal of its size into the same state.
//!
//! Everything is said: what a terminal had before does not matter. Nothing asks the terminal
//! anything, so nothing comes back as input.

use std::fmt::Write;

use super::cell::{Row, Style};
use super::grid::{Grid, Saved};
use super::screen::Screen;
use super::style;

/// Ends whatever is open, and brings switches, character sets and scrolling to what this file
/// expects. `CSI 3 J` is apart.
const CLEAN: &str = "\x18\x1b[?1049l\x1b[!p\x1b[?2026l\x1b(B\x1b)B\x1b*B\x1b+B\x0f\x1b[r\x1b[?6l\
                     \x1b[?7h\x1b[4l\x1b[20l\x1b[0m\x1b[H\x1b[2J";

/// The bytes for `screen`, with `above` as the lines over it.
pub(super) fn format<'a>(screen: &'a Screen, above: impl Iterator<Item = &'a Row>) -> Vec<u8> {
    let mut pen = Pen { out: CLEAN.to_owned(), style: Style::default() };
    let mut above = above.peekable();
    if above.peek().is_some() {
        pen.out.push_str("\x1b[3J");
    }
    pen.flowing(above, screen.main.lines(), screen.main.cols());
    pen.saved(&screen.main);
    if let Some(alternate) = &screen.alternate {
        pen.cursor(&screen.main);
        pen.out.push_str("\x1b[?1047h\x1b[0m\x1b[H\x1b[2J");
        pen.style = Style::default();
        pen.placed(alternate);
        pen.saved(alternate);
    }
    pen.state(screen);
    pen.out.into_bytes()
}

struct Pen {
    out: String,
    style: Style,
}

impl Pen {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.out.write_fmt(text);
    }

    fn look(&mut self, style: Style) {
        if self.style != style {
            self.out.push_str(&style::sequence(&style));
            self.style = style;
        }
    }

    /// The cells of one row up to the last one that is not blank. Answers how many columns.
    fn row(&mut self, row: &Row) -> u16 {
        let used = row.used();
        for col in 0..used {
            let cell = row.cell(col);
            if cell.width > 0 {
                self.look(cell.style);
                self.out.push(cell.character);
                self.out.push_str(cell.marks());
            }
        }
        self.look(Style::default());
        used
    }

    /// Rows one after the other, so that what does not fit goes up into the terminal's own
    /// scrollback, and so that a wrapped line is one line for the terminal too.
    fn flowing<'a>(
        &mut self,
        above: impl Iterator<Item = &'a Row>,
        lines: impl Iterator<Item = &'a Row>,
        cols: u16,
    ) {
        let mut before: Option<(bool, u16)> = None;
        for row in above.chain(lines) {
            if let Some((is_wrapped, used)) = before
                && !(is_wrapped && used == cols && row.used() > 0)
            {
                self.out.push_str("\r\n");
            }
            before = Some((row.is_wrapped, self.row(row)));
        }
    }

    /// Rows each at its place.
    fn placed(&mut self, grid: &Grid) {
        for (index, row) in grid.lines().enumerate() {
            if row.used() > 0 {
                self.add(format_args!("\x1b[{}H", index + 1));
                self.row(row);
            }
        }
    }

    /// Puts away the cursor as the program has put it away.
    fn saved(&mut self, grid: &Grid) {
        let Saved { cursor, style, charsets, is_origin } = grid.saved;
        if grid.saved == Saved::default() {
            // What a terminal has that was never asked to put anything away.
            self.out.push_str("\x1b[H\x1b7");
            return;
        }
        // All rows scroll by now, so the origin counts rows as they are.
        if is_origin {
            self.out.push_str("\x1b[?6h");
        }
        self.add(format_args!("\x1b[{};{}H", cursor.row + 1, cursor.col + 1));
        if cursor.is_past_end {
            self.past_end(grid, cursor.row, cursor.row);
        }
        self.look(style);
        self.charsets(charsets);
        self.out.push_str("\x1b7\x1b[?6l");
        self.charsets(super::charset::Charsets::default());
        self.look(Style::default());
    }

    fn charsets(&mut self, charsets: super::charset::Charsets) {
        for (slot, is_lines) in "()*+".chars().zip(charsets.is_lines) {
            self.add(format_args!("\x1b{slot}{}", if is_lines { '0' } else { 'B' }));
        }
        self.out.push_str(match charsets.used {
            1 => "\x0e",
            2 => "\x1bn",
            3 => "\x1bo",
            _ => "\x0f",
        });
    }

    /// The last column was written and nothing after it: only writing it again says so.
    /// `shown` is the row as the terminal counts it by now.
    fn past_end(&mut self, grid: &Grid, row: u16, shown: u16) {
        let Some(line) = grid.row(row) else { return };
        let mut col = grid.cols() - 1;
        if line.cell(col).width == 0 {
            col = col.saturating_sub(1);
        }
        let cell = line.cell(col);
        self.add(format_args!("\x1b[{};{}H", shown + 1, col + 1));
        self.look(cell.style);
        self.out.push(cell.character);
        self.out.push_str(cell.marks());
    }

    fn cursor(&mut self, grid: &Grid) {
        let cursor = grid.cursor;
        self.add(format_args!("\x1b[{};{}H", cursor.row + 1, cursor.col + 1));
    }

    /// Everything that is not content, the cursor last.
    fn state(&mut self, screen: &Screen) {
        let grid = screen.shown();
        self.out.push_str("\x1b[3g");
        for (col, _) in screen.tabs.iter().enumerate().filter(|(_, stop)| **stop) {
            self.add(format_args!("\x1b[1;{}H\x1bH", col + 1));
        }
        self.add(format_args!("\x1b[{};{}r", grid.top + 1, grid.bottom + 1));
        let modes = screen.modes();
        let mut switch = |number: u16, is_on: bool| {
            self.add(format_args!("\x1b[?{number}{}", if is_on { 'h' } else { 'l' }));
        };
        switch(1, modes.application_cursor);
        switch(5, modes.reverse_video);
        switch(12, modes.cursor_blinks);
        switch(45, modes.reverse_wrap);
        switch(2004, modes.bracketed_paste);
        switch(1004, modes.focus_events);
        switch(1007, modes.alternate_scroll);
        for mouse in [9, 1000, 1002, 1003, 1005, 1006, 1015, 1016] {
            switch(mouse, false);
        }
        for mouse in [modes.mouse, modes.mouse_encoding] {
            if mouse != 0 {
                switch(mouse, true);
            }
        }
        switch(25, modes.cursor_visible);
        self.out.push_str(if modes.application_keypad { "\x1b=" } else { "\x1b>" });
        self.add(format_args!("\x1b[{} q", modes.cursor_shape));
        self.add(format_args!("\x1b]2;{}\x1b\\", screen.title));
        // Switching the origin moves the cursor home, so before the cursor.
        self.out.push_str(if modes.origin { "\x1b[?6h" } else { "\x1b[?6l" });
        let top = if modes.origin { grid.top } else { 0 };
        let shown = grid.cursor.row.saturating_sub(top);
        self.add(format_args!("\x1b[{};{}H", shown + 1, grid.cursor.col + 1));
        if grid.cursor.is_past_end {
            self.past_end(grid, grid.cursor.row, shown);
        }
        self.charsets(screen.charsets);
        self.out.push_str(if modes.wrap { "\x1b[?7h" } else { "\x1b[?7l" });
        self.out.push_str(if modes.new_line { "\x1b[20h" } else { "\x1b[20l" });
        self.out.push_str(if modes.insert { "\x1b[4h" } else { "\x1b[4l" });
        self.out.push_str(&style::sequence(&screen.style));
    }
}
