//! Bytes of a terminal → printed characters, controls and sequences. Bounded whatever comes.
//!
//! ```text
//! ground ──ESC──► escape ──[──► csi ──final byte──► ground
//!    ▲              │ └──] P X ^ _──► string ──BEL, ESC \──► ground     (BEL ends an OSC only)
//!    └──final byte──┘      CAN, SUB and ESC end whatever is open, in every state
//! ```
//!
//! A sequence is collected up to [`SEQUENCE_MAX_BYTES`]; one that is longer is read to its end and
//! means nothing. What is open is kept as it came ([`Parser::open`]), so that a viewer that attaches
//! in the middle of a sequence can be brought to the same place.

use serde::{Deserialize, Serialize};

use super::plain;

/// Longest sequence that means something, in bytes.
pub const SEQUENCE_MAX_BYTES: usize = 4 * 1024;

/// Takes what a parser finds.
pub(in crate::pty) trait Sink {
    /// One character, control characters excluded.
    fn print(&mut self, character: char);
    /// Bytes from 0x20 to 0x7e.
    fn print_ascii(&mut self, text: &[u8]);
    /// One of C0.
    fn control(&mut self, byte: u8);
    /// `ESC`, intermediates, a final byte.
    fn escape(&mut self, intermediates: &[u8], last: u8);
    /// `ESC [`, parameters and intermediates, a final byte.
    fn csi(&mut self, body: &[u8], last: u8);
    /// `ESC ]`, its text.
    fn osc(&mut self, text: &[u8]);
    /// How many of the first bytes of `text`, which is [plain](super::plain), leave no trace of their
    /// own once all of it was taken: they are passed over.
    fn traceless(&mut self, _text: &[u8]) -> usize {
        0
    }
}

/// The state between two bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::pty) struct Parser {
    state: State,
    /// Of the sequence, or of the character, that is open; as it came, cut at the limit.
    #[serde(with = "shared::wire::bytes")]
    open: Vec<u8>,
    is_too_long: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Ground,
    /// Part of a character of several bytes.
    Character,
    Escape,
    Csi,
    String,
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;

impl Parser {
    /// What has come of a sequence or of a character that is not complete.
    pub(super) fn open(&self) -> &[u8] {
        &self.open
    }

