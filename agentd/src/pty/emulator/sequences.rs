//! What each control and each sequence does to the screen. What asks the terminal something does
//! nothing here: only the terminal of the viewer that writes answers.

use super::cell::{Cell, Style};
use super::params::Params;
use super::parser::Sink;
use super::screen::{Modes, Screen};
use super::style;

impl Sink for Screen {
    fn print(&mut self, character: char) {
        Screen::print(self, character);
    }

    fn print_ascii(&mut self, text: &[u8]) {
        let is_plain = self.modes.wrap && !self.modes.insert;
        if is_plain && self.single_shift.is_none() && !self.charsets.has_lines() {
            return self.print_run(text);
        }
        for &byte in text {
            let charsets = match self.single_shift.take() {
                Some(used) => super::charset::Charsets { used, ..self.charsets },
                None => self.charsets,
            };
            Screen::print(self, charsets.shown(byte));
        }
    }

    fn traceless(&mut self, text: &[u8]) -> usize {
        self.pass_over(text)
    }

    fn control(&mut self, byte: u8) {
        match byte {
            0x08 => self.backspace(),
            0x09 => self.tab(),
            0x0a..=0x0c => {
                self.line_feed();
                if self.modes.new_line {
                    self.carriage_return();
                }
            }
            0x0d => self.carriage_return(),
            0x0e => self.charsets.used = 1,
            0x0f => self.charsets.used = 0,
            _ => {}
        }
    }

