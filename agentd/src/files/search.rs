//! Lines that match a regular expression, found in parallel with ripgrep's own parts.
//!
//! The engine is linear in the text, its size is limited, and the walk has a time budget; what was
//! found by then is told and marked as cut.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use globset::GlobMatcher;
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use ignore::WalkState;
use shared::limits::{PATTERN_MAX_BYTES, READ_LINE_BYTES_MAX, SEARCH_MATCHES_MAX};
use shared::protocol::files::{FileMatches, MatchLine, SearchFiles, SearchResult};

use super::error::FileError;
use super::glob::compile_glob;
use super::ignored::{Budget, Start, asked};
use super::path::file_path;
use super::root::Root;

/// Matches answered when the request names no number.
const LIMIT_DEFAULT: usize = 100;
/// Lines of context at most.
const CONTEXT_MAX: u32 = 20;
/// Bytes a compiled expression may take, and its cache.
const REGEX_MAX_BYTES: usize = 10 * 1024 * 1024;

/// Answers [`SearchFiles`].
pub(super) fn search(
    root: &Root,
    request: &SearchFiles,
    started: Instant,
) -> Result<SearchResult, FileError> {
    let limit = request.limit.map_or(LIMIT_DEFAULT, |limit| limit as usize);
    let job = Job {
        root,
        matcher: compile(request)?,
        glob: request.glob.as_deref().map(compile_glob).transpose()?,
        context: request.context.min(CONTEXT_MAX) as usize,
        limit: limit.clamp(1, SEARCH_MATCHES_MAX) as u64,
        budget: Budget::new(started),
        files: Mutex::default(),
        matches: AtomicU64::new(0),
        searched: AtomicU64::new(0),
        truncated: AtomicBool::new(false),
    };
    let start = Start::find(root, request.path.as_ref())?;
    if start.is_directory {
        job.walk(&start);
    } else {
        let relative = start.relative(&start.absolute);
        // Asked for by name: what cannot be read is an error, not passed over.
        let (file, _) = root.open_file(&asked(relative))?;
        job.search_file(&mut job.searcher(), &file, relative);
    }
    Ok(job.result())
}

fn compile(request: &SearchFiles) -> Result<RegexMatcher, FileError> {
    let pattern = &request.pattern;
    if pattern.len() > PATTERN_MAX_BYTES {
        return Err(FileError::PatternTooLong { len: pattern.len(), limit: PATTERN_MAX_BYTES });
    }
    if pattern.is_empty() {
        return Err(FileError::InvalidPattern("it is empty".to_owned()));
    }
    RegexMatcherBuilder::new()
        .fixed_strings(request.literal)
        .case_insensitive(request.ignore_case)
        .multi_line(true)
        .line_terminator(Some(b'\n'))
        .size_limit(REGEX_MAX_BYTES)
        .dfa_size_limit(REGEX_MAX_BYTES)
        .build(pattern)
        .map_err(|error| FileError::InvalidPattern(error.to_string()))
}

/// One search, shared by the threads of its walk.
struct Job<'a> {
    root: &'a Root,
    matcher: RegexMatcher,
    glob: Option<GlobMatcher>,
    context: usize,
    limit: u64,
    budget: Budget,
    files: Mutex<Vec<(Vec<u8>, FileMatches)>>,
    matches: AtomicU64,
    searched: AtomicU64,
    truncated: AtomicBool,
}

