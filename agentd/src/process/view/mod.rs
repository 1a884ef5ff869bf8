//! Output as text for a model: windows of a log, cut at line and character borders.
//!
//! What a text does not show is said in it, with its exact size and place. Invariant of every
//! window but `grep`: the bytes shown and the bytes omitted are together exactly the bytes from the
//! window's start to `next_offset`.

mod grep;
mod text;

use std::io;

use shared::limits::{
    MODEL_OUTPUT_HEAD_BYTES, MODEL_OUTPUT_LINE_BYTES, MODEL_OUTPUT_TAIL_BYTES, PATTERN_MAX_BYTES,
};
use shared::protocol::process::OutputWindow;
use shared::protocol::{ErrorCode, WireError};

use self::text::TextBuilder;
use super::log::{OutputLog, Piece};

/// Largest window, in bytes; a text must fit into one message.
const WINDOW_MAX_BYTES: u64 = 64 * 1024;
/// Smallest `From` window: at least one whole character must fit.
const WINDOW_MIN_BYTES: u64 = 4;

/// A window as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Valid UTF-8.
    pub text: String,
    /// Bytes up to `next_offset` that the text does not show.
    pub omitted_bytes: u64,
    /// Where to go on.
    pub next_offset: u64,
    /// Lines that were cut for their length.
    pub lines_cut: u32,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A number outside its range.
    #[error("{field} is {value}; it may be {min} to {max}")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// As asked.
        value: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// Not a regular expression.
    #[error("the pattern is not valid: {0}")]
    InvalidPattern(String),
    /// A pattern over its limit.
    #[error("the pattern has {bytes} bytes, the limit is {PATTERN_MAX_BYTES}")]
    PatternTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The log cannot be read.
    #[error("the output cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl From<ViewError> for WireError {
    fn from(error: ViewError) -> Self {
        let code = match &error {
            ViewError::OutOfRange { .. } => ErrorCode::OutOfRange,
            ViewError::InvalidPattern(_) => ErrorCode::InvalidPattern,
            ViewError::PatternTooLong { .. } => ErrorCode::PatternTooLong,
            ViewError::Io(_) => ErrorCode::IoFailed,
        };
        let wire = Self::refused(code, error.to_string());
        match error {
            ViewError::OutOfRange { field, min, max, .. } => {
                wire.with("field", field).with("min", min).with("max", max)
            }
            _ => wire,
        }
    }
}

/// Renders `window`. `is_final`: nothing more will be written. Blocks.
pub fn render(
    log: &OutputLog,
    window: &OutputWindow,
    is_final: bool,
) -> Result<Rendered, ViewError> {
    match window {
        OutputWindow::HeadTail { head_bytes, tail_bytes } => {
            let head = head_bytes.map_or(MODEL_OUTPUT_HEAD_BYTES as u64, u64::from);
            let tail = tail_bytes.map_or(MODEL_OUTPUT_TAIL_BYTES as u64, u64::from);
            head_tail(log, head.min(WINDOW_MAX_BYTES), tail.min(WINDOW_MAX_BYTES), is_final)
        }
        OutputWindow::From { offset, limit_bytes } => {
            let limit = u64::from(*limit_bytes).clamp(WINDOW_MIN_BYTES, WINDOW_MAX_BYTES);
            from(log, *offset, limit, is_final)
        }
        OutputWindow::TailLines { lines } => {
            check_range("lines", u64::from(*lines), 1, 2_000)?;
            tail_lines(log, *lines, is_final)
        }
        OutputWindow::Grep { pattern, context, limit } => {
            check_range("context", u64::from(*context), 0, 20)?;
            check_range("limit", u64::from(*limit), 1, 1_000)?;
            grep::grep(log, pattern, *context as usize, *limit as usize)
        }
    }
}

fn check_range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ViewError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ViewError::OutOfRange { field, value, min, max })
    }
}

fn head_tail(log: &OutputLog, head: u64, tail: u64, is_final: bool) -> Result<Rendered, ViewError> {
    let total = log.extent().total;
    if total <= head + tail {
        return Ok(compose(log, log.read_range(0, total)?, 0, total, is_final)?);
    }
    let mut pieces = log.read_range(0, head)?;
    end_at_line(&mut pieces);
    let head_end = pieces.last().map_or(0, end_of);
    let mut after = log.read_range(total - tail, total)?;
    start_at_line(&mut after);
    let tail_start = after.first().map_or(total, start_of);
    pieces.push(Piece::Gap { from: head_end, to: tail_start });
    pieces.extend(after);
    Ok(compose(log, pieces, 0, total, is_final)?)
}

fn from(log: &OutputLog, offset: u64, limit: u64, is_final: bool) -> Result<Rendered, ViewError> {
    let total = log.extent().total;
    let start = offset.min(total);
    let end = start.saturating_add(limit).min(total);
    let mut pieces = log.read_range(start, end)?;
    // A dropped range costs no room: it is told whole, and the window goes on behind it.
    if let Some(Piece::Gap { .. }) = pieces.first() {
        let gap_end = match log.read(start, 1)? {
            Some(Piece::Gap { to, .. }) => to,
            _ => end,
        };
        let behind = log.read_range(gap_end, gap_end.saturating_add(limit).min(total))?;
        pieces = vec![Piece::Gap { from: start, to: gap_end }];
        pieces.extend(behind);
    }
    let end = pieces.last().map_or(start, end_of);
    if end < total {
        end_at_line(&mut pieces);
    }
    let end = pieces.last().map_or(start, end_of);
    Ok(compose(log, pieces, start, end, is_final && end == total)?)
}

