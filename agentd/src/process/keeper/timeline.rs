//! When a terminal's output was written, and for which size: two small files beside the log.
//!
//! ```text
//! <id>.sizes    offset u64, Unix ms i64, columns u16, rows u16, 4 unused bytes     bytes from there on
//! <id>.times    offset u64, Unix ms i64                                            for recordings
//! ```
//!
//! Both are bounded. After [`SIZES_MAX`] sizes the last one gives way to the next. Times are noted at most every 10 ms; when there are
//! [`TIMES_MAX`] of them every second one is dropped and the next ones are noted half as often.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use shared::protocol::pty::PtySize;

/// Changes of size that are kept.
const SIZES_MAX: u64 = 16 * 1024;
/// Times that are kept.
const TIMES_MAX: usize = 16 * 1024;
const TIMES_EVERY_MS: i64 = 10;
const SIZE_BYTES: usize = 24;
const TIME_BYTES: usize = 16;

/// Bytes from `offset` on are for `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct SizeMark {
    pub(in crate::process) offset: u64,
    pub(in crate::process) at_ms: i64,
    pub(in crate::process) size: PtySize,
}

/// Bytes from `offset` on were written at `at_ms` or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct TimeMark {
    pub(in crate::process) offset: u64,
    pub(in crate::process) at_ms: i64,
}

/// Writes both files. What cannot be written is lost to recordings and to nothing else.
pub(super) struct Timeline {
    /// Without its ending.
    path: PathBuf,
    sizes_file: Option<File>,
    times_file: Option<File>,
    sizes: u64,
    last_size: SizeMark,
    times: usize,
    last_time_ms: i64,
    times_every_ms: i64,
}

impl Timeline {
    /// A terminal that begins with `size`. `path` is that of its log, without an ending.
    pub(super) fn new(path: PathBuf, size: PtySize, at_ms: i64) -> Self {
        let last_size = SizeMark { offset: 0, at_ms, size };
        let mut timeline = Self {
            path,
            sizes_file: None,
            times_file: None,
            sizes: 0,
            last_size,
            times: 0,
            last_time_ms: i64::MIN,
            times_every_ms: TIMES_EVERY_MS,
        };
        timeline.note(last_size);
        timeline
    }

    pub(super) const fn size(&self) -> PtySize {
        self.last_size.size
    }

    /// How many sizes are on record.
    pub(super) const fn sizes(&self) -> u64 {
        self.sizes
    }

    pub(super) fn resized(&mut self, size: PtySize, offset: u64, at_ms: i64) {
        if self.sizes >= SIZES_MAX {
            self.sizes = self.sizes.saturating_sub(1);
        }
        self.note(SizeMark { offset, at_ms, size });
    }

    fn note(&mut self, mark: SizeMark) {
        self.last_size = mark;
        let mut bytes = [0; SIZE_BYTES];
        bytes[..8].copy_from_slice(&mark.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&mark.at_ms.to_le_bytes());
        bytes[16..18].copy_from_slice(&mark.size.cols().to_le_bytes());
        bytes[18..20].copy_from_slice(&mark.size.rows().to_le_bytes());
        let at = self.sizes * SIZE_BYTES as u64;
        let written = file(&mut self.sizes_file, &self.path.with_extension("sizes"))
            .and_then(|file| file.write_all_at(&bytes, at));
        if written.is_ok() {
            self.sizes += 1;
        }
    }

    /// Output that begins at `offset` was read at `at_ms`.
    pub(super) fn wrote(&mut self, offset: u64, at_ms: i64) {
        if at_ms.saturating_sub(self.last_time_ms) < self.times_every_ms {
            return;
        }
        self.last_time_ms = at_ms;
        // What was noted stays right, whatever fails.
        if self.times >= TIMES_MAX && self.thin().is_err() {
            return;
        }
        let mut bytes = [0; TIME_BYTES];
        bytes[..8].copy_from_slice(&offset.to_le_bytes());
        bytes[8..].copy_from_slice(&at_ms.to_le_bytes());
        let at = (self.times * TIME_BYTES) as u64;
        let written = file(&mut self.times_file, &self.path.with_extension("times"))
            .and_then(|file| file.write_all_at(&bytes, at));
        if written.is_ok() {
            self.times += 1;
        }
    }

