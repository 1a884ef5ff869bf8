//! Where the stream changes: one number a change, `offset · 2 + (1 for standard error)`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use shared::protocol::process::OutputStream;

pub(super) const MARK_BYTES: u64 = 8;
/// Changes that are marked. A process that alternates more often than this is told as one stream
/// from there on.
pub(super) const MARKS_MAX: u64 = 1024 * 1024;

pub(super) fn encode(offset: u64, stream: OutputStream) -> [u8; 8] {
    let bit = u64::from(stream == OutputStream::Stderr);
    (offset << 1 | bit).to_le_bytes()
}

/// The stream at `offset` and the offset of the next change; none: no change up to the end.
///
/// Before the first mark everything is standard output. Binary search, a few reads of 8 bytes.
pub(super) fn stream_at(
    file: &File,
    count: u64,
    offset: u64,
) -> io::Result<(OutputStream, Option<u64>)> {
    let mark = |index: u64| -> io::Result<(u64, OutputStream)> {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, index * MARK_BYTES)?;
        let value = u64::from_le_bytes(bytes);
        let stream = if value & 1 == 1 { OutputStream::Stderr } else { OutputStream::Stdout };
        Ok((value >> 1, stream))
    };
    // The number of marks at or before `offset`.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if mark(middle)?.0 <= offset { low = middle + 1 } else { high = middle }
    }
    let stream = if low == 0 { OutputStream::Stdout } else { mark(low - 1)?.1 };
    let next = if low < count { Some(mark(low)?.0) } else { None };
    Ok((stream, next))
}
