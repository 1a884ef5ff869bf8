//! How text is stored: encoding, byte order mark, line ends. Decoding and encoding give back the
//! same bytes, so that an edit changes only what it means to change.

use std::io::Read;

/// How the characters of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8 without a mark.
    Utf8,
    /// UTF-8 behind a byte order mark.
    Utf8Bom,
    /// UTF-16 behind its mark.
    Utf16Le,
    /// UTF-16 behind its mark, high byte first.
    Utf16Be,
    /// Text in one byte per character that is not UTF-8; shown as ISO 8859-1.
    Latin1,
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// Text in this encoding.
    Text(Encoding),
    /// Not text; a guess at the type.
    Binary(&'static str),
}

/// Bytes at the start of a file that [`sniff`] wants.
pub(super) const SNIFF_BYTES: usize = 8 * 1024;

impl Encoding {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf8Bom => "utf-8-bom",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Latin1 => "iso-8859-1",
        }
    }

    /// The byte order mark.
    pub fn mark(self) -> &'static [u8] {
        match self {
            Self::Utf8 | Self::Latin1 => b"",
            Self::Utf8Bom => b"\xef\xbb\xbf",
            Self::Utf16Le => b"\xff\xfe",
            Self::Utf16Be => b"\xfe\xff",
        }
    }

    /// The text of a whole file, without its mark; none if the bytes are not of this encoding.
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        let body = bytes.strip_prefix(self.mark())?;
        match self {
            Self::Utf8 | Self::Utf8Bom => String::from_utf8(body.to_vec()).ok(),
            Self::Latin1 => Some(body.iter().map(|byte| char::from(*byte)).collect()),
            Self::Utf16Le => utf16(body, u16::from_le_bytes),
            Self::Utf16Be => utf16(body, u16::from_be_bytes),
        }
    }

    /// The bytes of a whole file, with its mark; none if a character has no form here.
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = self.mark().to_vec();
        match self {
            Self::Utf8 | Self::Utf8Bom => bytes.extend_from_slice(text.as_bytes()),
            Self::Latin1 => {
                for character in text.chars() {
                    bytes.push(u8::try_from(character).ok()?);
                }
            }
            Self::Utf16Le => bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes)),
            Self::Utf16Be => bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes)),
        }
        Some(bytes)
    }
}

/// Guesses from the first bytes. `whole` says that there are no more.
pub(super) fn sniff(head: &[u8], whole: bool) -> Sniffed {
    // The UTF-32 mark begins with the UTF-16 one, so it is asked first.
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        return Sniffed::Binary("text/plain; charset=utf-32");
    }
    for encoding in [Encoding::Utf8Bom, Encoding::Utf16Le, Encoding::Utf16Be] {
        if head.starts_with(encoding.mark()) {
            return Sniffed::Text(encoding);
        }
    }
    if let Some(guess) = known_type(head) {
        return Sniffed::Binary(guess);
    }
    if memchr::memchr(0, head).is_some() {
        return Sniffed::Binary("application/octet-stream");
    }
    match std::str::from_utf8(head) {
        Ok(_) => Sniffed::Text(Encoding::Utf8),
        // A character may be cut by the end of what was read.
        Err(error) if error.error_len().is_none() && !whole => Sniffed::Text(Encoding::Utf8),
        Err(_) if looks_like_text(head) => Sniffed::Text(Encoding::Latin1),
        Err(_) => Sniffed::Binary("application/octet-stream"),
    }
}

fn known_type(head: &[u8]) -> Option<&'static str> {
    const TYPES: &[(&[u8], &str)] = &[
        (b"\x7fELF", "application/x-elf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1f\x8b", "application/gzip"),
        (b"\x28\xb5\x2f\xfd", "application/zstd"),
        (b"\xfd7zXZ\0", "application/x-xz"),
        (b"SQLite format 3\0", "application/vnd.sqlite3"),
        (b"\0asm", "application/wasm"),
    ];
    TYPES.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name)
}

/// Few control characters: old 8-bit text rather than data.
fn looks_like_text(head: &[u8]) -> bool {
    let odd = head.iter().filter(|b| **b < 32 && !matches!(**b, b'\t' | b'\n' | b'\r' | 12 | 27));
    odd.count() * 100 <= head.len()
}

fn utf16(body: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = body.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect::<Result<_, _>>().ok()
}

