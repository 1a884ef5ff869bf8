//! Reading: a page of lines for a model, a page of raw bytes for everybody else.
//!
//! A file is read until it ends, never by the size it claims: files of `/proc` claim none, sparse
//! files claim a terabyte. Whether it changed meanwhile is told, not hidden.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use bytes::Bytes;
use rustix::fs::Stat;
use shared::limits::{READ_LINES_MAX, READ_RAW_BYTES_MAX, WALK_BUDGET, WRITE_BYTES_MAX};
use shared::protocol::files::{BytesPage, Lines, ReadBytes, ReadLines};

use super::error::FileError;
use super::lines::PageOfLines;
use super::path::{AskedPath, file_path};
use super::root::Root;
use super::text::{SNIFF_BYTES, Sniffed, Transcoder, sniff};

/// Bytes asked of the system at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The form in which hashes of content cross the wire.
pub(super) fn hash_text(hash: blake3::Hash) -> String {
    format!("b3:{}", hash.to_hex())
}

/// Answers [`ReadLines`]. `started` is when the request came, for the time budget.
pub(super) fn read_lines(
    root: &Root,
    request: &ReadLines,
    started: Instant,
) -> Result<Lines, FileError> {
    let first = request.line.unwrap_or(1);
    let most = request.limit.unwrap_or(READ_LINES_MAX).min(READ_LINES_MAX);
    let path = root.parse(&request.path)?;
    let (file, before) = root.open_file(&path)?;
    let mut source = Source::new(&file, &path, started);
    let head = source.head()?;
    let encoding = match sniff(&head, source.ended) {
        Sniffed::Text(encoding) => encoding,
        Sniffed::Binary(guess) => {
            let size = size_of(&before, source.taken);
            return Err(FileError::Binary { path: path.shown, size, guess });
        }
    };
    let body = head[encoding.mark().len()..].chain(source);
    let mut text = Transcoder::new(body, encoding);
    let mut page = PageOfLines::new(first, most);
    let ended = fill(&mut text, &mut page, &before, &path)?;
    let total_lines = ended.then(|| page.finish());
    check_range(&page, first, most, total_lines)?;
    let (_, source) = text.into_inner().into_inner();
    let after = rustix::fs::fstat(&file).map_err(|errno| FileError::system(&path.shown, errno))?;
    Ok(Lines {
        path: file_path(path.joined().as_encoded_bytes()),
        first_line: first,
        next_line: page.full_at(),
        total_lines,
        size: if ended { source.taken } else { size_of(&after, source.taken) },
        hash: (ended && source.taken <= WRITE_BYTES_MAX as u64)
            .then(|| hash_text(source.hasher.finalize())),
        lines_cut: page.cut,
        changed_during_read: is_changed(&before, &after),
        encoding: encoding.name().to_owned(),
        line_ending: page.ends.name().to_owned(),
        lines: page.lines,
    })
}

/// Feeds the page until the text ends, or until it is full and the rest is too much to count.
fn fill(
    text: &mut impl Read,
    page: &mut PageOfLines,
    before: &Stat,
    path: &AskedPath,
) -> Result<bool, FileError> {
    let counts_all = before.st_size <= WRITE_BYTES_MAX as i64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if page.full_at().is_some() && !counts_all {
            return Ok(false);
        }
        match text.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(len) => page.feed(&chunk[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(&path.shown, &error)),
        }
    }
}

fn check_range(
    page: &PageOfLines,
    first: u64,
    most: u64,
    total: Option<u64>,
) -> Result<(), FileError> {
    let lines = total.unwrap_or_else(|| page.full_at().unwrap_or(0));
    let why = if first == 0 {
        "lines are numbered from 1".to_owned()
    } else if most == 0 {
        "a page of no lines".to_owned()
    } else if page.lines.is_empty() && first > 1 {
        format!("line {first} is beyond the end")
    } else {
        return Ok(());
    };
    Err(FileError::InvalidRange { why, lines })
}

