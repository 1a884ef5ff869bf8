//! The one writer of a log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use shared::protocol::process::OutputStream;

use super::marks;
use super::{OutputLog, Segment};

/// Appends to a log. Dropping it closes the log.
pub struct LogWriter {
    log: Arc<OutputLog>,
    /// The file that the next byte goes to: the head, or the newest segment.
    file: Option<File>,
    marks: Option<File>,
    stream: OutputStream,
    /// No more goes to the head: it is full, or a write to it failed.
    head_done: bool,
    failed: bool,
}

impl LogWriter {
    /// The writer of an empty log. There must be only one.
    #[must_use]
    pub fn new(log: Arc<OutputLog>) -> Self {
        let stream = OutputStream::Stdout;
        Self { log, file: None, marks: None, stream, head_done: false, failed: false }
    }

    /// Appends `bytes` that came from `stream`. Blocks for the page cache, never for the disk
    /// unless the kernel makes writers wait. Never fails: what cannot be written counts as dropped.
    pub fn append(&mut self, stream: OutputStream, bytes: &[u8]) {
        if stream != self.stream {
            self.mark(stream);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.append_some(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    self.failed = false;
                }
                Err(error) => {
                    if !self.failed {
                        tracing::warn!(process.id = %self.log.id, %error, "output is lost");
                    }
                    self.failed = true;
                    self.lose(rest.len() as u64);
                    rest = &[];
                }
            }
        }
        let total = self.log.lock().total;
        self.log.changed.send_replace(total);
    }

    /// Writes a first part of `bytes`, at least one, to where it belongs.
    fn append_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let log = Arc::clone(&self.log);
        let (head_len, segment) = {
            let state = log.lock();
            (state.head_len, state.segments.back().copied())
        };
        if !self.head_done && head_len < log.limits.head {
            let part = part(bytes, log.limits.head - head_len);
            write(&mut self.file, &log.head_path(), part)?;
            let mut state = log.lock();
            state.head_len += part.len() as u64;
            state.total += part.len() as u64;
            log.budget.add(part.len() as u64);
            return Ok(part.len());
        }
        self.head_done = true;
        let room = segment.map_or(0, |segment| log.limits.segment.saturating_sub(segment.len));
        if room == 0 {
            self.rotate()?;
            return self.append_some(bytes);
        }
        let start = segment.map_or(0, |segment| segment.start);
        let part = part(bytes, room);
        write(&mut self.file, &log.segment_path(start), part)?;
        let mut state = log.lock();
        state.total += part.len() as u64;
        if let Some(newest) = state.segments.back_mut() {
            newest.len += part.len() as u64;
        }
        log.budget.add(part.len() as u64);
        Ok(part.len())
    }

    /// Begins a segment; the oldest ones give way to it.
    fn rotate(&mut self) -> io::Result<()> {
        let log = Arc::clone(&self.log);
        let start = log.lock().total;
        let path = log.segment_path(start);
        self.file = Some(create(&path)?);
        let mut state = log.lock();
        state.segments.push_back(Segment { start, len: 0 });
        let mut tail: u64 = state.segments.iter().map(|segment| segment.len).sum();
        let mut gone = Vec::new();
        while state.segments.len() > 1 {
            // The budget is everybody's: a log that flows past it keeps less of its own.
            let over = tail + log.limits.segment > log.limits.tail || log.budget.excess() > 0;
            if !over {
                break;
            }
            let Some(oldest) = state.segments.pop_front() else { break };
            tail -= oldest.len;
            log.budget.remove(oldest.len);
            gone.push(oldest.start);
        }
        drop(state);
        for start in gone {
            log.remove_file(&log.segment_path(start));
        }
        Ok(())
    }

    /// `bytes` could not be written: they and all segments before them count as dropped.
    fn lose(&mut self, bytes: u64) {
        let log = Arc::clone(&self.log);
        let mut state = log.lock();
        state.total += bytes;
        let gone = std::mem::take(&mut state.segments);
        log.budget.remove(gone.iter().map(|segment| segment.len).sum());
        drop(state);
        self.head_done = true;
        self.file = None;
        for segment in gone {
            log.remove_file(&log.segment_path(segment.start));
        }
    }

    fn mark(&mut self, stream: OutputStream) {
        let (offset, count) = {
            let state = self.log.lock();
            (state.total, state.marks)
        };
        if count >= marks::MARKS_MAX {
            return;
        }
        self.stream = stream;
        let mark = marks::encode(offset, stream);
        match write(&mut self.marks, &self.log.marks_path(), &mark) {
            Ok(()) => self.log.lock().marks += 1,
            // Half a mark may stand in the file: no more of them, the bytes count more.
            Err(_) => self.log.lock().marks = count,
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let mut state = self.log.lock();
        state.closed = true;
        let total = state.total;
        drop(state);
        self.log.changed.send_replace(total);
    }
}

fn part(bytes: &[u8], room: u64) -> &[u8] {
    &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))]
}

/// All of `bytes` or an error; after an error the file may hold a part that nobody reads.
fn write(file: &mut Option<File>, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match file {
        Some(file) => file.write_all(bytes),
        None => file.insert(create(path)?).write_all(bytes),
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
