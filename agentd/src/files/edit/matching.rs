//! Finds an edit's old text, first exactly, then more and more forgiving.
//!
//! ```text
//! exact bytes ─► line ends aside ─► white space at line ends aside ─► all surrounding white space
//! ```
//!
//! The first way that finds anything decides; whether that is unique is the caller's question.
//! Ranges are byte offsets of the original text, whatever the way.

use std::ops::Range;

/// How an old text was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Byte for byte.
    Exact,
    /// All but the kind of line ends.
    LineEnds,
    /// All but white space at the ends of lines.
    TrailingSpace,
    /// All but white space around lines; the new text takes the file's indentation.
    SurroundingSpace,
}

/// Where an old text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matches {
    /// The way that found it.
    pub way: Way,
    /// In order; they overlap only if the text overlaps itself.
    pub ranges: Vec<Range<usize>>,
}

/// A text with its line ends flattened to `\n`, and the way back to the original's offsets.
pub(super) struct Flat {
    /// The flattened text.
    pub text: String,
    /// Offsets in `text` of those `\n` that were `\r\n`, ascending.
    widened: Vec<usize>,
    /// Lines of `text`, without their ends.
    lines: Vec<Range<usize>>,
}

impl Flat {
    /// Flattens `original`.
    pub fn of(original: &str) -> Self {
        let mut text = String::with_capacity(original.len());
        let mut widened = Vec::new();
        let mut rest = original;
        while let Some(at) = rest.find("\r\n") {
            text.push_str(&rest[..at]);
            widened.push(text.len());
            text.push('\n');
            rest = &rest[at + 2..];
        }
        text.push_str(rest);
        let mut lines = Vec::new();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', text.as_bytes()) {
            lines.push(start..end);
            start = end + 1;
        }
        if start < text.len() {
            lines.push(start..text.len());
        }
        Self { text, widened, lines }
    }

    /// The lines, without their ends.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.lines.iter().map(|range| &self.text[range.clone()])
    }

    /// The 1-based number of the line at `offset` of the original.
    pub fn line_at(&self, offset: usize) -> usize {
        self.lines.partition_point(|line| self.original(line.end) < offset) + 1
    }

    fn original(&self, offset: usize) -> usize {
        offset + self.widened.partition_point(|at| *at < offset)
    }

    fn original_range(&self, range: &Range<usize>) -> Range<usize> {
        self.original(range.start)..self.original(range.end)
    }
}

/// Finds `old` in `original`, whose flattened form is `flat`. None: nowhere, in no way.
pub(super) fn find(original: &str, flat: &Flat, old: &str) -> Option<Matches> {
    let found =
        |way, ranges: Vec<Range<usize>>| (!ranges.is_empty()).then_some(Matches { way, ranges });
    let flat_old = old.replace("\r\n", "\n");
    let to_original = |ranges: Vec<Range<usize>>| -> Vec<Range<usize>> {
        ranges.iter().map(|range| flat.original_range(range)).collect()
    };
    // In a text with `\r\n`, a bare `\n` means the whole line end; taken byte for byte it would
    // leave the carriage return behind.
    let is_bytewise = flat.widened.is_empty() || old.contains('\r');
    let exact = if is_bytewise { occurrences(original, old) } else { Vec::new() };
    found(Way::Exact, exact)
        .or_else(|| found(Way::LineEnds, to_original(occurrences(&flat.text, &flat_old))))
        .or_else(|| {
            let ranges = whole_lines(flat, &flat_old, str::trim_end);
            found(Way::TrailingSpace, to_original(ranges))
        })
        .or_else(|| {
            let ranges = whole_lines(flat, &flat_old, str::trim);
            found(Way::SurroundingSpace, to_original(ranges))
        })
}

/// Every place of `needle`, also where two of them overlap: both make it ambiguous.
fn occurrences(text: &str, needle: &str) -> Vec<Range<usize>> {
    let finder = memchr::memmem::Finder::new(needle);
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(at) = text.as_bytes().get(from..).and_then(|rest| finder.find(rest)) {
        let start = from + at;
        ranges.push(start..start + needle.len());
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
    }
    ranges
}

/// Runs of whole lines that equal those of `old` after `trim`.
fn whole_lines(flat: &Flat, old: &str, trim: fn(&str) -> &str) -> Vec<Range<usize>> {
    let wanted: Vec<&str> = old.lines().map(trim).collect();
    if wanted.iter().all(|line| line.is_empty()) || wanted.len() > flat.lines.len() {
        return Vec::new();
    }
    let has_end = old.ends_with('\n');
    let trimmed: Vec<&str> = flat.lines().map(trim).collect();
    let mut ranges = Vec::new();
    for (index, window) in trimmed.windows(wanted.len()).enumerate() {
        if window != wanted {
            continue;
        }
        let (first, last) = (&flat.lines[index], &flat.lines[index + wanted.len() - 1]);
        let end = if has_end { (last.end + 1).min(flat.text.len()) } else { last.end };
        ranges.push(first.start..end);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(original: &str, old: &str) -> Option<(Way, Vec<String>)> {
        let matches = find(original, &Flat::of(original), old)?;
        let texts = matches.ranges.iter().map(|range| original[range.clone()].to_owned());
        Some((matches.way, texts.collect()))
    }

    #[test]
    fn each_way_is_tried_only_when_the_stricter_one_finds_nothing() {
        let text = "fn a() {\r\n\treturn 1; \r\n}\r\n";
        let cases = [
            ("return 1; \r", Way::Exact, "return 1; \r"),
            ("return 1;", Way::LineEnds, "return 1;"),
            ("{\n\treturn 1; \n}", Way::LineEnds, "{\r\n\treturn 1; \r\n}"),
            ("\treturn 1;\n}", Way::TrailingSpace, "\treturn 1; \r\n}"),
            ("    return 1;\n}\n", Way::SurroundingSpace, "\treturn 1; \r\n}\r\n"),
        ];
        for (old, way, range) in cases {
            assert_eq!(ways(text, old), Some((way, vec![range.to_owned()])), "{old:?}");
        }
        assert_eq!(ways(text, "return 2;"), None);
        assert_eq!(ways(text, "  \n \n"), None, "blank lines match nothing");
    }

    #[test]
    fn a_text_that_overlaps_itself_is_there_twice() {
        assert_eq!(ways("aaa", "aa").unwrap().1.len(), 2);
        assert_eq!(ways("ééé", "éé").unwrap().1.len(), 2);
    }

    #[test]
    fn an_old_text_that_begins_with_a_line_end_takes_the_carriage_return_along() {
        assert_eq!(ways("a\r\nb\r\n", "\nb").unwrap().1, ["\r\nb"]);
        assert_eq!(ways("a\r\nb\r\n", "a\nb").unwrap().1, ["a\r\nb"]);
    }
}