    /// Drops every second time.
    fn thin(&mut self) -> io::Result<()> {
        let path = self.path.with_extension("times");
        let all = read(&path)?;
        let kept: Vec<u8> = all.chunks_exact(TIME_BYTES).step_by(2).flatten().copied().collect();
        // Another file: a reader of the old one sees it whole.
        let new = self.path.with_extension("times-new");
        let mut file = create(&new)?;
        file.write_all(&kept)?;
        std::fs::rename(&new, &path)?;
        self.times = kept.len() / TIME_BYTES;
        self.times_file = Some(file);
        self.times_every_ms = self.times_every_ms.saturating_mul(2);
        Ok(())
    }
}

/// The first `count` sizes of the terminal whose log is at `path`; none: all.
pub(in crate::process) fn sizes(path: &Path, count: Option<u64>) -> io::Result<Vec<SizeMark>> {
    let bytes = read(&path.with_extension("sizes"))?;
    let count = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let mark = |bytes: &[u8]| {
        let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        SizeMark {
            offset: u64::from_le_bytes(eight(bytes, 0)),
            at_ms: i64::from_le_bytes(eight(bytes, 8)),
            size: PtySize::clamped(i64::from(number(16)), i64::from(number(18))),
        }
    };
    Ok(bytes.chunks_exact(SIZE_BYTES).take(count).map(mark).collect())
}

/// All times of the terminal whose log is at `path`.
pub(in crate::process) fn times(path: &Path) -> io::Result<Vec<TimeMark>> {
    let bytes = read(&path.with_extension("times"))?;
    let mark = |bytes: &[u8]| TimeMark {
        offset: u64::from_le_bytes(eight(bytes, 0)),
        at_ms: i64::from_le_bytes(eight(bytes, 8)),
    };
    Ok(bytes.chunks_exact(TIME_BYTES).map(mark).collect())
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    eight
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(SIZES_MAX * SIZE_BYTES as u64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(bytes)
}

fn file<'a>(file: &'a mut Option<File>, path: &Path) -> io::Result<&'a File> {
    if file.is_none() {
        *file = Some(create(path)?);
    }
    file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(cols: i64) -> PtySize {
        PtySize::clamped(cols, 10)
    }

    #[test]
    fn every_size_is_on_record_up_to_the_limit_and_the_last_one_always() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pty_x");
        let mut timeline = Timeline::new(path.clone(), size(80), 5);
        timeline.resized(size(40), 7, 6);
        timeline.resized(size(99), 7, 6);
        let marks = sizes(&path, Some(timeline.sizes())).unwrap();
        let read: Vec<_> = marks.iter().map(|mark| (mark.offset, mark.size.cols())).collect();
        assert_eq!(read, [(0, 80), (7, 40), (7, 99)]);
        for offset in 0..2 * SIZES_MAX {
            timeline.resized(size(i64::try_from(offset % 90).unwrap()), 10 + offset, 6);
        }
        assert_eq!(timeline.sizes(), SIZES_MAX);
        let marks = sizes(&path, None).unwrap();
        assert_eq!(marks.last().unwrap().offset, 10 + 2 * SIZES_MAX - 1, "the last is right");
    }

    #[test]
    fn times_thin_out_and_reach_from_the_first_to_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pty_x");
        let mut timeline = Timeline::new(path.clone(), size(80), 0);
        let total = 100_000_i64;
        for n in 0..total {
            timeline.wrote(u64::try_from(n).unwrap() * 3, n * 10);
        }
        let times = times(&path).unwrap();
        assert!(times.len() <= TIMES_MAX && times.len() > TIMES_MAX / 4, "{}", times.len());
        assert_eq!(times[0], TimeMark { offset: 0, at_ms: 0 });
        assert!(times.windows(2).all(|w| w[0].offset < w[1].offset && w[0].at_ms < w[1].at_ms));
        assert!(times.last().unwrap().at_ms > (total - 1_000) * 10);
    }
}
