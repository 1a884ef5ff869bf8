//! The output of one process: a log of bytes with absolute offsets, bounded, on disk.
//!
//! ```text
//! offset 0                head_len              first segment's start              total
//!   │ head: kept for ever    │ dropped: counted      │ segment │ segment │ segment… │
//!   └── <id>.head ───────────┘                       └── <id>.<start> each ─────────┘
//! ```
//!
//! Byte 0 is the first byte ever written, and an offset keeps its meaning after bytes were dropped.
//! Standard output and standard error are one log; where the stream changes there is a mark in
//! `<id>.marks`. `docs/design/014-output.md`.
//!
//! Before bytes are dropped they are searched for the first newline, so that the length of a line is
//! known that goes on where nothing is kept (`LineEnd`).
//!
//! When a write fails (a full disk) the process goes on. The log gives up its own oldest segments for
//! room; where there are none, the last bytes are *held* in memory, told to the daemon with every
//! status, and written when there is room again. What does not fit there counts as dropped and is
//! counted as lost to the full disk; the kept part has one gap, not many.

mod budget;
mod marks;
mod read;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use shared::ids::ProcessId;
use tokio::sync::watch;

pub use budget::Budget;
pub use read::Piece;
pub use writer::LogWriter;

/// What may stand beside the log of a terminal and goes with it.
const BESIDE: [&str; 5] = ["sizes", "times", "times-new", "screen", "screen-new"];
/// Share of the kept bytes that goes to the head.
const HEAD_SHARE: u64 = 8;
/// Largest head.
const HEAD_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Share of the kept bytes that goes to one segment: what is dropped at a time.
const SEGMENT_SHARE: u64 = 16;

/// One log, as readers see it. Cheap to share; the writer is apart.
pub struct OutputLog {
    dir: Arc<Path>,
    id: ProcessId,
    limits: Limits,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    budget: Arc<Budget>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    head: u64,
    segment: u64,
    tail: u64,
}

#[derive(Debug, Default)]
struct State {
    total: u64,
    head_len: u64,
    segments: VecDeque<Segment>,
    marks: u64,
    line_end: LineEnd,
    /// The last bytes of the log, which are on no disk.
    held: VecDeque<u8>,
    /// The last bytes of the log once more, as its keeper told them: who follows needs no file for them.
    fresh: Vec<u8>,
    /// Bytes that a full disk has cost.
    spool_full: u64,
    closed: bool,
}

/// What there is of a log, as its keeper tells the daemon: the daemon reads the files by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    total: u64,
    head_len: u64,
    segments: Vec<Segment>,
    marks: u64,
    #[serde(default)]
    line_end: LineEnd,
    #[serde(default, with = "shared::wire::bytes", skip_serializing_if = "Vec::is_empty")]
    held: Vec<u8>,
    #[serde(default)]
    spool_full: u64,
    closed: bool,
}

/// Where the line ends that goes on into what was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LineEnd {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// Not in what was dropped.
    Beyond,
    /// At the newline with this offset.
    At(u64),
}

/// Bytes `[start, start + len)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    start: u64,
    len: u64,
}

/// How long a log is and what of it is kept, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes ever written; the offset one past the last.
    pub total: u64,
    /// Dropped are `[from, to)`; both zero when nothing was.
    pub dropped_from: u64,
    /// See `dropped_from`.
    pub dropped_to: u64,
    /// Nothing more will come.
    pub closed: bool,
}

impl OutputLog {
    /// An empty log that keeps about `kept_bytes` in `dir`. Creates no file before the first byte.
    #[must_use]
    pub fn new(dir: Arc<Path>, id: ProcessId, kept_bytes: u64, budget: Arc<Budget>) -> Arc<Self> {
        let limits = Limits::of(kept_bytes);
        let changed = watch::Sender::new(0);
        let state = Mutex::new(State { line_end: LineEnd::Beyond, ..State::default() });
        Arc::new(Self { dir, id, limits, state, changed, budget })
    }

    /// The log that an earlier daemon left in `files`, closed.
    ///
    /// `total` is what was recorded at its end; none after a crash: then what is on disk counts.
    #[must_use]
    pub fn restored(
        dir: Arc<Path>,
        id: ProcessId,
        files: &LogFiles,
        total: Option<u64>,
        budget: Arc<Budget>,
    ) -> Arc<Self> {
        let state = State::of(files.state(total));
        budget.add(state.kept());
        let changed = watch::Sender::new(state.total);
        let limits = Limits::of(0);
        Arc::new(Self { dir, id, limits, state: Mutex::new(state), changed, budget })
    }

