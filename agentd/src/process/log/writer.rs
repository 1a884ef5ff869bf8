//! The one writer of a log.
//!
//! A log that is full drops its oldest segment for each new one. Its file is used again under the
//! new name: pages that are in memory are overwritten, where a new file would need new ones (three
//! times the throughput of a flood). The length of such a file says nothing about what was written
//! to it, so from then on the end of the log stands in `<id>.end`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::pipe::SpliceFlags;
use shared::protocol::process::OutputStream;

use super::marks;
use super::{LineEnd, OutputLog, Segment, encode_end};

/// Bytes that are moved from a pipe at a time: more than the nearest cache holds costs more.
const SPLICE_BYTES: usize = 256 * 1024;

/// Bytes of the end of a log that are held while the disk is full: what a view shows of an end, and
/// little enough to be told again and again.
const HELD_MAX_BYTES: usize = 32 * 1024;
/// One read in the search for a newline.
const SEARCH_BYTES: usize = 16 * 1024;

/// Appends to a log. Dropping it closes the log.
pub struct LogWriter {
    log: Arc<OutputLog>,
    /// The file that the next byte goes to: the head, or the newest segment.
    file: Option<File>,
    marks: Option<File>,
    /// Where the log ends, since a file was used again.
    end: Option<File>,
    stream: OutputStream,
    /// No more goes to the head: it is full, or what would follow in it was lost.
    head_done: bool,
    /// The last write failed.
    failed: bool,
}

/// Where the next byte goes: at `at` in the file, with room for `room` more.
struct Place {
    at: u64,
    room: u64,
}

impl LogWriter {
    /// The writer of an empty log. There must be only one.
    #[must_use]
    pub fn new(log: Arc<OutputLog>) -> Self {
        let stream = OutputStream::Stdout;
        let (file, marks, end) = (None, None, None);
        Self { log, file, marks, end, stream, head_done: false, failed: false }
    }