    fn escape(&mut self, intermediates: &[u8], last: u8) {
        match (intermediates, last) {
            ([], b'7') => self.save(),
            ([], b'8') => self.restore(),
            ([], b'=') => self.modes.application_keypad = true,
            ([], b'>') => self.modes.application_keypad = false,
            ([], b'D') => self.line_feed(),
            ([], b'E') => {
                self.line_feed();
                self.carriage_return();
            }
            ([], b'H') => {
                let col = usize::from(self.shown().cursor.col);
                if let Some(stop) = self.tabs.get_mut(col) {
                    *stop = true;
                }
            }
            ([], b'M') => {
                let style = self.style.erased();
                self.grid().reverse_line_feed(style);
            }
            ([], b'N') => self.single_shift = Some(2),
            ([], b'O') => self.single_shift = Some(3),
            ([], b'n') => self.charsets.used = 2,
            ([], b'o') => self.charsets.used = 3,
            ([], b'c') => self.reset(),
            ([b'#'], b'8') => self.fill('E'),
            ([set @ (b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/')], _) => {
                self.charsets.designate(*set, last);
            }
            _ => {}
        }
    }

    fn csi(&mut self, body: &[u8], last: u8) {
        let params = Params::parse(body);
        match (params.private, params.intermediate) {
            (0, 0) => self.plain(&params, last),
            (b'?', 0) => match last {
                b'h' => params.all().for_each(|(mode, _)| self.switch(mode, true)),
                b'l' => params.all().for_each(|(mode, _)| self.switch(mode, false)),
                b'J' => self.erase_display(params.or(0, 0)),
                b'K' => self.erase_line(params.or(0, 0)),
                _ => {}
            },
            (0, b' ') if last == b'q' => {
                self.modes.cursor_shape = u8::try_from(params.or(0, 0).min(6)).unwrap_or(0);
            }
            (0, b'!') if last == b'p' => self.soft_reset(),
            _ => {}
        }
    }

    fn osc(&mut self, text: &[u8]) {
        let mut parts = text.splitn(2, |byte| *byte == b';');
        if let (Some(b"0" | b"2"), Some(title)) = (parts.next(), parts.next()) {
            self.set_title(title);
        }
    }
}

impl Screen {
    fn plain(&mut self, params: &Params, last: u8) {
        let n = params.count(0);
        match last {
            b'A' => self.move_rows(-i32::from(n)),
            b'B' | b'e' => self.move_rows(i32::from(n)),
            b'C' | b'a' => self.move_cols(i32::from(n)),
            b'D' => self.move_cols(-i32::from(n)),
            b'E' => {
                self.move_rows(i32::from(n));
                self.carriage_return();
            }
            b'F' => {
                self.move_rows(-i32::from(n));
                self.carriage_return();
            }
            b'G' | b'`' => {
                let row = self.shown().cursor.row;
                self.grid().go_to(row, n - 1);
            }
            b'H' | b'f' => self.go_to(n - 1, params.count(1) - 1),
            b'd' => {
                let col = self.shown().cursor.col;
                self.go_to(n - 1, col);
            }
            b'I' => (0..n.min(self.main.cols())).for_each(|_| self.tab()),
            b'Z' => (0..n.min(self.main.cols())).for_each(|_| self.tab_back()),
            b'J' => self.erase_display(params.or(0, 0)),
            b'K' => self.erase_line(params.or(0, 0)),
            b'@' | b'P' | b'X' => self.edit_cells(last, n),
            b'L' | b'M' => self.edit_lines(last, n),
            b'S' => {
                let style = self.style.erased();
                self.grid().scroll_up(n, style);
            }
            b'T' => {
                let style = self.style.erased();
                let grid = self.grid();
                grid.scroll_down(grid.top, n, style);
            }
            b'b' => self.repeat_last(n),
            b'g' => match params.or(0, 0) {
                0 => {
                    let col = usize::from(self.shown().cursor.col);
                    if let Some(stop) = self.tabs.get_mut(col) {
                        *stop = false;
                    }
                }
                3 => self.tabs.fill(false),
                _ => {}
            },
            b'h' | b'l' => {
                for (mode, _) in params.all() {
                    match mode {
                        4 => self.modes.insert = last == b'h',
                        20 => self.modes.new_line = last == b'h',
                        _ => {}
                    }
                }
            }
            b'm' => style::select(&mut self.style, params),
            b'r' => self.set_scrolling(params),
            b's' => self.save(),
            b'u' => self.restore(),
            b't' => match params.or(0, 0) {
                22 => self.push_title(),
                23 => self.pop_title(),
                _ => {}
            },
            _ => {}
        }
    }

    /// `CSI ? … h` and `l`.
    fn switch(&mut self, mode: u16, is_on: bool) {
        let modes = &mut self.modes;
        match mode {
            1 => modes.application_cursor = is_on,
            5 => modes.reverse_video = is_on,
            6 => {
                modes.origin = is_on;
                self.go_to(0, 0);
            }
            7 => modes.wrap = is_on,
            12 => modes.cursor_blinks = is_on,
            25 => modes.cursor_visible = is_on,
            45 => modes.reverse_wrap = is_on,
            9 | 1000 | 1002 | 1003 => modes.mouse = if is_on { mode } else { 0 },
            1004 => modes.focus_events = is_on,
            1005 | 1006 | 1015 | 1016 => modes.mouse_encoding = if is_on { mode } else { 0 },
            1007 => modes.alternate_scroll = is_on,
            47 | 1047 => {
                if is_on {
                    self.enter_alternate();
                } else {
                    self.leave_alternate();
                }
            }
            1048 => {
                if is_on {
                    self.save();
                } else {
                    self.restore();
                }
            }
            1049 => {
                if is_on {
                    self.save();
                    self.enter_alternate();
                } else {
                    self.leave_alternate();
                    self.restore();
                }
            }
            2004 => modes.bracketed_paste = is_on,
            _ => {}
        }
    }

    pub(super) fn carriage_return(&mut self) {
        let grid = self.grid();
        grid.cursor.col = 0;
        grid.cursor.is_past_end = false;
    }

    /// Stops at the borders of the part that scrolls when it begins inside of it.
    fn move_rows(&mut self, by: i32) {
        let grid = self.grid();
        let row = grid.cursor.row;
        let lowest = if row >= grid.top { grid.top } else { 0 };
        let highest = if row <= grid.bottom { grid.bottom } else { grid.rows() - 1 };
        let to = (i32::from(row) + by).clamp(i32::from(lowest), i32::from(highest));
        grid.cursor.row = u16::try_from(to).unwrap_or(row);
        grid.cursor.is_past_end = false;
    }

    fn move_cols(&mut self, by: i32) {
        let grid = self.grid();
        let to = (i32::from(grid.cursor.col) + by).clamp(0, i32::from(grid.cols() - 1));
        grid.cursor.col = u16::try_from(to).unwrap_or(0);
        grid.cursor.is_past_end = false;
    }

    fn erase_display(&mut self, what: u16) {
        let style = self.style.erased();
        let grid = self.grid();
        let (row, col, rows, cols) = (grid.cursor.row, grid.cursor.col, grid.rows(), grid.cols());
        match what {
            0 => {
                grid.current().erase(col, cols, style);
                grid.current().is_wrapped = false;
                grid.erase_rows(row + 1, rows, style);
            }
            1 => {
                grid.erase_rows(0, row, style);
                grid.current().erase(0, col + 1, style);
            }
            2 => grid.erase_rows(0, rows, style),
            3 => self.main.forget_scrollback(),
            _ => {}
        }
        self.grid().cursor.is_past_end = false;
    }

    fn erase_line(&mut self, what: u16) {
        let style = self.style.erased();
        let grid = self.grid();
        let (col, cols) = (grid.cursor.col, grid.cols());
        match what {
            0 => grid.current().erase(col, cols, style),
            1 => grid.current().erase(0, col + 1, style),
            2 => grid.current().erase(0, cols, style),
            _ => return,
        }
        if what != 1 {
            grid.current().is_wrapped = false;
        }
        grid.cursor.is_past_end = false;
    }

    fn edit_cells(&mut self, last: u8, n: u16) {
        let style = self.style.erased();
        let grid = self.grid();
        let (col, cols) = (grid.cursor.col, grid.cols());
        let line = grid.current();
        match last {
            b'@' => line.insert(col, n, cols, style),
            b'P' => line.delete(col, n, cols, style),
            _ => line.erase(col, col.saturating_add(n).min(cols), style),
        }
        grid.cursor.is_past_end = false;
    }

    fn edit_lines(&mut self, last: u8, n: u16) {
        let style = self.style.erased();
        let grid = self.grid();
        let row = grid.cursor.row;
        if !(grid.top..=grid.bottom).contains(&row) {
            return;
        }
        match last {
            b'L' => grid.scroll_down(row, n, style),
            _ => grid.remove_lines(row, n, style, false),
        }
        self.carriage_return();
    }

    fn set_scrolling(&mut self, params: &Params) {
        let rows = self.main.rows();
        let top = params.count(0) - 1;
        let bottom = match params.or(1, 0) {
            0 => rows - 1,
            bottom => bottom.min(rows) - 1,
        };
        if top < bottom {
            let grid = self.grid();
            (grid.top, grid.bottom) = (top, bottom);
            self.go_to(0, 0);
        }
    }

    fn fill(&mut self, character: char) {
        let grid = self.grid();
        let cols = grid.cols();
        for row in 0..grid.rows() {
            for col in 0..cols {
                *grid.line(row).at(col) = Cell::new(character, Style::default(), 1);
            }
        }
        (grid.top, grid.bottom) = (0, grid.rows() - 1);
        grid.go_to(0, 0);
    }

    pub(super) const fn modes(&self) -> &Modes {
        &self.modes
    }
}