/// Turns a stored text, whose mark was already taken off, into UTF-8 while it is read.
///
/// Bad sequences become U+FFFD in UTF-16; UTF-8 passes unchanged, also where it is not valid.
pub(super) struct Transcoder<R> {
    source: R,
    encoding: Encoding,
    /// Bytes of a character that was cut by the end of a read.
    carry: Vec<u8>,
    ready: Vec<u8>,
    given: usize,
}

impl<R: Read> Transcoder<R> {
    /// Reads `source`, which is stored as `encoding`.
    pub fn new(source: R, encoding: Encoding) -> Self {
        Self { source, encoding, carry: Vec::new(), ready: Vec::new(), given: 0 }
    }

    /// What is read from.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn refill(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let len = self.source.read(&mut chunk)?;
        self.given = 0;
        self.ready.clear();
        if len == 0 {
            if !std::mem::take(&mut self.carry).is_empty() {
                self.ready.extend_from_slice("\u{fffd}".as_bytes());
            }
            return Ok(!self.ready.is_empty());
        }
        let mut text = String::with_capacity(len * 2);
        if self.encoding == Encoding::Latin1 {
            text.extend(chunk[..len].iter().map(|byte| char::from(*byte)));
        } else {
            self.carry.extend_from_slice(&chunk[..len]);
            self.decode_units(&mut text);
        }
        self.ready.extend_from_slice(text.as_bytes());
        Ok(true)
    }

    fn decode_units(&mut self, text: &mut String) {
        let read: fn([u8; 2]) -> u16 = match self.encoding {
            Encoding::Utf16Be => u16::from_be_bytes,
            _ => u16::from_le_bytes,
        };
        let (pairs, _) = self.carry.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
        if units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
            units.pop();
        }
        let used = units.len() * 2;
        text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')));
        self.carry.drain(..used);
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if matches!(self.encoding, Encoding::Utf8 | Encoding::Utf8Bom) {
            return self.source.read(into);
        }
        while self.given == self.ready.len() {
            if !self.refill()? {
                return Ok(0);
            }
        }
        let len = into.len().min(self.ready.len() - self.given);
        into[..len].copy_from_slice(&self.ready[self.given..self.given + len]);
        self.given += len;
        Ok(len)
    }
}

/// Counts of the two ways a line can end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineEnds {
    /// Ends of `\n` alone.
    pub lf: u64,
    /// Ends of `\r\n`.
    pub crlf: u64,
}

impl LineEnds {
    /// Counts the line ends of a text.
    pub fn of(text: &str) -> Self {
        let mut ends = Self::default();
        for at in memchr::memchr_iter(b'\n', text.as_bytes()) {
            if at > 0 && text.as_bytes()[at - 1] == b'\r' {
                ends.crlf += 1;
            } else {
                ends.lf += 1;
            }
        }
        ends
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match (self.lf, self.crlf) {
            (0, 0) => "none",
            (_, 0) => "lf",
            (0, _) => "crlf",
            _ => "mixed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Encoding; 4] =
        [Encoding::Utf8, Encoding::Utf8Bom, Encoding::Utf16Le, Encoding::Utf16Be];

    /// Gives one byte at a time, so that every character is cut somewhere.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_being_stored_in_any_encoding(text in "\\PC*[\r\n\t]?\\PC*") {
            for encoding in ALL {
                let bytes = encoding.encode(&text).unwrap();
                prop_assert_eq!(encoding.decode(&bytes).unwrap(), text.clone());
                let mut drip = String::new();
                Transcoder::new(Drip(&bytes[encoding.mark().len()..]), encoding)
                    .read_to_string(&mut drip)
                    .unwrap();
                prop_assert_eq!(&drip, &text);
            }
        }

        #[test]
        fn any_bytes_survive_as_one_byte_text(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = Encoding::Latin1.decode(&bytes).unwrap();
            prop_assert_eq!(Encoding::Latin1.encode(&text).unwrap(), bytes);
        }
    }

    #[test]
    fn a_character_cut_by_the_end_of_the_head_is_still_utf_8() {
        assert_eq!(sniff(b"caf\xc3", false), Sniffed::Text(Encoding::Utf8));
        assert_eq!(sniff(b"caf\xc3", true), Sniffed::Text(Encoding::Latin1));
        assert_eq!(sniff(b"\xff\xfe\0\0", true), Sniffed::Binary("text/plain; charset=utf-32"));
        assert_eq!(sniff(b"a\0b", true), Sniffed::Binary("application/octet-stream"));
    }
}
