//! Lines of a log that match, with context. Linear in the output, constant in memory.

use std::collections::VecDeque;

use regex::bytes::{Regex, RegexBuilder};
use shared::limits::{MODEL_OUTPUT_LINE_BYTES, PATTERN_MAX_BYTES};

use super::text::TextBuilder;
use super::{Rendered, ViewError, WINDOW_MAX_BYTES};
use crate::process::log::{OutputLog, Piece};

/// One read of the log.
const READ_BYTES: usize = 256 * 1024;
/// Bytes of a line that are searched; the rest of a longer one is passed over.
const LINE_SEARCHED_BYTES: usize = 1024 * 1024;
/// Memory that a compiled pattern may take.
const PATTERN_COMPILED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// One line, or the searched beginning of a long one.
struct Line {
    /// From 1; none behind a gap, where nobody can know.
    number: Option<u64>,
    offset: u64,
    bytes: Vec<u8>,
    /// Without the newline.
    len: u64,
}

struct Grep {
    pattern: Regex,
    context: usize,
    limit: usize,
    before: VecDeque<Line>,
    after_left: usize,
    matches: usize,
    /// Offset one past the last line that is shown.
    shown_to: u64,
    builder: TextBuilder,
}

/// Every matching line as `number:offset: line`, lines of context with `-`.
pub(super) fn grep(
    log: &OutputLog,
    pattern: &str,
    context: usize,
    limit: usize,
) -> Result<Rendered, ViewError> {
    if pattern.len() > PATTERN_MAX_BYTES {
        return Err(ViewError::PatternTooLong { bytes: pattern.len() });
    }
    let pattern = RegexBuilder::new(pattern)
        .size_limit(PATTERN_COMPILED_MAX_BYTES)
        .build()
        .map_err(|error| ViewError::InvalidPattern(error.to_string()))?;
    let mut grep = Grep {
        pattern,
        context,
        limit,
        before: VecDeque::new(),
        after_left: 0,
        matches: 0,
        shown_to: 0,
        builder: TextBuilder::new(),
    };
    let total = log.extent().total;
    let mut lines = Lines { number: Some(1), line: None };
    let mut at = 0;
    while at < total {
        let max = READ_BYTES.min(usize::try_from(total - at).unwrap_or(READ_BYTES));
        let proceed = match log.read(at, max)? {
            None => break,
            Some(Piece::Gap { from, to }) => {
                let rest = lines.finish();
                let proceed = rest.is_none_or(|line| grep.line(line));
                lines.number = None;
                grep.before.clear();
                grep.builder.gap(from, to);
                at = to;
                proceed
            }
            Some(Piece::Bytes { bytes, .. }) => {
                let proceed = lines.push(at, &bytes, |line| grep.line(line));
                at += bytes.len() as u64;
                proceed
            }
        };
        if !proceed {
            let next_offset = grep.shown_to;
            return Ok(grep.builder.finish(next_offset));
        }
    }
    if let Some(line) = lines.finish() {
        grep.line(line);
    }
    Ok(grep.builder.finish(total))
}

/// Splits bytes into lines, in chunks of any size.
struct Lines {
    number: Option<u64>,
    line: Option<Line>,
}

impl Lines {
    /// False when `each` wants no more.
    fn push(&mut self, mut offset: u64, bytes: &[u8], mut each: impl FnMut(Line) -> bool) -> bool {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ended) = match part.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (part, false),
            };
            let number = self.number;
            let line =
                self.line.get_or_insert_with(|| Line { number, offset, bytes: Vec::new(), len: 0 });
            let room = LINE_SEARCHED_BYTES - line.bytes.len();
            line.bytes.extend_from_slice(&content[..content.len().min(room)]);
            line.len += content.len() as u64;
            offset += part.len() as u64;
            if ended
                && let Some(line) = self.finish()
                && !each(line)
            {
                return false;
            }
        }
        true
    }

    fn finish(&mut self) -> Option<Line> {
        let line = self.line.take()?;
        self.number = self.number.map(|number| number + 1);
        Some(line)
    }
}

impl Grep {
    /// Looks at one line. False when the limits are reached.
    fn line(&mut self, line: Line) -> bool {
        if self.pattern.is_match(&line.bytes) {
            if self.matches == self.limit || self.builder.len() > WINDOW_MAX_BYTES as usize {
                return false;
            }
            self.matches += 1;
            for before in std::mem::take(&mut self.before) {
                self.show(&before, '-');
            }
            self.show(&line, ':');
            self.after_left = self.context;
        } else if self.after_left > 0 {
            self.after_left -= 1;
            self.show(&line, '-');
        } else if self.context > 0 {
            if self.before.len() == self.context {
                self.before.pop_front();
            }
            let mut line = line;
            // As much as would be shown, and a byte that says that there is more.
            line.bytes.truncate(MODEL_OUTPUT_LINE_BYTES + 1);
            line.bytes.shrink_to_fit();
            self.before.push_back(line);
        }
        true
    }

    fn show(&mut self, line: &Line, mark: char) {
        let number = line.number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        self.builder.label(&format!("{number}{mark}{}{mark} ", line.offset));
        self.builder.bytes(&line.bytes);
        self.builder.line_rest(line.len - line.bytes.len() as u64);
        self.builder.bytes(b"\n");
        self.shown_to = line.offset + line.len + 1;
    }
}