    /// A log whose bytes are counted in `budget` already, as [`state`](Self::state) gave it.
    #[must_use]
    pub(in crate::process) fn again(
        dir: Arc<Path>,
        id: ProcessId,
        state: LogState,
        budget: Arc<Budget>,
    ) -> Arc<Self> {
        let state = State::of(state);
        let changed = watch::Sender::new(state.total);
        Arc::new(Self { dir, id, limits: Limits::of(0), state: Mutex::new(state), changed, budget })
    }

    /// What its keeper tells of it.
    #[must_use]
    pub fn state(&self) -> LogState {
        let state = self.lock();
        LogState {
            total: state.total,
            head_len: state.head_len,
            segments: state.segments.iter().copied().collect(),
            marks: state.marks,
            line_end: state.line_end,
            held: state.held.iter().copied().collect(),
            spool_full: state.spool_full,
            closed: state.closed,
        }
    }

    /// Bytes that a full disk has cost so far.
    #[must_use]
    pub fn spool_full(&self) -> u64 {
        self.lock().spool_full
    }

    /// Takes over what its keeper told: the writer is in another process. `fresh` are its last bytes,
    /// or none of them.
    pub fn mirror(&self, told: LogState, fresh: Vec<u8>) {
        let mut state = self.lock();
        let before = state.kept();
        *state = State { fresh, ..State::of(told) };
        let total = state.total;
        let now = state.kept();
        drop(state);
        self.budget.add(now.saturating_sub(before));
        self.budget.remove(before.saturating_sub(now));
        self.changed.send_replace(total);
    }

    /// Takes over what is on disk: the writer is gone, and what it told last may be old.
    pub fn settle(&self, files: &LogFiles, total: Option<u64>) {
        self.mirror(files.state(total), Vec::new());
    }

    /// Its writer is there after all.
    pub(in crate::process) fn reopen(&self) {
        self.lock().closed = false;
    }

    /// The segment at `start` was dropped by the writer, and with it everything before.
    fn forget_through(&self, start: u64) {
        let mut state = self.lock();
        while state.segments.front().is_some_and(|first| first.start <= start) {
            let gone = state.segments.pop_front().map_or(0, |segment| segment.len);
            self.budget.remove(gone);
        }
    }

    /// Length and what is kept.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let state = self.lock();
        let (dropped_from, dropped_to) = state.dropped();
        Extent { total: state.total, dropped_from, dropped_to, closed: state.closed }
    }

    /// Wakes at every change. Look at the log after taking it, and after every wake.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Removes what is kept; all of it counts as dropped. For a log that is closed.
    pub fn discard(&self) {
        let mut state = self.lock();
        self.budget.remove(state.kept());
        for segment in std::mem::take(&mut state.segments) {
            self.remove_file(&self.segment_path(segment.start));
        }
        self.remove_file(&self.head_path());
        self.remove_file(&self.marks_path());
        for beside in BESIDE {
            self.remove_file(&self.dir.join(format!("{}.{beside}", self.id)));
        }
        self.remove_file(&self.end_path());
        (state.held, state.fresh) = (VecDeque::new(), Vec::new());
        state.head_len = 0;
        state.marks = 0;
        state.line_end = LineEnd::Unknown;
    }

    /// Bytes on disk.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.lock().kept()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head_path(&self) -> PathBuf {
        self.dir.join(format!("{}.head", self.id))
    }

    fn marks_path(&self) -> PathBuf {
        self.dir.join(format!("{}.marks", self.id))
    }

    fn end_path(&self) -> PathBuf {
        self.dir.join(format!("{}.end", self.id))
    }

    fn segment_path(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{}.{start}", self.id))
    }

    fn remove_file(&self, path: &Path) {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, path = %path.display(), "output stays on disk"),
        }
    }
}

impl LogState {
    /// Whether its last bytes are on no disk, and told here.
    pub(in crate::process) const fn is_held(&self) -> bool {
        !self.held.is_empty()
    }
}

impl Limits {
    fn of(kept: u64) -> Self {
        let head = (kept / HEAD_SHARE).min(HEAD_MAX_BYTES);
        let segment = (kept / SEGMENT_SHARE).max(1);
        Self { head, segment, tail: kept.saturating_sub(head).max(1) }
    }
}

