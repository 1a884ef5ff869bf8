//! Reading a log by offset, while it is written and while parts of it are dropped.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use shared::protocol::process::OutputStream;

use super::{LineEnd, OutputLog, marks};

/// One read in the search for the end of a line.
const LINE_READ_BYTES: usize = 256 * 1024;

/// A run of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes from `offset` on; at least one.
    Bytes {
        /// Of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Dropped: `[from, to)`.
    Gap {
        /// First one.
        from: u64,
        /// One past the last.
        to: u64,
    },
}

/// Where `[offset, …)` is.
enum Place {
    Head { room: u64 },
    Segment { start: u64, room: u64 },
    Dropped { to: u64 },
    Memory { bytes: Vec<u8> },
    End,
}

impl OutputLog {
    /// The run that begins at `offset`, at most `max` bytes; none at the end. Blocks.
    ///
    /// A run never crosses a file or a gap: ask again for what follows.
    pub fn read(&self, offset: u64, max: usize) -> io::Result<Option<Piece>> {
        loop {
            let place = self.place(offset, max);
            let (path, at, room) = match place {
                Place::End => return Ok(None),
                Place::Dropped { to } => return Ok(Some(Piece::Gap { from: offset, to })),
                Place::Memory { bytes } => return Ok(Some(Piece::Bytes { offset, bytes })),
                Place::Head { room } => (self.head_path(), offset, room),
                Place::Segment { start, room } => (self.segment_path(start), offset - start, room),
            };
            let len = max.min(usize::try_from(room).unwrap_or(usize::MAX));
            match read_at(&path, at, len) {
                Ok(bytes) => return Ok(Some(Piece::Bytes { offset, bytes })),
                // It was dropped in between. Its keeper may not have told yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => match place {
                    Place::Segment { start, .. } => self.forget_through(start),
                    _ if matches!(self.place(offset, max), Place::Dropped { .. }) => {}
                    _ => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Every run of `[from, to)`, in order, without holes: what is not bytes is a gap. Blocks.
    pub fn read_range(&self, from: u64, to: u64) -> io::Result<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = from;
        while at < to {
            let max = usize::try_from(to - at).unwrap_or(usize::MAX);
            let Some(piece) = self.read(at, max)? else { break };
            match (piece, pieces.last_mut()) {
                (Piece::Bytes { bytes, .. }, Some(Piece::Bytes { bytes: before, .. })) => {
                    at += bytes.len() as u64;
                    before.extend_from_slice(&bytes);
                }
                (Piece::Bytes { offset, bytes }, _) => {
                    at += bytes.len() as u64;
                    pieces.push(Piece::Bytes { offset, bytes });
                }
                (Piece::Gap { from, to: end }, _) => {
                    at = end.min(to);
                    pieces.push(Piece::Gap { from, to: at });
                }
            }
        }
        Ok(pieces)
    }

    /// The offset of the first newline at `offset` or behind it; the end of the log when there is none
    /// yet, and none when it was dropped and nobody knows. Reads up to there: blocks.
    pub fn line_end(&self, mut offset: u64) -> io::Result<Option<u64>> {
        loop {
            match self.read(offset, LINE_READ_BYTES)? {
                None => return Ok(Some(offset)),
                Some(Piece::Bytes { bytes, .. }) => match memchr::memchr(b'\n', &bytes) {
                    Some(newline) => return Ok(Some(offset + newline as u64)),
                    None => offset += bytes.len() as u64,
                },
                Some(Piece::Gap { to, .. }) => match self.lock().line_end {
                    LineEnd::At(newline) if newline >= offset => return Ok(Some(newline)),
                    LineEnd::Beyond => offset = to,
                    _ => return Ok(None),
                },
            }
        }
    }

    /// The stream that wrote the byte at `offset`, and how many bytes from there on it wrote at
    /// most up to `len`. Blocks for a few small reads.
    pub fn stream_at(&self, offset: u64, len: u64) -> (OutputStream, u64) {
        let count = self.lock().marks;
        if count == 0 {
            return (OutputStream::Stdout, len);
        }
        let found = File::open(self.marks_path())
            .and_then(|file| marks::stream_at(&file, count, offset))
            // Without its marks the output is still right.
            .unwrap_or((OutputStream::Stdout, None));
        (found.0, found.1.map_or(len, |next| len.min(next - offset)))
    }

    fn place(&self, offset: u64, max: usize) -> Place {
        let state = self.lock();
        if offset >= state.total {
            return Place::End;
        }
        if let Some(fresh) = state.fresh_from(offset) {
            return Place::Memory { bytes: fresh[..max.min(fresh.len())].to_vec() };
        }
        if let Some(skip) = offset.checked_sub(state.disk_end()) {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            return Place::Memory {
                bytes: state.held.iter().skip(skip).take(max).copied().collect(),
            };
        }
        if offset < state.head_len {
            return Place::Head { room: state.head_len - offset };
        }
        // The newest segment that begins at or before the offset.
        let index = state.segments.partition_point(|segment| segment.start <= offset);
        let found = index.checked_sub(1).and_then(|index| state.segments.get(index));
        match found {
            Some(segment) if offset < segment.start + segment.len => {
                Place::Segment { start: segment.start, room: segment.start + segment.len - offset }
            }
            _ => {
                let to =
                    state.segments.get(index).map_or(state.disk_end(), |segment| segment.start);
                Place::Dropped { to }
            }
        }
    }
}

/// `len` bytes at `at`; an error when the file has lost its name meanwhile: then it may hold newer
/// bytes, see [`LogWriter`](super::LogWriter).
fn read_at(path: &Path, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    File::open(path)?.read_exact_at(&mut bytes, at)?;
    std::fs::symlink_metadata(path)?;
    Ok(bytes)
}
