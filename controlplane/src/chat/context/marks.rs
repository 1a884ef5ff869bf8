//! The compactions of a history, and what they make of its rows. Pure.

use crate::chat::content::{Compaction, CompactionMethod, Part, Role};
use crate::chat::edit_check::is_check;
use crate::store::chats::MessageRow;

/// The code of the remark by which somebody asks for a compaction.
pub const COMPACT_REQUEST: &str = "compact";

/// A `seq` before every row.
const BEFORE_ALL: i64 = i64::MIN;

/// What the compactions of a history add up to.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// The newest summary.
    pub summary: Option<&'a Compaction>,
    /// Up to here, by `seq`, old outputs of tools are stubs.
    pub pruned_through: i64,
    /// Up to here, by `seq`, attached files are stubs because the provider refused one.
    pub refused_through: i64,
    /// The newest compaction's own `seq`; before every row: there is none.
    pub newest_seq: i64,
}

impl<'a> Marks<'a> {
    /// Of a history by `seq`.
    #[must_use]
    pub fn of(history: &'a [MessageRow]) -> Self {
        let mut marks = Self {
            summary: None,
            pruned_through: BEFORE_ALL,
            refused_through: BEFORE_ALL,
            newest_seq: BEFORE_ALL,
        };
        for (row, mark) in history.iter().filter_map(|row| Some((row, mark(row)?))) {
            match mark.method {
                // It takes next to nothing out of the history, so it stands in no one's way.
                CompactionMethod::Files => marks.refused_through = mark.through_seq,
                CompactionMethod::Summary => {
                    (marks.summary, marks.newest_seq) = (Some(mark), row.seq);
                }
                CompactionMethod::Prune => {
                    (marks.pruned_through, marks.newest_seq) = (mark.through_seq, row.seq);
                }
            }
        }
        marks
    }

    /// Up to here, by `seq`, a summary stands for the rows.
    #[must_use]
    pub fn covered_through(&self) -> i64 {
        self.summary.map_or(BEFORE_ALL, |mark| mark.through_seq)
    }
}

/// The compaction that this row is; none: it is something else.
#[must_use]
pub fn mark(row: &MessageRow) -> Option<&Compaction> {
    if row.removed || row.role != Role::Assistant {
        return None;
    }
    row.content.iter().find_map(|stored| match &stored.part {
        Part::Compaction { mark } => Some(mark),
        _ => None,
    })
}

/// What somebody who asked for a compaction wants to be kept; none: the row is something else.
#[must_use]
pub fn request(row: &MessageRow) -> Option<&str> {
    match row.content.as_slice() {
        [only] if row.role == Role::User => match &only.part {
            Part::Notice { code, text } if code == COMPACT_REQUEST => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the model spoke or acted in this row.
#[must_use]
pub fn is_step(row: &MessageRow) -> bool {
    !row.removed && row.role == Role::Assistant && mark(row).is_none() && !is_check(row)
}

/// Whether an agent of the chat told something in this row.
#[must_use]
pub fn is_report(row: &MessageRow) -> bool {
    let tells = |part: &Part| matches!(part, Part::AgentReport { .. });
    !row.removed && row.content.iter().any(|stored| tells(&stored.part))
}

/// Whether a person said something in this row.
#[must_use]
pub fn is_said(row: &MessageRow) -> bool {
    let says = |part: &Part| match part {
        Part::Text { text } => !text.trim().is_empty(),
        Part::File { .. } => true,
        _ => false,
    };
    !row.removed && row.role == Role::User && row.content.iter().any(|stored| says(&stored.part))
}
