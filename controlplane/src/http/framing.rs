//! Strict HTTP/1.1 framing below the HTTP library.
//!
//! ```text
//! head ──blank line──► body (length | chunks) ──► head …        upgrade ──► open (no more checks)
//! ```
//!
//! The library forgives a bare line feed and a `Transfer-Encoding` beside a `Content-Length`; a proxy
//! in front may read such a request as two. This reader follows the bytes of the client and, on
//! anything ambiguous, hands the library one byte that no request has, so that the library
//! answers 400 and closes. It holds at most one head in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head longer than this is the library's to refuse with 431; it is no longer looked at here.
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// No request holds this byte in its head.
const POISON: u8 = 0;

/// Where in the client's bytes we are.
#[derive(Debug)]
enum Place {
    /// Inside a request's line and headers, kept so far.
    Head(Vec<u8>),
    /// Inside a body; so many bytes are left.
    Length(u64),
    /// In the line that begins a chunk.
    ChunkLine(Vec<u8>),
    /// Inside a chunk, its line end included; so many bytes are left.
    Chunk(u64),
    /// Inside the trailers.
    Trailers(Vec<u8>),
    /// Another protocol, or a head for the library to refuse.
    Open,
    /// Something was ambiguous; nothing of the client is read any more.
    Poisoned,
}

/// A connection whose requests are checked as they arrive.
pub struct StrictFraming<S> {
    stream: S,
    place: Place,
}

impl<S> StrictFraming<S> {
    /// Checks what `stream` reads.
    pub const fn new(stream: S) -> Self {
        Self { stream, place: Place::Head(Vec::new()) }
    }
}

impl Place {
    /// Follows `bytes`; returns how many of them are sound.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match self {
                Self::Open => return bytes.len(),
                Self::Poisoned => return at,
                Self::Length(left) | Self::Chunk(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    *left -= step as u64;
                    at += step;
                    self.leave_body();
                }
                Self::Head(_) | Self::ChunkLine(_) | Self::Trailers(_) => {
                    self.byte(bytes[at]);
                    if matches!(self, Self::Poisoned) {
                        return at;
                    }
                    at += 1;
                }
            }
        }
        at
    }

    fn leave_body(&mut self) {
        match self {
            Self::Length(0) => *self = Self::Head(Vec::new()),
            Self::Chunk(0) => *self = Self::ChunkLine(Vec::new()),
            _ => {}
        }
    }

    fn byte(&mut self, byte: u8) {
        let (Self::Head(kept) | Self::ChunkLine(kept) | Self::Trailers(kept)) = self else {
            return;
        };
        let bare_line_feed = byte == b'\n' && kept.last() != Some(&b'\r');
        let bare_return = byte != b'\n' && kept.last() == Some(&b'\r');
        kept.push(byte);
        if bare_line_feed || bare_return {
            *self = Self::Poisoned;
            return;
        }
        let next = match self {
            // Empty lines before a request are allowed; they do not begin one.
            Self::Head(kept) if kept == b"\r\n" => Some(Self::Head(Vec::new())),
            Self::Head(kept) if kept.ends_with(b"\r\n\r\n") => Some(after_head(kept)),
            Self::Head(kept) if kept.len() > HEAD_MAX_BYTES => Some(Self::Open),
            Self::ChunkLine(kept) if kept.ends_with(b"\r\n") => Some(after_chunk_line(kept)),
            Self::ChunkLine(kept) if kept.len() > 256 => Some(Self::Poisoned),
            Self::Trailers(kept) if kept == b"\r\n" || kept.ends_with(b"\r\n\r\n") => {
                Some(Self::Head(Vec::new()))
            }
            Self::Trailers(kept) if kept.len() > HEAD_MAX_BYTES => Some(Self::Poisoned),
            _ => None,
        };
        if let Some(next) = next {
            *self = next;
        }
    }
}

/// What follows a whole head.
fn after_head(head: &[u8]) -> Place {
    let (mut length, mut chunked, mut upgrade) = (None, false, false);
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Place::Poisoned;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // A space before the colon, and a line that continues the one before it.
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Place::Poisoned;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let Some(number) = number(value, 10).filter(|_| length.is_none()) else {
                return Place::Poisoned;
            };
            length = Some(number);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Place::Poisoned;
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Place::Poisoned,
        (None, true) => Place::ChunkLine(Vec::new()),
        (Some(0) | None, false) if upgrade => Place::Open,
        (Some(0) | None, false) => Place::Head(Vec::new()),
        (Some(length), false) => Place::Length(length),
    }
}

fn after_chunk_line(line: &[u8]) -> Place {
    let size = line[..line.len() - 2].split(|byte| *byte == b';').next().unwrap_or_default();
    match number(size.trim_ascii(), 16) {
        Some(0) => Place::Trailers(Vec::new()),
        // The chunk's own line end belongs to it.
        Some(size) => size.checked_add(2).map_or(Place::Poisoned, Place::Chunk),
        None => Place::Poisoned,
    }
}

/// Digits alone: no sign, no list, no underscore.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let text = std::str::from_utf8(text).ok()?;
    let sound = (1..=16).contains(&text.len()) && text.as_bytes().iter().all(is_digit);
    sound.then(|| u64::from_str_radix(text, radix).ok()).flatten()
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictFraming<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.place, Place::Poisoned) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let sound = self.place.follow(&buffer.filled()[before..]);
        if matches!(self.place, Place::Poisoned) {
            buffer.set_filled(before + sound);
            if buffer.remaining() > 0 {
                buffer.put_slice(&[POISON]);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StrictFraming<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bytes: &[u8]) -> Place {
        let mut place = Place::Head(Vec::new());
        place.follow(bytes);
        place
    }

    #[test]
    fn b17_ambiguous_requests_are_poisoned() {
        for (name, text) in [
            (
                "length and encoding",
                "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            (
                "encoding and length",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            ),
            ("two lengths", "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"),
            ("signed length", "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n"),
            ("other encoding", "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n"),
            ("bare line feed", "GET / HTTP/1.1\nHost: x\n\n"),
            ("bare carriage return", "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n"),
            ("folded line", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
            ("space before colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
            (
                "chunk size with sign",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n",
            ),
        ] {
            assert!(matches!(place(text.as_bytes()), Place::Poisoned), "{name}");
        }
    }

    #[test]
    fn sound_requests_lead_back_to_the_next_head() {
        for text in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nT: 1\r\n\r\n",
        ] {
            for _ in 0..2 {
                let twice = text.repeat(2);
                assert!(
                    matches!(place(twice.as_bytes()), Place::Head(kept) if kept.is_empty()),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn an_upgrade_opens_the_connection() {
        let text = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n\n\n\0";
        assert!(matches!(place(text.as_bytes()), Place::Open));
    }

    #[test]
    fn the_pieces_in_which_bytes_arrive_do_not_matter() {
        let text = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\nx";
        for size in 1..text.len() {
            let mut place = Place::Head(Vec::new());
            let sound: usize = text.chunks(size).map(|chunk| place.follow(chunk)).sum();
            assert!(matches!(place, Place::Poisoned));
            assert_eq!(sound, text.len() - 2, "cut before the bare line feed, pieces of {size}");
        }
    }
}
