//! The unified diff of one edited file, bounded in time and size, and how alike two lines are.
//!
//! Lines and characters are compared as numbers, so that there is one comparison in the program: the
//! library makes one for each type, 50 KiB each.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::{DiffOp, DiffTag};
use tokio::time::Instant;

/// Longest diff of one file, in bytes.
pub(super) const DIFF_MAX_BYTES: usize = 64 * 1024;
/// After this, the rest of a large difference is shown as one block.
const TIME_MAX: Duration = Duration::from_millis(500);
/// Lines that are shown around a change.
const CONTEXT: usize = 3;

/// What changed in one file.
pub(super) struct Difference {
    /// Unified, three lines of context.
    pub text: String,
    /// Lines added.
    pub added: u64,
    /// Lines removed.
    pub removed: u64,
}

/// Compares two texts of the file `name`; the diff is cut at `limit` bytes.
pub(super) fn difference(name: &str, old: &str, new: &str, limit: usize) -> Difference {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let operations = compare(&old, &new);
    let changed = |range: fn(&DiffOp) -> Range<usize>| -> u64 {
        let changes = operations.iter().filter(|op| op.tag() != DiffTag::Equal);
        changes.map(|op| range(op).len() as u64).sum()
    };
    let (added, removed) = (changed(DiffOp::new_range), changed(DiffOp::old_range));
    let mut text = String::new();
    if added + removed > 0 {
        let _ = write!(text, "--- a/{name}\n+++ b/{name}\n");
        for hunk in similar::group_diff_ops(operations, CONTEXT) {
            write_hunk(&mut text, &hunk, &old, &new);
        }
    }
    let limit = limit.min(DIFF_MAX_BYTES);
    if text.len() > limit {
        let cut = text.len();
        text.truncate(text.floor_char_boundary(limit));
        text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
        text.push_str(&format!("… the diff has {cut} bytes and is cut here\n"));
    }
    Difference { text, added, removed }
}

/// How alike two texts are: 0 nothing in common, 1 the same.
pub(super) fn likeness(one: &str, other: &str) -> f32 {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    similar::diff_ratio(&compare(&one, &other), one.len(), other.len())
}

/// What makes `new` of `old`.
fn compare<T: Hash + Eq>(old: &[T], new: &[T]) -> Vec<DiffOp> {
    let mut known = HashMap::new();
    let mut number = |item| {
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        *known.entry(item).or_insert(next)
    };
    let old: Vec<u32> = old.iter().map(&mut number).collect();
    let new: Vec<u32> = new.iter().map(&mut number).collect();
    compare_numbers(&old, &new)
}

fn compare_numbers(old: &[u32], new: &[u32]) -> Vec<DiffOp> {
    let deadline = Some((Instant::now() + TIME_MAX).into_std());
    let mut ops = Compact::new(Replace::new(Capture::new()), old, new);
    // What captures never fails.
    let _ = myers::diff_deadline(&mut ops, old, 0..old.len(), new, 0..new.len(), deadline);
    ops.into_inner().into_inner().into_ops()
}

fn write_hunk(text: &mut String, hunk: &[DiffOp], old: &[&str], new: &[&str]) {
    let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { return };
    let old_lines = shown(first.old_range().start..last.old_range().end);
    let new_lines = shown(first.new_range().start..last.new_range().end);
    let _ = writeln!(text, "@@ -{old_lines} +{new_lines} @@");
    for op in hunk {
        let is_equal = op.tag() == DiffTag::Equal;
        let before = if is_equal { ' ' } else { '-' };
        write_lines(text, before, &old[op.old_range()]);
        if !is_equal {
            write_lines(text, '+', &new[op.new_range()]);
        }
    }
}

fn write_lines(text: &mut String, mark: char, lines: &[&str]) {
    for line in lines {
        text.push(mark);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// Lines as a hunk's head names them: from 1; one line without its number, none as those before it.
fn shown(lines: Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => (lines.start + 1).to_string(),
        len => format!("{},{len}", lines.start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_hunks_with_three_lines_around_them() {
        let old: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 5\n", "LINE 5\nmore\n").replace("line 29\n", "");
        let new = new.trim_end();
        let found = difference("a/b.txt", &old, new, DIFF_MAX_BYTES);
        let expected = "\
--- a/a/b.txt
+++ b/a/b.txt
@@ -2,7 +2,8 @@
 line 2
 line 3
 line 4
-line 5
+LINE 5
+more
 line 6
 line 7
 line 8
@@ -26,5 +27,4 @@
 line 26
 line 27
 line 28
-line 29
-line 30
+line 30
\\ No newline at end of file
";
        assert_eq!(found.text, expected);
        assert_eq!((found.added, found.removed), (3, 3));
    }

    #[test]
    fn a_new_and_an_emptied_file_are_all_of_one_kind() {
        let made = difference("f", "", "a\nb\n", DIFF_MAX_BYTES);
        assert_eq!(made.text, "--- a/f\n+++ b/f\n@@ -0,0 +1,2 @@\n+a\n+b\n");
        let emptied = difference("f", "a\n", "", DIFF_MAX_BYTES);
        assert_eq!(emptied.text, "--- a/f\n+++ b/f\n@@ -1 +0,0 @@\n-a\n");
        assert_eq!(difference("f", "a\n", "a\n", DIFF_MAX_BYTES).text, "");
    }

    #[test]
    fn a_long_diff_is_cut_at_a_line_and_says_so() {
        let new: String = (0..100).map(|n| format!("{n}\n")).collect();
        let found = difference("f", "", &new, 60);
        assert!(found.text.len() < 110, "{}", found.text);
        assert!(found.text.ends_with("bytes and is cut here\n"), "{}", found.text);
        assert_eq!(found.added, 100);
    }

    #[test]
    fn likeness_is_between_nothing_and_the_same() {
        assert_eq!(likeness("abc", "xyz"), 0.0);
        assert_eq!(likeness("äbc", "äbc"), 1.0);
        assert!(likeness("fn one()", "fn two()") > 0.5);
    }
}