fn tail_lines(log: &OutputLog, lines: u32, is_final: bool) -> Result<Rendered, ViewError> {
    let total = log.extent().total;
    let window_start = total.saturating_sub(WINDOW_MAX_BYTES);
    let mut pieces = log.read_range(window_start, total)?;
    // Only what is behind the last gap: lines before it are not the last ones.
    if let Some(last_gap) = pieces.iter().rposition(|piece| matches!(piece, Piece::Gap { .. })) {
        pieces.drain(..=last_gap);
    }
    let mut start = pieces.first().map_or(total, start_of);
    if let Some(Piece::Bytes { offset, bytes }) = pieces.first_mut() {
        // The newline that ends the last line begins no other.
        let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let nth = memchr::memrchr_iter(b'\n', body).nth(lines as usize - 1);
        let cut = match nth {
            Some(newline) => newline + 1,
            None if start > 0 => line_start(bytes),
            None => 0,
        };
        bytes.drain(..cut);
        *offset += cut as u64;
        start = *offset;
    }
    if start > 0 {
        pieces.insert(0, Piece::Gap { from: 0, to: start });
    }
    Ok(compose(log, pieces, 0, total, is_final)?)
}

/// Text of `pieces`, which cover `[start, end)` without holes.
fn compose(
    log: &OutputLog,
    mut pieces: Vec<Piece>,
    start: u64,
    end: u64,
    is_final: bool,
) -> io::Result<Rendered> {
    let mut next_offset = end;
    if !is_final && let Some(Piece::Bytes { offset, bytes }) = pieces.last_mut() {
        // The rest of this character is still to come.
        bytes.truncate(bytes.len() - incomplete_suffix(bytes));
        next_offset = *offset + bytes.len() as u64;
    }
    let mut builder = TextBuilder::new();
    let mut at = start;
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Gap { .. } => {}
            Piece::Bytes { offset, bytes } => {
                let skip = if *offset > at { continuation_prefix(bytes) } else { 0 };
                if *offset > at {
                    gap(log, &mut builder, at, *offset + skip as u64)?;
                }
                let before_gap = matches!(pieces.get(index + 1), Some(Piece::Gap { .. }));
                let cut = if before_gap { incomplete_suffix(bytes) } else { 0 };
                let shown = &bytes[skip..(bytes.len() - cut).max(skip)];
                builder.bytes(shown);
                at = *offset + (skip + shown.len()) as u64;
            }
        }
    }
    if at < next_offset {
        gap(log, &mut builder, at, next_offset)?;
    }
    Ok(builder.finish(next_offset))
}

/// Tells that `[from, to)` is not shown, and how long the line is that goes on there.
fn gap(log: &OutputLog, builder: &mut TextBuilder, from: u64, to: u64) -> io::Result<()> {
    if builder.is_cut()
        && let Some(end) = log.line_end(from)?
    {
        builder.line_goes_on(end - from);
    }
    builder.gap(from, to);
    Ok(())
}

fn start_of(piece: &Piece) -> u64 {
    match piece {
        Piece::Bytes { offset, .. } => *offset,
        Piece::Gap { from, .. } => *from,
    }
}

fn end_of(piece: &Piece) -> u64 {
    match piece {
        Piece::Bytes { offset, bytes } => offset + bytes.len() as u64,
        Piece::Gap { to, .. } => *to,
    }
}

/// Shortens the last run to end with a whole line, or with a whole character in a long line.
fn end_at_line(pieces: &mut Vec<Piece>) {
    let Some(Piece::Bytes { bytes, .. }) = pieces.last_mut() else { return };
    let search_from = bytes.len().saturating_sub(MODEL_OUTPUT_LINE_BYTES);
    let newline = memchr::memrchr(b'\n', &bytes[search_from..]);
    let end = match newline {
        Some(newline) => search_from + newline + 1,
        None => bytes.len() - incomplete_suffix(bytes),
    };
    bytes.truncate(end);
    if bytes.is_empty() {
        pieces.pop();
    }
}

/// Shortens the first run to begin with a whole line, or with a whole character in a long line.
fn start_at_line(pieces: &mut Vec<Piece>) {
    let Some(Piece::Bytes { offset, bytes }) = pieces.first_mut() else { return };
    let start = line_start(bytes);
    bytes.drain(..start);
    *offset += start as u64;
    if bytes.is_empty() {
        pieces.remove(0);
    }
}

/// Where the first whole line of `bytes` begins, or its first whole character in a long line.
fn line_start(bytes: &[u8]) -> usize {
    let search = &bytes[..bytes.len().min(MODEL_OUTPUT_LINE_BYTES)];
    match memchr::memchr(b'\n', search) {
        Some(newline) if newline + 1 < bytes.len() => newline + 1,
        _ => continuation_prefix(bytes),
    }
}

/// Bytes at the end that are the beginning of a character, 0 to 3.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let needed = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if needed > back { back } else { 0 };
    }
    0
}

/// Bytes at the start that are the rest of a character, 0 to 3.
fn continuation_prefix(bytes: &[u8]) -> usize {
    bytes.iter().take(3).take_while(|byte| (0x80..=0xBF).contains(*byte)).count()
}

#[cfg(test)]
mod tests;