    /// Takes the next bytes.
    pub(in crate::pty) fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let mut rest = bytes;
        // How much is left behind the text that was looked through.
        let mut looked = bytes.len() + 1;
        while let Some((&byte, after)) = rest.split_first() {
            rest = match self.state {
                State::Ground if rest.len() < looked => {
                    let text = plain::length(rest);
                    looked = rest.len() - text;
                    let rest = &rest[sink.traceless(&rest[..text])..];
                    if rest.is_empty() { rest } else { self.ground(rest, sink) }
                }
                State::Ground => self.ground(rest, sink),
                State::Character => self.character(rest, sink),
                State::Escape => {
                    if self.escape(byte, sink) {
                        after
                    } else {
                        rest
                    }
                }
                State::Csi => {
                    if self.csi(byte, sink) {
                        after
                    } else {
                        rest
                    }
                }
                State::String => self.string(rest, sink),
            };
        }
    }

    /// At least one byte.
    fn ground<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let text = bytes.iter().take_while(|byte| matches!(byte, 0x20..=0x7e)).count();
        let (ascii, rest) = bytes.split_at(text);
        if !ascii.is_empty() {
            sink.print_ascii(ascii);
            return rest;
        }
        let Some((&byte, after)) = rest.split_first() else { return rest };
        match byte {
            ESC => self.begin_escape(),
            0..0x20 => sink.control(byte),
            0x7f => {}
            _ => {
                self.state = State::Character;
                return rest;
            }
        }
        after
    }

    /// Collects one character of several bytes.
    fn character<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            self.open.push(byte);
            match std::str::from_utf8(&self.open) {
                Ok(text) => {
                    let character = text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER);
                    self.open.clear();
                    self.state = State::Ground;
                    self.printed(character, sink);
                    return after;
                }
                Err(error) if error.error_len().is_none() => rest = after,
                Err(_) => {
                    // What does not go on begins anew; a byte that begins nothing is gone.
                    let is_alone = self.open.len() == 1;
                    self.open.clear();
                    self.state = State::Ground;
                    sink.print(char::REPLACEMENT_CHARACTER);
                    return if is_alone { after } else { rest };
                }
            }
        }
        rest
    }

    fn printed(&mut self, character: char, sink: &mut impl Sink) {
        // C1: the same as ESC and a letter.
        let Some(letter) = u8::try_from(u32::from(character)).ok().filter(|c| *c < 0xa0) else {
            return sink.print(character);
        };
        self.begin_escape();
        self.escape(letter - 0x40, sink);
    }

    fn begin_escape(&mut self) {
        self.open.clear();
        self.open.push(ESC);
        self.is_too_long = false;
        self.state = State::Escape;
    }

    fn end(&mut self) {
        self.open.clear();
        self.is_too_long = false;
        self.state = State::Ground;
    }

    fn collect(&mut self, bytes: &[u8]) {
        let room = SEQUENCE_MAX_BYTES.saturating_sub(self.open.len());
        self.is_too_long |= bytes.len() > room;
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// False: the byte belongs to what comes next.
    fn escape(&mut self, byte: u8, sink: &mut impl Sink) -> bool {
        match byte {
            ESC => self.begin_escape(),
            CAN | SUB => self.end(),
            0..0x20 => sink.control(byte),
            0x20..=0x2f => self.collect(&[byte]),
            b'[' if self.open.len() == 1 => {
                self.collect(&[byte]);
                self.state = State::Csi;
            }
            b']' | b'P' | b'X' | b'^' | b'_' if self.open.len() == 1 => {
                self.collect(&[byte]);
                self.state = State::String;
            }
            0x30..=0x7e => {
                if !self.is_too_long {
                    sink.escape(self.open.get(1..).unwrap_or_default(), byte);
                }
                self.end();
            }
            0x7f => {}
            _ => {
                self.end();
                return false;
            }
        }
        true
    }

    /// False: the byte belongs to what comes next.
    fn csi(&mut self, byte: u8, sink: &mut impl Sink) -> bool {
        match byte {
            ESC => self.begin_escape(),
            CAN | SUB => self.end(),
            0..0x20 => sink.control(byte),
            0x20..=0x3f => self.collect(&[byte]),
            0x40..=0x7e => {
                if !self.is_too_long {
                    sink.csi(self.open.get(2..).unwrap_or_default(), byte);
                }
                self.end();
            }
            0x7f => {}
            _ => {
                self.end();
                return false;
            }
        }
        true
    }

    fn string<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let is_osc = self.open.get(1) == Some(&b']');
        let ends = |byte: &u8| matches!(*byte, ESC | CAN | SUB) || (*byte == BEL && is_osc);
        let text = bytes.iter().position(ends).unwrap_or(bytes.len());
        let (text, rest) = bytes.split_at(text);
        self.collect(text);
        let Some((&byte, after)) = rest.split_first() else { return rest };
        if matches!(byte, BEL | ESC) && is_osc && !self.is_too_long {
            sink.osc(self.open.get(2..).unwrap_or_default());
        }
        if byte == ESC {
            self.begin_escape();
        } else {
            self.end();
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Debug, PartialEq)]
    struct Heard(Vec<String>);

    impl Sink for Heard {
        fn print(&mut self, character: char) {
            self.0.push(character.to_string());
        }

        fn print_ascii(&mut self, text: &[u8]) {
            self.0.extend(text.iter().map(|byte| char::from(*byte).to_string()));
        }

        fn control(&mut self, byte: u8) {
            self.0.push(format!("control {byte:#x}"));
        }

        fn escape(&mut self, intermediates: &[u8], last: u8) {
            self.0.push(format!("escape {}", [intermediates, &[last]].concat().escape_ascii()));
        }

        fn csi(&mut self, body: &[u8], last: u8) {
            self.0.push(format!("csi {}", [body, &[last]].concat().escape_ascii()));
        }

        fn osc(&mut self, text: &[u8]) {
            self.0.push(format!("osc {}", text.escape_ascii()));
        }
    }

    fn heard(pieces: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut heard) = (Parser::default(), Heard::default());
        for piece in pieces {
            parser.feed(piece, &mut heard);
        }
        heard.0
    }

    #[test]
    fn every_split_is_heard_alike() {
        let text =
            "a\x1b[1;31mé漢\x1b]0;t\x07\x1b(0\x1bP1$r\x1b\\\u{9b}3Cz\x1b[?25l\n\x1b]2;u\x1b\\€";
        let bytes = [text.as_bytes(), b"\xff\xe2\x82A\x1b[\x18B\x1b[1\n2m"].concat();
        let whole = heard(&[&bytes]);
        assert!(whole.contains(&"csi 12m".to_owned()), "{whole:?}");
        for at in 0..=bytes.len() {
            assert_eq!(heard(&[&bytes[..at], &bytes[at..]]), whole, "split at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(heard(&single), whole);
    }

    #[test]
    fn what_has_no_end_costs_its_limit_and_ends_at_the_next_sequence() {
        let (mut parser, mut heard) = (Parser::default(), Heard::default());
        for start in [&b"\x1b]0;"[..], b"\x1bP", b"\x1b_", b"\x1b["] {
            parser.feed(start, &mut heard);
            for _ in 0..1_000 {
                parser.feed(&[b'3'; 1_000], &mut heard);
            }
            assert!(parser.open.capacity() <= 2 * SEQUENCE_MAX_BYTES);
            parser.feed(b"\x1b[2J", &mut heard);
        }
        assert_eq!(heard.0, vec!["csi 2J"; 4], "and what is too long means nothing");
    }
}