impl State {
    fn of(told: LogState) -> Self {
        let LogState { total, head_len, segments, marks, line_end, held, spool_full, closed } =
            told;
        let (segments, held) = (segments.into(), held.into());
        let fresh = Vec::new();
        Self { total, head_len, segments, marks, line_end, held, fresh, spool_full, closed }
    }

    /// Those from `offset` on, if they are all among the fresh ones.
    fn fresh_from(&self, offset: u64) -> Option<&[u8]> {
        let begin = self.total.checked_sub(self.fresh.len() as u64)?;
        self.fresh.get(usize::try_from(offset.checked_sub(begin)?).ok()?..)
    }

    /// Where what is on disk ends.
    fn disk_end(&self) -> u64 {
        self.total - self.held.len() as u64
    }

    fn kept(&self) -> u64 {
        self.head_len + self.segments.iter().map(|segment| segment.len).sum::<u64>()
    }

    fn dropped(&self) -> (u64, u64) {
        let to = self.segments.front().map_or(self.disk_end(), |first| first.start);
        if to > self.head_len { (self.head_len, to) } else { (0, 0) }
    }
}

/// The files of one log that were found on disk; sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    head: u64,
    marks: u64,
    /// Where the log ends, and the line that goes on in what was dropped; once a file was used again.
    end: Option<(u64, LineEnd)>,
    segments: Vec<(u64, u64)>,
}

impl LogFiles {
    /// What a log whose writer is gone consists of.
    fn state(&self, total: Option<u64>) -> LogState {
        let mut segments: Vec<Segment> =
            self.segments.iter().map(|&(start, len)| Segment { start, len }).collect();
        segments.sort_by_key(|segment| segment.start);
        let mut line_end = LineEnd::Unknown;
        if let Some((end, noted)) = self.end {
            line_end = noted;
            // A file that was used again may be longer than what was written to it.
            let mut next = end;
            for segment in segments.iter_mut().rev() {
                segment.len = segment.len.min(next.saturating_sub(segment.start));
                next = segment.start;
            }
        }
        let on_disk = segments.last().map_or(self.head, |last| last.start + last.len);
        let on_disk = on_disk.max(self.end.map_or(0, |(end, _)| end));
        let total = total.map_or(on_disk, |total| total.max(on_disk));
        if total > on_disk {
            // Its last bytes were held in memory and are gone: there may be one gap, up to the end.
            segments.clear();
        }
        LogState {
            line_end,
            total,
            held: Vec::new(),
            spool_full: 0,
            head_len: self.head,
            segments,
            marks: self.marks / marks::MARK_BYTES,
            closed: true,
        }
    }

    /// The files of one log in `dir`.
    pub fn of(dir: &Path, id: ProcessId) -> io::Result<Self> {
        Ok(Self::scan(dir)?.remove(&id).unwrap_or_default())
    }

    /// Everything in `dir`, by process. Unknown names are left alone.
    pub fn scan(dir: &Path) -> io::Result<std::collections::HashMap<ProcessId, Self>> {
        let mut found = std::collections::HashMap::<ProcessId, Self>::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((id, kind)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(id) = id.parse::<ProcessId>() else { continue };
            let len = match entry.metadata() {
                Ok(meta) => meta.len(),
                // Its writer is alive and has dropped it, or given it another name, meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let files = found.entry(id).or_default();
            match (kind, kind.parse::<u64>()) {
                ("head", _) => files.head = len,
                ("marks", _) => files.marks = len,
                ("end", _) => files.end = read_end(&entry.path()),
                (_, Ok(start)) => files.segments.push((start, len)),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// What stands in `<id>.end`: where the log ends, and where the line does, each in eight bytes.
fn encode_end(total: u64, line_end: LineEnd) -> [u8; 16] {
    let line_end = match line_end {
        LineEnd::Unknown => 0,
        LineEnd::Beyond => 1,
        LineEnd::At(offset) => offset.saturating_add(2),
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&total.to_le_bytes());
    bytes[8..].copy_from_slice(&line_end.to_le_bytes());
    bytes
}

fn read_end(path: &Path) -> Option<(u64, LineEnd)> {
    let bytes = std::fs::read(path).ok()?;
    let (total, line_end) = bytes.split_first_chunk::<8>()?;
    let line_end = match u64::from_le_bytes(line_end.try_into().ok()?) {
        0 => LineEnd::Unknown,
        1 => LineEnd::Beyond,
        offset => LineEnd::At(offset - 2),
    };
    Some((u64::from_le_bytes(*total), line_end))
}

#[cfg(test)]
mod tests;
