//! The unified diff of one edited file, bounded in time and size.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// Longest diff of one file, in bytes.
pub(super) const DIFF_MAX_BYTES: usize = 64 * 1024;
/// After this, the rest of a large difference is shown as one block.
const TIME_MAX: Duration = Duration::from_millis(500);

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
    let diff = TextDiff::configure().timeout(TIME_MAX).diff_lines(old, new);
    let (mut added, mut removed) = (0, 0);
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => added += 1,
            ChangeTag::Delete => removed += 1,
            ChangeTag::Equal => {}
        }
    }
    let (before, after) = (format!("a/{name}"), format!("b/{name}"));
    let mut text = diff.unified_diff().context_radius(3).header(&before, &after).to_string();
    let limit = limit.min(DIFF_MAX_BYTES);
    if text.len() > limit {
        let cut = text.len();
        text.truncate(text.floor_char_boundary(limit));
        text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
        text.push_str(&format!("… the diff has {cut} bytes and is cut here\n"));
    }
    Difference { text, added, removed }
}
