//! The output of a terminal as the lines of text that a person read there.
//!
//! Escape sequences are gone, what was overwritten in its line is gone, and so is what full-screen
//! programs drew: a line is what stood between two line feeds when the second one came. Linear in
//! the output, one line in memory.

use unicode_width::UnicodeWidthChar;

use super::emulator::{Params, Parser, Sink};

/// Columns of one line that are kept; the rest of a longer one is passed over.
const COLUMNS_MAX: usize = 64 * 1024;
/// The right half of a wide character.
const HALF: char = '\0';

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Of the first byte that was written for it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) number: u64,
    pub(super) text: String,
}

/// Cuts output into lines.
#[derive(Default)]
pub(super) struct Lines {
    parser: Parser,
    page: Page,
    offset: u64,
    number: u64,
}

#[derive(Default)]
struct Page {
    line: Vec<char>,
    column: usize,
    is_alternate: bool,
    /// Lines that were ended and not yet taken.
    ended: Vec<String>,
}

impl Lines {
    /// Takes the bytes at `offset` and gives every line that ends in them.
    pub(super) fn feed(&mut self, offset: u64, bytes: &[u8], mut each: impl FnMut(Line)) {
        let mut at = offset;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.parser.feed(part, &mut self.page);
            at += part.len() as u64;
            for text in std::mem::take(&mut self.page.ended) {
                each(Line { offset: self.offset, number: self.number, text });
                self.number += 1;
                self.offset = at;
            }
        }
    }

    /// Bytes are missing up to `to`: whatever was open is over.
    pub(super) fn gap(&mut self, to: u64, mut each: impl FnMut(Line)) {
        if let Some(line) = self.finish() {
            each(line);
        }
        self.parser = Parser::default();
        self.offset = to;
    }

    /// The last line, when something stands in it.
    pub(super) fn finish(&mut self) -> Option<Line> {
        self.page.end();
        let text = self.page.ended.pop().filter(|text| !text.is_empty());
        self.page.ended.clear();
        let line = text.map(|text| Line { offset: self.offset, number: self.number, text });
        self.number += u64::from(line.is_some());
        line
    }
}

impl Page {
    fn end(&mut self) {
        let text: String = self.line.drain(..).filter(|c| *c != HALF).collect();
        self.ended.push(text.trim_end_matches(' ').to_owned());
        self.column = 0;
    }

    /// A move to another row: what comes next belongs to another line.
    fn leave(&mut self) {
        if self.line.iter().any(|c| *c != ' ') {
            self.end();
        }
        self.column = 0;
    }

    fn put(&mut self, character: char) {
        if self.column >= COLUMNS_MAX {
            return;
        }
        if self.line.len() <= self.column {
            self.line.resize(self.column + 1, ' ');
        }
        self.line[self.column] = character;
        self.column += 1;
    }
}

impl Sink for Page {
    fn print(&mut self, character: char) {
        if self.is_alternate {
            return;
        }
        match character.width() {
            None | Some(0) => {}
            Some(1) => self.put(character),
            Some(_) => {
                self.put(character);
                self.put(HALF);
            }
        }
    }

    fn print_ascii(&mut self, text: &[u8]) {
        if !self.is_alternate {
            text.iter().for_each(|byte| self.put(char::from(*byte)));
        }
    }

    fn control(&mut self, byte: u8) {
        if self.is_alternate {
            return;
        }
        match byte {
            0x08 => self.column = self.column.saturating_sub(1),
            0x09 => self.column = (self.column / 8 + 1) * 8,
            0x0a..=0x0c => self.end(),
            0x0d => self.column = 0,
            _ => {}
        }
    }

    fn escape(&mut self, _: &[u8], last: u8) {
        if !self.is_alternate && matches!(last, b'E' | b'D' | b'M' | b'c') {
            self.leave();
        }
    }

    fn csi(&mut self, body: &[u8], last: u8) {
        let params = Params::parse(body);
        if params.private() == b'?' && matches!(last, b'h' | b'l') {
            if params.all().any(|(mode, _)| matches!(mode, 47 | 1047 | 1049)) {
                self.is_alternate = last == b'h';
                self.leave();
            }
            return;
        }
        if self.is_alternate || params.private() != 0 {
            return;
        }
        let n = usize::from(params.count(0));
        match last {
            b'C' | b'a' => self.column = (self.column + n).min(COLUMNS_MAX),
            b'D' => self.column = self.column.saturating_sub(n),
            b'G' | b'`' => self.column = n - 1,
            b'K' if params.or(0, 0) == 0 => self.line.truncate(self.column),
            b'K' => self.line.clear(),
            b'P' => {
                let from = self.column.min(self.line.len());
                let to = (from + n).min(self.line.len());
                self.line.drain(from..to);
            }
            b'@' if self.column < self.line.len() && self.line.len() + n < COLUMNS_MAX => {
                let at = self.column;
                self.line.splice(at..at, std::iter::repeat_n(' ', n));
            }
            b'A' | b'B' | b'E' | b'F' | b'H' | b'f' | b'd' => self.leave(),
            b'J' => self.leave(),
            _ => {}
        }
    }

    fn osc(&mut self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(u64, String)> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        lines.feed(0, bytes, |line| all.push(line));
        all.extend(lines.finish());
        assert!(all.iter().enumerate().all(|(n, line)| line.number == n as u64));
        all.into_iter().map(|line| (line.offset, line.text)).collect()
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        lines(bytes).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn lines_are_what_a_person_read() {
        assert_eq!(
            lines(b"one\r\n\x1b[31mtwo\x1b[0m\r\nthree"),
            [(0, "one".to_owned()), (5, "two".to_owned()), (19, "three".to_owned())]
        );
        assert_eq!(texts(b"10%\r50%\r100%\n"), ["100%"]);
        assert_eq!(texts(b"abc\x08\x08X\n"), ["aXc"]);
        assert_eq!(texts(b"wrong\r\x1b[Kright\n"), ["right"]);
        assert_eq!(texts("a漢\x08\x08b\n".as_bytes()), ["ab"]);
        assert_eq!(
            texts(b"before\r\n\x1b[?1049h\x1b[Hvim\r\n~\x1b[?1049lafter\n"),
            ["before", "after"]
        );
        assert_eq!(texts(b"\x1b]0;title\x07x\n"), ["x"]);
        assert_eq!(texts(b"\x1b[Habove\x1b[2;1Hbelow\n"), ["above", "below"]);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut lines = Lines::default();
        for n in 0..1_000_u64 {
            lines.feed(n * 1_000, &[b'x'; 1_000], |_| panic!("it has no end"));
        }
        lines.feed(0, b"\x1b[65000C\x1b[65000Cy\t\tz\x1b[60000@", |_| {});
        assert!(lines.finish().unwrap().text.len() <= COLUMNS_MAX);
    }
}