impl Job<'_> {
    fn searcher(&self) -> Searcher {
        SearcherBuilder::new()
            .binary_detection(BinaryDetection::quit(0))
            .line_number(true)
            .before_context(self.context)
            .after_context(self.context)
            .build()
    }

    fn walk(&self, start: &Start) {
        let root = self.root.directory();
        start.walker().build_parallel().run(|| {
            let mut searcher = self.searcher();
            let root = &root;
            Box::new(move |entry| {
                if self.is_over() {
                    return WalkState::Quit;
                }
                let Ok(entry) = entry else { return WalkState::Continue };
                let relative = start.relative(entry.path());
                let wanted = entry.file_type().is_some_and(|kind| kind.is_file())
                    && self.glob.as_ref().is_none_or(|glob| glob.is_match(relative));
                if wanted && let Ok(file) = self.root.open_proposed(root, relative) {
                    self.search_file(&mut searcher, &file, relative);
                }
                WalkState::Continue
            })
        });
    }

    /// Whether enough was found or the time is up; remembers that the result is cut.
    fn is_over(&self) -> bool {
        let over = self.budget.is_over() || self.matches.load(Ordering::Relaxed) > self.limit;
        if over {
            self.truncated.store(true, Ordering::Relaxed);
        }
        over
    }

    fn search_file(&self, searcher: &mut Searcher, file: &std::fs::File, relative: &Path) {
        self.searched.fetch_add(1, Ordering::Relaxed);
        let mut found = FoundLines { job: self, lines: Vec::new() };
        // A file that cannot be read to its end still counts with what it showed.
        let _ = searcher.search_reader(&self.matcher, Budgeted { job: self, file }, &mut found);
        let lines = found.lines;
        if lines.is_empty() {
            return;
        }
        let bytes = relative.as_os_str().as_encoded_bytes();
        let entry = (bytes.to_vec(), FileMatches { path: file_path(bytes), lines });
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// In path order, cut at the limit.
    fn result(self) -> SearchResult {
        let mut files = self.files.into_inner().unwrap_or_else(PoisonError::into_inner);
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut files: Vec<FileMatches> = files.into_iter().map(|(_, file)| file).collect();
        let mut left = self.limit;
        for file in &mut files {
            let mut keep = 0;
            for line in &file.lines {
                if line.is_match && left == 0 {
                    break;
                }
                left -= u64::from(line.is_match);
                keep += 1;
            }
            file.lines.truncate(keep);
        }
        files.retain(|file| file.lines.iter().any(|line| line.is_match));
        let found = self.matches.into_inner();
        SearchResult {
            files,
            matches: found.min(self.limit),
            files_searched: self.searched.into_inner(),
            truncated: self.truncated.into_inner() || found > self.limit,
        }
    }
}

/// Reads a file until it ends or the budget does.
struct Budgeted<'a> {
    job: &'a Job<'a>,
    file: &'a std::fs::File,
}

impl Read for Budgeted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.job.budget.is_over() {
            self.job.truncated.store(true, Ordering::Relaxed);
            return Ok(0);
        }
        let mut file = self.file;
        file.read(into)
    }
}

/// Collects the lines of one file.
struct FoundLines<'a> {
    job: &'a Job<'a>,
    lines: Vec<MatchLine>,
}

impl Sink for FoundLines<'_> {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, Self::Error> {
        let bytes = found.bytes();
        let at = self.job.matcher.find(bytes).ok().flatten().map_or(0, |found| found.start());
        let text = cut_around(bytes, at);
        self.lines.push(MatchLine { line: found.line_number().unwrap_or(0), text, is_match: true });
        self.job.matches.fetch_add(1, Ordering::Relaxed);
        Ok(!self.job.is_over())
    }

    fn context(&mut self, _: &Searcher, near: &SinkContext<'_>) -> Result<bool, Self::Error> {
        let text = cut_around(near.bytes(), 0);
        self.lines.push(MatchLine { line: near.line_number().unwrap_or(0), text, is_match: false });
        Ok(true)
    }
}

/// At most 1,024 bytes of a line, with the byte `at` among them.
fn cut_around(line: &[u8], at: usize) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= READ_LINE_BYTES_MAX {
        return String::from_utf8_lossy(line).into_owned();
    }
    let from = at.min(line.len()).saturating_sub(READ_LINE_BYTES_MAX / 4);
    let from = from.min(line.len() - READ_LINE_BYTES_MAX);
    let mut text = String::from_utf8_lossy(&line[from..from + READ_LINE_BYTES_MAX]).into_owned();
    text.truncate(text.floor_char_boundary(READ_LINE_BYTES_MAX));
    text
}
