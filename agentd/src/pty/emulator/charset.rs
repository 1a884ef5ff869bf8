//! Character sets: ASCII, and the lines and corners of the VT100.

use serde::{Deserialize, Serialize};

/// The four sets and which of them is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Charsets {
    /// Whether each of G0 to G3 is the set of lines.
    pub(super) is_lines: [bool; 4],
    /// Which of them is used: 0 to 3.
    pub(super) used: u8,
}

/// From 0x5f to 0x7e.
const LINES: [char; 32] = [
    ' ', '◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺', '⎻', '─',
    '⎼', '⎽', '├', '┤', '┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·',
];

impl Charsets {
    /// `ESC (`, `ESC )`, `ESC *`, `ESC +` and a final byte.
    pub(super) fn designate(&mut self, intermediate: u8, last: u8) {
        let slot = match intermediate {
            b'(' => 0,
            b')' | b'-' => 1,
            b'*' | b'.' => 2,
            b'+' | b'/' => 3,
            _ => return,
        };
        self.is_lines[slot] = last == b'0';
    }

    pub(super) fn has_lines(self) -> bool {
        self.is_lines.get(usize::from(self.used)).copied().unwrap_or(false)
    }

    /// What is shown for a byte of ASCII.
    pub(super) fn shown(self, byte: u8) -> char {
        let at = byte.checked_sub(0x5f).map(usize::from).filter(|_| self.has_lines());
        at.and_then(|at| LINES.get(at)).copied().unwrap_or(char::from(byte))
    }
}
