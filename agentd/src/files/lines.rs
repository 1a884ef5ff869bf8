//! Collects a page of lines from a stream of UTF-8 text, however long its lines are.
//!
//! Invariant: never holds more than the page's limit and one cut line, whatever is fed.

use shared::limits::{READ_BYTES_MAX, READ_LINE_BYTES_MAX};

use super::text::LineEnds;

/// The page so far. Feed it chunks, then [`finish`](Self::finish).
pub(super) struct PageOfLines {
    first: u64,
    most: u64,
    /// Lines that are complete.
    pub lines: Vec<String>,
    /// Lines of the page that were cut.
    pub cut: u32,
    /// How the lines seen so far end.
    pub ends: LineEnds,
    bytes: usize,
    /// Number of the line that is being read, 1-based.
    line: u64,
    /// Its start, as much as may be shown.
    start: Vec<u8>,
    len: u64,
    last_byte: u8,
    full_at: Option<u64>,
}

impl PageOfLines {
    /// A page of at most `most` lines, from line `first` on.
    pub fn new(first: u64, most: u64) -> Self {
        Self {
            first,
            most,
            lines: Vec::new(),
            cut: 0,
            ends: LineEnds::default(),
            bytes: 0,
            line: 1,
            start: Vec::new(),
            len: 0,
            last_byte: 0,
            full_at: None,
        }
    }

    /// The first line that is not in the page because it is full.
    pub fn full_at(&self) -> Option<u64> {
        self.full_at
    }

    /// Takes the next bytes of the text.
    pub fn feed(&mut self, mut chunk: &[u8]) {
        while let Some(at) = memchr::memchr(b'\n', chunk) {
            self.extend(&chunk[..at]);
            if self.last_byte == b'\r' {
                self.ends.crlf += 1;
                self.end_line(true);
            } else {
                self.ends.lf += 1;
                self.end_line(false);
            }
            chunk = &chunk[at + 1..];
        }
        self.extend(chunk);
    }

    /// The end of the text; answers how many lines it has.
    pub fn finish(&mut self) -> u64 {
        if self.len > 0 {
            self.end_line(false);
        }
        self.line - 1
    }

    fn extend(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.last_byte = *last;
        self.len += bytes.len() as u64;
        if self.wants_line() && self.lines.len() as u64 == self.most {
            self.full_at = Some(self.line);
        }
        if self.wants_line() {
            // One byte over the limit is kept, so that a cut can be told from a fit, and the `\r`.
            let room = (READ_LINE_BYTES_MAX + 2).saturating_sub(self.start.len());
            self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn wants_line(&self) -> bool {
        self.full_at.is_none() && self.line >= self.first
    }

    fn end_line(&mut self, carriage_return: bool) {
        if self.wants_line() {
            let whole = self.len - u64::from(carriage_return);
            let shown = usize::try_from(whole).unwrap_or(usize::MAX).min(self.start.len());
            self.take_line(shown, whole);
        }
        self.line += 1;
        self.start.clear();
        self.len = 0;
        self.last_byte = 0;
    }

    fn take_line(&mut self, shown: usize, whole: u64) {
        let mut text = String::from_utf8_lossy(&self.start[..shown]).into_owned();
        let is_cut = whole > READ_LINE_BYTES_MAX as u64;
        if is_cut {
            text.truncate(text.floor_char_boundary(READ_LINE_BYTES_MAX));
        }
        let over = self.bytes + text.len() + 1 > READ_BYTES_MAX && !self.lines.is_empty();
        if over || self.lines.len() as u64 == self.most {
            self.full_at = Some(self.line);
            return;
        }
        self.bytes += text.len() + 1;
        self.cut += u32::from(is_cut);
        self.lines.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(text: &str, first: u64, most: u64, chunk: usize) -> (Vec<String>, Option<u64>, u64) {
        let mut page = PageOfLines::new(first, most);
        text.as_bytes().chunks(chunk).for_each(|chunk| page.feed(chunk));
        let total = page.finish();
        (page.lines.clone(), page.full_at(), total)
    }

    proptest! {
        #[test]
        fn pages_put_together_are_the_lines_of_the_text(
            text in "([a-zé]{0,9}\r?\n){0,40}[a-z]{0,5}", most in 1_u64..9, chunk in 1_usize..50,
        ) {
            let expected: Vec<String> = text.lines().map(str::to_owned).collect();
            let mut all = Vec::new();
            let mut next = Some(1);
            while let Some(first) = next {
                let (lines, full_at, total) = page(&text, first, most, chunk);
                prop_assert_eq!(total, expected.len() as u64);
                all.extend(lines);
                next = full_at;
            }
            prop_assert_eq!(all, expected);
        }
    }

    #[test]
    fn a_line_of_a_megabyte_is_cut_and_the_next_one_is_whole() {
        let text = format!("{}\nnext\n", "é".repeat(500_000));
        let (lines, full_at, total) = page(&text, 1, 10, 4_096);
        assert_eq!((full_at, total), (None, 2));
        assert_eq!(lines, ["é".repeat(512), "next".to_owned()]);
    }

    #[test]
    fn a_line_that_just_fits_is_not_cut() {
        let mut page = PageOfLines::new(1, 10);
        page.feed(format!("{}\r\n", "x".repeat(1_024)).as_bytes());
        assert_eq!((page.finish(), page.cut, page.lines[0].len()), (1, 0, 1_024));
    }
}