    /// Appends `bytes` that came from `stream`. Blocks for the page cache, never for the disk
    /// unless the kernel makes writers wait. Never fails: what cannot be written is held, and what
    /// cannot be held counts as dropped.
    pub fn append(&mut self, stream: OutputStream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.mark(stream);
        let mut rest = bytes;
        if self.write_held() {
            while !rest.is_empty() {
                match self.append_some(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) => {
                        self.note_failure(&error);
                        break;
                    }
                }
            }
        }
        if !rest.is_empty() {
            self.hold(rest);
        }
        self.publish();
    }

    /// Writes what is held; whether nothing is held any more.
    fn write_held(&mut self) -> bool {
        loop {
            let held: Vec<u8> = self.log.lock().held.iter().copied().collect();
            if held.is_empty() {
                return true;
            }
            if let Err(error) = self.append_some(&held) {
                self.note_failure(&error);
                return false;
            }
        }
    }

    fn note_failure(&mut self, error: &io::Error) {
        if !self.failed {
            tracing::warn!(process.id = %self.log.id, %error, "output cannot be written; its end is held");
        }
        self.failed = true;
    }

    /// Keeps `bytes`, which are on no disk, as the end of the log. When they are too many the log's
    /// own segments give way, oldest first; when it has none, the first of what is held is lost.
    fn hold(&mut self, bytes: &[u8]) {
        let log = Arc::clone(&self.log);
        {
            let mut state = log.lock();
            state.held.extend(bytes);
            state.total += bytes.len() as u64;
        }
        while log.lock().held.len() > HELD_MAX_BYTES {
            if !self.make_room() {
                self.push_out();
                return;
            }
            self.write_held();
        }
    }

    /// Gives up the oldest segment; whether there was one with bytes in it.
    fn make_room(&mut self) -> bool {
        let log = Arc::clone(&self.log);
        loop {
            let Some(oldest) = log.lock().segments.front().copied() else { return false };
            self.search(&[oldest]);
            let mut state = log.lock();
            state.segments.pop_front();
            state.spool_full += oldest.len;
            let is_newest = state.segments.is_empty();
            drop(state);
            if is_newest {
                self.file = None;
            }
            log.budget.remove(oldest.len);
            log.remove_file(&log.segment_path(oldest.start));
            if oldest.len > 0 {
                return true;
            }
        }
    }

    /// Loses what is held beyond its limit. There are no segments.
    fn push_out(&mut self) {
        let mut state = self.log.lock();
        let over = state.held.len().saturating_sub(HELD_MAX_BYTES);
        let start = state.disk_end();
        let lost: Vec<u8> = state.held.drain(..over).collect();
        if state.line_end == LineEnd::Beyond
            && let Some(newline) = memchr::memchr(b'\n', &lost)
        {
            state.line_end = LineEnd::At(start + newline as u64);
        }
        state.spool_full += lost.len() as u64;
        drop(state);
        // What follows does not follow on the head any more.
        self.head_done = true;
        self.file = None;
    }

    /// Appends what is in `pipe`, at most [`SPLICE_BYTES`], without a copy of its own. Gives how
    /// much; nothing at the end of the pipe. After an error nothing was taken from the pipe, except
    /// `AGAIN` read it and [`append`](Self::append) it.
    pub(in crate::process) fn splice(
        &mut self,
        stream: OutputStream,
        pipe: BorrowedFd<'_>,
    ) -> rustix::io::Result<usize> {
        let other = |_| rustix::io::Errno::IO;
        if !self.log.lock().held.is_empty() {
            return Err(rustix::io::Errno::NOSPC);
        }
        let Place { mut at, room } = self.place().map_err(other)?;
        let most = SPLICE_BYTES.min(usize::try_from(room).unwrap_or(SPLICE_BYTES));
        let file = self.file.as_ref().ok_or(rustix::io::Errno::BADF)?;
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let moved = rustix::pipe::splice(pipe, None, file, Some(&mut at), most, flags)?;
        if moved > 0 {
            self.mark(stream);
            self.advance(moved as u64);
            self.publish();
        }
        Ok(moved)
    }

    /// Writes a first part of `bytes`, at least one, to where it belongs.
    fn append_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Place { at, room } = self.place()?;
        let part = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        // After an error the file may hold a part that nobody reads.
        self.file.as_ref().ok_or(io::ErrorKind::NotFound)?.write_all_at(part, at)?;
        self.advance(part.len() as u64);
        Ok(part.len())
    }

    /// Makes the file ready that the next byte goes to.
    fn place(&mut self) -> io::Result<Place> {
        let log = Arc::clone(&self.log);
        let (head_len, newest) = {
            let state = log.lock();
            (state.head_len, state.segments.back().copied())
        };
        if !self.head_done && head_len < log.limits.head {
            if self.file.is_none() {
                self.file = Some(create(&log.head_path())?);
            }
            return Ok(Place { at: head_len, room: log.limits.head - head_len });
        }
        self.head_done = true;
        let at = match newest {
            Some(newest) if self.file.is_some() && newest.len < log.limits.segment => newest.len,
            _ => {
                self.rotate()?;
                0
            }
        };
        Ok(Place { at, room: log.limits.segment - at })
    }

    /// `written` bytes stand at the place that was given last: the first ones that were held, or,
    /// where none were, new ones.
    fn advance(&mut self, written: u64) {
        let mut state = self.log.lock();
        if state.held.is_empty() {
            state.total += written;
        } else {
            let count = state.held.len().min(usize::try_from(written).unwrap_or(usize::MAX));
            state.held.drain(..count);
        }
        match state.segments.back_mut() {
            Some(newest) if self.head_done => newest.len += written,
            _ => state.head_len += written,
        }
        let end = state.disk_end();
        drop(state);
        self.failed = false;
        self.log.budget.add(written);
        self.note_end(end);
    }

    /// Begins a segment; the oldest ones give way to it.
    fn rotate(&mut self) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        let (start, gone) = {
            let state = log.lock();
            (state.disk_end(), self.gives_way(&state.segments))
        };
        let path = log.segment_path(start);
        self.search(&gone);
        let file = match gone.first() {
            Some(oldest) if oldest.len == log.limits.segment => self.reuse(oldest.start, &path),
            _ => None,
        };
        self.file = Some(match file {
            Some(file) => file,
            None => create(&path)?,
        });
        let mut state = log.lock();
        state.segments.drain(..gone.len());
        state.segments.push_back(Segment { start, len: 0 });
        drop(state);
        log.budget.remove(gone.iter().map(|segment| segment.len).sum());
        for segment in gone {
            log.remove_file(&log.segment_path(segment.start));
        }
        Ok(())
    }

    /// The oldest of `segments` that leave when another one comes.
    fn gives_way(&self, segments: &VecDeque<Segment>) -> Vec<Segment> {
        let limits = self.log.limits;
        let mut tail: u64 = segments.iter().map(|segment| segment.len).sum();
        let mut excess = self.log.budget.excess();
        let leaves = |segment: &&Segment| {
            // The budget is everybody's: a log that flows past it keeps less of its own.
            let is_over = tail + limits.segment > limits.tail || excess > 0;
            tail -= segment.len;
            excess = excess.saturating_sub(segment.len);
            is_over
        };
        segments.iter().take_while(leaves).copied().collect()
    }

    /// Takes the file of the segment at `oldest` for the one at `path`. Its name goes first: a
    /// reader that finds the old name after it has read has read the old bytes.
    fn reuse(&mut self, oldest: u64, path: &Path) -> Option<File> {
        let old = self.log.segment_path(oldest);
        let file = OpenOptions::new().write(true).open(&old).ok()?;
        if self.end.is_none() {
            self.end = Some(create(&self.log.end_path()).ok()?);
            let end = self.log.lock().disk_end();
            self.note_end(end);
        }
        // Also none when the end cannot be noted: it has just been dropped.
        self.end.as_ref()?;
        std::fs::rename(&old, path).ok()?;
        Some(file)
    }

    fn note_end(&mut self, total: u64) {
        let Some(end) = &self.end else { return };
        let line_end = self.log.lock().line_end;
        if let Err(error) = end.write_all_at(&encode_end(total, line_end), 0) {
            tracing::warn!(process.id = %self.log.id, %error, "the end of the output is not noted");
        }
    }

    /// Looks in segments that are about to be dropped for the end of the line that goes on in them.
    /// Text has one near; only a line without end costs another read of all its bytes.
    fn search(&self, gone: &[Segment]) {
        for segment in gone {
            if self.log.lock().line_end != LineEnd::Beyond {
                return;
            }
            let found = match first_newline(&self.log.segment_path(segment.start), segment.len) {
                Ok(None) => LineEnd::Beyond,
                Ok(Some(at)) => LineEnd::At(segment.start + at),
                Err(_) => LineEnd::Unknown,
            };
            self.log.lock().line_end = found;
        }
    }

    fn mark(&mut self, stream: OutputStream) {
        if stream == self.stream {
            return;
        }
        let (offset, count) = {
            let state = self.log.lock();
            (state.total, state.marks)
        };
        if count >= marks::MARKS_MAX {
            return;
        }
        self.stream = stream;
        let mark = marks::encode(offset, stream);
        match self.write_mark(&mark, count * marks::MARK_BYTES) {
            Ok(()) => self.log.lock().marks += 1,
            // Half a mark may stand in the file, where the next one is written over it.
            Err(error) => tracing::debug!(%error, "a change of stream is not marked"),
        }
    }

    fn write_mark(&mut self, mark: &[u8], at: u64) -> io::Result<()> {
        let marks = match &mut self.marks {
            Some(marks) => marks,
            none => none.insert(create(&self.log.marks_path())?),
        };
        marks.write_all_at(mark, at)
    }

    fn publish(&self) {
        let total = self.log.lock().total;
        self.log.changed.send_replace(total);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // The last chance. What stays held is known to the daemon for as long as that lives.
        self.write_held();
        let mut state = self.log.lock();
        state.closed = true;
        let len = state.segments.back().map(|newest| newest.len);
        drop(state);
        if let (Some(file), Some(len), Some(_)) = (&self.file, len, &self.end) {
            // What an earlier segment left behind the end of the last one.
            let _ = file.set_len(len);
        }
        self.publish();
    }
}

fn first_newline(path: &Path, len: u64) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let mut bytes = [0; SEARCH_BYTES];
    let mut at = 0;
    while at < len {
        let most = SEARCH_BYTES.min(usize::try_from(len - at).unwrap_or(SEARCH_BYTES));
        let read = file.read_at(&mut bytes[..most], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(newline) = memchr::memchr(b'\n', &bytes[..read]) {
            return Ok(Some(at + newline as u64));
        }
        at += read as u64;
    }
    Ok(None)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
