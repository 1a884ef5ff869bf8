//! Floods of plain text: what has scrolled away without a trace need not be drawn.
//!
//! Plain are printable ASCII, line feeds, carriage returns and tabs: a text of these only writes rows
//! and moves the cursor to the next one. Once so many line feeds follow that every row which was there
//! has left the screen and what is kept above it, nothing of what came before them is left but the last
//! character. The result is the same, to the cell; a flood costs a tenth.

use super::grid::Grid;
use super::screen::Screen;

/// Bytes that are looked at together.
const WORD: usize = size_of::<u64>();
const LOW: u64 = u64::from_ne_bytes([0x01; WORD]);
const HIGH: u64 = u64::from_ne_bytes([0x80; WORD]);

/// How many bytes at the beginning of `bytes` are plain.
pub(super) fn length(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<WORD>();
    let mut at = 0;
    for word in words {
        let is_printable = is_printable(u64::from_ne_bytes(*word));
        if !is_printable && !word.iter().all(is_plain) {
            break;
        }
        at += WORD;
    }
    at + bytes[at..].iter().take_while(|byte| is_plain(byte)).count()
}

/// Whether each byte is one of 0x20 to 0x7e.
const fn is_printable(word: u64) -> bool {
    let below_space = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
    let delete = word ^ (LOW * 0x7f);
    let is_delete = delete.wrapping_sub(LOW) & !delete & HIGH;
    (word & HIGH) | below_space | is_delete == 0
}

const fn is_plain(byte: &u8) -> bool {
    matches!(byte, 0x20..=0x7e | b'\n' | b'\r' | b'\t')
}

impl Grid {
    /// Line feeds after which no row is left that is there now, neither on the screen nor above it;
    /// none where only a part of the screen scrolls.
    fn feeds_to_nothing(&self) -> Option<usize> {
        let is_whole = self.top == 0 && self.bottom + 1 == self.rows();
        // Down to the last row, then each row up to the first one, then what is kept above it.
        is_whole.then(|| 2 * usize::from(self.rows()) + self.kept_above())
    }
}

impl Screen {
    /// See [`Sink::traceless`](super::Sink::traceless).
    pub(super) fn pass_over(&mut self, text: &[u8]) -> usize {
        if self.single_shift.is_some() || self.charsets.has_lines() {
            return 0;
        }
        let Some(feeds) = self.shown().feeds_to_nothing() else { return 0 };
        // Fewer bytes cannot hold as many.
        if text.len() <= feeds {
            return 0;
        }
        let Some(feed) = memchr::memrchr_iter(b'\n', text).nth(feeds) else { return 0 };
        // From a carriage return on, the column is known.
        let Some(begin) = memchr::memrchr(b'\r', &text[..feed]) else { return 0 };
        let printed = text[..begin].iter().rev().find(|byte| matches!(byte, 0x20..=0x7e));
        if let Some(last) = printed {
            self.printed(char::from(*last));
        }
        begin
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::protocol::pty::PtySize;

    use super::*;
    use crate::pty::emulator::Emulator;

    /// Byte by byte nothing is passed over.
    fn slowly(emulator: &mut Emulator, bytes: &[u8]) {
        bytes.iter().for_each(|byte| emulator.feed(&[*byte]));
    }

    #[test]
    fn plain_ends_where_the_first_other_byte_stands() {
        for other in (0..=u8::MAX).filter(|byte| !is_plain(byte)) {
            for at in 0..38 {
                let mut bytes = b"some \tplain text\r\nof two lines, ~ long".to_vec();
                bytes[at] = other;
                assert_eq!(length(&bytes), at, "{other:#x} at {at}");
            }
        }
        let plain: Vec<u8> = (0..=u8::MAX).filter(is_plain).collect();
        assert_eq!(length(&plain), plain.len());
    }

    #[test]
    fn a_flood_is_passed_over_and_its_end_is_not() {
        let flood: String = (0..2_000).map(|n| format!("line {n} of many\r\n")).collect();
        let mut screen = Screen::new(80, 24);
        let passed = screen.pass_over(flood.as_bytes());
        assert!(passed > flood.len() * 9 / 10, "{passed} of {}", flood.len());
        let mut part = Screen::new(80, 24);
        (part.grid().top, part.grid().bottom) = (1, 23);
        assert_eq!(part.pass_over(flood.as_bytes()), 0, "the first row stays");
    }

    fn setup() -> impl Strategy<Value = Vec<u8>> {
        let pieces: [&[u8]; 14] = [
            b"\x1b[?1049h",
            b"\x1b[2;3r",
            b"\x1b[r",
            b"\x1b[?7l",
            b"\x1b[4h",
            b"\x1b[44m",
            b"\x1b(0",
            b"\x1bN",
            b"\x1b[20h",
            b"\x1b[2;2H",
            b"\x1b[?6h",
            b"abcdefgh",
            "\u{6f22}e\u{301}".as_bytes(),
            b"\r\n\n",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..8)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        /// However long the text is and whatever stood there before: as if each byte had been drawn.
        #[test]
        fn what_is_passed_over_leaves_no_trace(
            setup in setup(),
            lines in proptest::collection::vec("[a-z \t]{0,12}(\r\n|\n|\r|\r\r\n)", 0..160),
            end in "[a-z]{0,9}",
            rest in proptest::sample::select(vec![&b""[..], b"\x1b[3b", b"\x1b[99;1H\x1b[2Ax"]),
            size in (1_i64..9, 1_i64..6),
            grown in (1_i64..9, 1_i64..99),
        ) {
            let bytes = [&setup[..], lines.concat().as_bytes(), end.as_bytes(), rest].concat();
            let new = || Emulator::new(PtySize::clamped(size.0, size.1));
            let (mut whole, mut single) = (new(), new());
            whole.feed(&bytes);
            slowly(&mut single, &bytes);
            prop_assert!(whole == single);
            // What came back from above is the same as well.
            let grown = PtySize::clamped(grown.0, grown.1);
            whole.resize(grown);
            single.resize(grown);
            prop_assert!(whole == single);
        }
    }
}
