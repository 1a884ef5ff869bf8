//! Searching what a terminal has shown: a regular expression over its lines, linear in the output.

use std::collections::VecDeque;

use regex::{Regex, RegexBuilder};
use shared::limits::{MODEL_OUTPUT_LINE_BYTES, PATTERN_MAX_BYTES};
use shared::protocol::pty::{PtyMatch, PtyMatches, SearchPty};
use shared::protocol::{ErrorCode, WireError};

use super::lines::{Line, Lines};
use crate::process::log::{OutputLog, Piece};

/// One read of the log.
const READ_BYTES: usize = 256 * 1024;
/// Memory that a compiled pattern may take.
const PATTERN_COMPILED_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most lines before and after a match.
const CONTEXT_MAX: u32 = 20;
/// Most matching lines in one answer.
const MATCHES_MAX: u32 = 1_000;
/// Most places in one line.
const RANGES_MAX: usize = 100;
/// All text of one answer: it is one message.
const ANSWER_MAX_BYTES: usize = 512 * 1024;

/// A search that is checked.
pub(super) struct Search {
    pattern: Regex,
    context: usize,
    limit: usize,
    before: Option<u64>,
}

impl Search {
    pub(super) fn check(request: &SearchPty) -> Result<Self, WireError> {
        let refused = |code, text: String| WireError::refused(code, text);
        if request.pattern.len() > PATTERN_MAX_BYTES {
            let text = format!(
                "the pattern has {} bytes, the limit is {PATTERN_MAX_BYTES}",
                request.pattern.len()
            );
            return Err(refused(ErrorCode::PatternTooLong, text));
        }
        super::check_range("context", u64::from(request.context), 0, u64::from(CONTEXT_MAX))?;
        super::check_range("limit", u64::from(request.limit), 1, u64::from(MATCHES_MAX))?;
        let pattern = RegexBuilder::new(&request.pattern)
            .case_insensitive(request.ignore_case)
            .size_limit(PATTERN_COMPILED_MAX_BYTES)
            .build()
            .map_err(|error| refused(ErrorCode::InvalidPattern, error.to_string()))?;
        let (context, limit) = (request.context as usize, request.limit as usize);
        Ok(Self { pattern, context, limit, before: request.before })
    }

    /// Searches everything that is kept. Blocks.
    pub(super) fn run(&self, log: &OutputLog) -> std::io::Result<PtyMatches> {
        let extent = log.extent();
        let mut found = Found::new(self);
        let mut lines = Lines::default();
        let mut at = 0;
        while at < extent.total {
            let room = usize::try_from(extent.total - at).unwrap_or(READ_BYTES);
            match log.read(at, READ_BYTES.min(room))? {
                None => break,
                Some(Piece::Gap { to, .. }) => {
                    lines.gap(to, |line| found.line(line));
                    at = to;
                }
                Some(Piece::Bytes { bytes, .. }) => {
                    lines.feed(at, &bytes, |line| found.line(line));
                    at += bytes.len() as u64;
                }
            }
        }
        if let Some(line) = lines.finish() {
            found.line(line);
        }
        Ok(PtyMatches {
            matches: found.matches.into(),
            total: found.total,
            dropped_bytes: extent.dropped_to - extent.dropped_from,
            searched_to: at,
        })
    }
}

struct Found<'a> {
    search: &'a Search,
    /// The last lines, for what stands before a match.
    recent: VecDeque<String>,
    matches: VecDeque<PtyMatch>,
    bytes: usize,
    total: u64,
}

impl<'a> Found<'a> {
    const fn new(search: &'a Search) -> Self {
        Self { search, recent: VecDeque::new(), matches: VecDeque::new(), bytes: 0, total: 0 }
    }

    fn line(&mut self, line: Line) {
        let context = self.search.context;
        let shown = cut(&line.text);
        for found in self.matches.iter_mut().rev().take(context) {
            let distance = usize::try_from(line.number - found.line).unwrap_or(usize::MAX);
            if found.after.len() < context && distance <= context {
                self.bytes += shown.len();
                found.after.push(shown.to_owned());
            }
        }
        if self.search.pattern.is_match(&line.text) {
            self.total += 1;
            if self.search.before.is_none_or(|before| line.offset < before) {
                self.add(&line);
            }
        }
        if context > 0 {
            self.recent.push_back(shown.to_owned());
            if self.recent.len() > context {
                self.recent.pop_front();
            }
        }
    }

    fn add(&mut self, line: &Line) {
        let text = cut(&line.text).to_owned();
        let places = self.search.pattern.find_iter(&line.text);
        let ranges = places
            .take_while(|place| place.end() <= text.len())
            .take(RANGES_MAX)
            .filter_map(|place| {
                Some((u32::try_from(place.start()).ok()?, u32::try_from(place.end()).ok()?))
            })
            .collect();
        let before: Vec<String> = self.recent.iter().cloned().collect();
        let found = PtyMatch {
            offset: line.offset,
            line: line.number,
            text,
            ranges,
            before,
            after: Vec::new(),
        };
        self.bytes += size_of_match(&found);
        self.matches.push_back(found);
        while self.matches.len() > self.search.limit || self.bytes > ANSWER_MAX_BYTES {
            let Some(gone) = self.matches.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(size_of_match(&gone));
        }
    }
}

fn size_of_match(found: &PtyMatch) -> usize {
    let texts = found.before.iter().chain(&found.after).map(String::len).sum::<usize>();
    64 + found.text.len() + texts + found.ranges.len() * 10
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MODEL_OUTPUT_LINE_BYTES)]
}