/// Answers [`ReadBytes`]: the head of the answer and the bytes.
pub(super) fn read_bytes(
    root: &Root,
    request: &ReadBytes,
    started: Instant,
) -> Result<(BytesPage, Bytes), FileError> {
    let path = root.parse(&request.path)?;
    let (file, before) = root.open_file(&path)?;
    let limit = request.limit_bytes.min(READ_RAW_BYTES_MAX);
    let whole = (before.st_size <= WRITE_BYTES_MAX as i64)
        .then(|| whole_content(&file, &path, started))
        .transpose()?
        .flatten();
    let (page, size, hash) = match whole {
        Some(content) => {
            let size = content.len() as u64;
            let from = request.offset.min(size);
            let to = from.saturating_add(limit).min(size);
            let hash = hash_text(blake3::hash(&content));
            // Both are within the content, whose length is a `usize`.
            (Bytes::from(content).slice(from as usize..to as usize), size, Some(hash))
        }
        None => (read_page(&file, &path, request.offset, limit)?, size_of(&before, 0), None),
    };
    let after = rustix::fs::fstat(&file).map_err(|errno| FileError::system(&path.shown, errno))?;
    let head = BytesPage {
        offset: request.offset,
        len: page.len() as u64,
        size,
        hash,
        modified_at_ms: modified_at_ms(&after),
        mode: after.st_mode & 0o7777,
        changed_during_read: is_changed(&before, &after),
    };
    Ok((head, page))
}

/// The whole content; none if it is over the limit for hashing and editing (16 MiB).
pub(super) fn whole_content(
    file: &std::fs::File,
    path: &AskedPath,
    started: Instant,
) -> Result<Option<Vec<u8>>, FileError> {
    let mut source = Source::new(file, path, started);
    let mut content = Vec::new();
    let limit = WRITE_BYTES_MAX as u64 + 1;
    (&mut source)
        .take(limit)
        .read_to_end(&mut content)
        .map_err(|error| read_error(&path.shown, &error))?;
    Ok((content.len() <= WRITE_BYTES_MAX).then_some(content))
}

fn read_page(
    file: &std::fs::File,
    path: &AskedPath,
    offset: u64,
    limit: u64,
) -> Result<Bytes, FileError> {
    let mut page = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    while (page.len() as u64) < limit {
        let want = (limit - page.len() as u64).min(CHUNK_BYTES as u64) as usize;
        let at = offset.saturating_add(page.len() as u64);
        match file.read_at(&mut chunk[..want], at) {
            Ok(0) => break,
            Ok(len) => page.extend_from_slice(&chunk[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // An offset that no file can have is beyond every end.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(read_error(&path.shown, &error)),
        }
    }
    Ok(page.into())
}

/// Reads a file once, hashing and counting, within the time budget.
struct Source<'a> {
    file: &'a std::fs::File,
    shown: &'a str,
    started: Instant,
    hasher: blake3::Hasher,
    taken: u64,
    ended: bool,
}

impl<'a> Source<'a> {
    fn new(file: &'a std::fs::File, path: &'a AskedPath, started: Instant) -> Self {
        let hasher = blake3::Hasher::new();
        Self { file, shown: &path.shown, started, hasher, taken: 0, ended: false }
    }

    /// The first bytes, for a guess at what the file holds.
    fn head(&mut self) -> Result<Vec<u8>, FileError> {
        let mut head = vec![0; SNIFF_BYTES];
        let mut filled = 0;
        while filled < head.len() && !self.ended {
            filled +=
                self.read(&mut head[filled..]).map_err(|error| read_error(self.shown, &error))?;
        }
        head.truncate(filled);
        Ok(head)
    }
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.started.elapsed() > WALK_BUDGET {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let mut file = self.file;
        let len = file.read(into)?;
        self.ended |= len == 0;
        self.taken += len as u64;
        if self.taken <= WRITE_BYTES_MAX as u64 {
            self.hasher.update(&into[..len]);
        }
        Ok(len)
    }
}

fn read_error(shown: &str, error: &std::io::Error) -> FileError {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return FileError::Timeout { path: shown.to_owned(), seconds: WALK_BUDGET.as_secs() };
    }
    FileError::io(shown, error)
}

/// Whether content may have changed between two looks at the same open file.
fn is_changed(before: &Stat, after: &Stat) -> bool {
    let look = |stat: &Stat| {
        (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
    };
    look(before) != look(after)
}

/// The size a file claims, or what was read of it if that is more.
fn size_of(stat: &Stat, taken: u64) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0).max(taken)
}

/// Time of the last change of the content, in unix milliseconds.
pub(super) fn modified_at_ms(stat: &Stat) -> i64 {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    stat.st_mtime.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000)
}
