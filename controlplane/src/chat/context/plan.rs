//! Whether a prompt still fits, and what to do if it does not. Pure.
//!
//! ```text
//!                 under 70 % of the window ────────────────────────────────► go
//!  room ────────► stubs for old outputs bring it under 45 % ───────────────► prune (no model call)
//!                 otherwise ───────────────────────────────────────────────► summarise
//!  asked ───────────────────────────────────────────────────────────────────► summarise
//!  exceeded ────► the model has spoken since the last compaction ──────────► prune all, or summarise
//!                 otherwise ───────────────────────────────────────────────► stuck: a clear error
//! ```
//!
//! Either way breaks the provider's cache behind the tools and the system text, so both wait for the
//! same threshold and then free a large part of the window at once.
//!
//! No endless loop: a compaction for room needs [`STEPS_BETWEEN`] steps since the last one and must
//! free a tenth of the prompt; one after a refusal needs a step since the last one.

use super::files::{self, LeftOut};
use super::marks::{Marks, is_said, is_step, mark};
use crate::chat::content::{Compaction, CompactionMethod, CompactionReason, Part, StoredPart};
use crate::llm::file_budget;
use crate::store::chats::MessageRow;

/// Share of the window at which a history is made shorter, in percent.
pub const THRESHOLD_PERCENT: u64 = 70;
/// Share of the window under which stubs alone are enough, in percent.
const PRUNED_ENOUGH_PERCENT: u64 = 45;
/// Share of the window that the newest steps keep word for word, in percent.
const TAIL_PERCENT: u64 = 20;
/// The same after the provider refused the prompt.
const TAIL_EXCEEDED_PERCENT: u64 = 5;
/// Share of the window over which a summary is asked of a cut prompt, in percent.
const FULL_PERCENT: u64 = 92;
/// Steps between two compactions for room.
pub const STEPS_BETWEEN: usize = 3;
/// Tokens of a summary, about.
pub const SUMMARY_TOKENS: u64 = 2_000;
/// A token is about so many bytes.
pub const BYTES_PER_TOKEN: u64 = 4;
/// An output of a tool up to this size is never a stub.
pub const STUB_OVER_BYTES: usize = 2 * 1024;

/// Why a plan is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Before every model call.
    #[default]
    Room,
    /// Somebody asked for a compaction.
    Asked,
    /// The provider refused the prompt as too long.
    Exceeded,
}

impl Need {
    const fn reason(self) -> CompactionReason {
        match self {
            Self::Room => CompactionReason::Threshold,
            Self::Asked => CompactionReason::Asked,
            Self::Exceeded => CompactionReason::Exceeded,
        }
    }
}

/// What the history stands beside.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The model's window in tokens; none: unknown.
    pub limit: Option<u64>,
    /// Tokens of system text and tools, about.
    pub fixed: u64,
    /// The provider's kind.
    pub kind: &'a str,
    /// The provider's name of the model.
    pub model: &'a str,
}

/// What to do before the model is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Call it.
    Go,
    /// Keep this mark: old outputs become stubs.
    Prune(Compaction),
    /// Have the history summarised.
    Summarise(Summarise),
    /// Nothing more can be left out.
    Stuck,
}

/// A summary to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summarise {
    /// Why.
    pub reason: CompactionReason,
    /// The last row that it covers, by `seq`.
    pub through_seq: i64,
    /// Tokens of the prompt as it is.
    pub tokens_before: u64,
    /// Tokens that are kept beside the summary.
    pub tokens_kept: u64,
    /// Most tokens of the prompt that asks for it; none: the prompt as it is, which is cached.
    pub cut_to: Option<u64>,
}

/// What to do with this history before the model is called.
#[must_use]
pub fn plan(history: &[MessageRow], need: Need, window: Window<'_>) -> Plan {
    let sizes = Sizes::of(history, window);
    let total = sizes.context_tokens(window.fixed);
    let limit = match need {
        // Whatever the settings say of the window, it is smaller than what was refused.
        Need::Exceeded => window.limit.unwrap_or(total).min(total),
        Need::Asked => window.limit.unwrap_or(total),
        Need::Room => match window.limit {
            Some(limit) if total >= percent(limit, THRESHOLD_PERCENT) => limit,
            _ => return Plan::Go,
        },
    };
    let steps = sizes.steps_since_mark();
    match need {
        Need::Room if steps < STEPS_BETWEEN => return Plan::Go,
        Need::Exceeded if steps == 0 => return Plan::Stuck,
        _ => {}
    }
    if let Some(pruned) = sizes.prune(need, limit, total) {
        return Plan::Prune(pruned);
    }
    let tail = if need == Need::Exceeded { TAIL_EXCEEDED_PERCENT } else { TAIL_PERCENT };
    let nothing = if need == Need::Exceeded { Plan::Stuck } else { Plan::Go };
    let cut = match (sizes.cut(percent(limit, tail)), need) {
        // Whoever asks gets a summary, also of a short history.
        (None, Need::Asked) => sizes.rows.last().map(|row| (row.seq, 0)),
        (cut, _) => cut,
    };
    let Some((through_seq, kept)) = cut else { return nothing };
    let tokens_kept = window.fixed + kept;
    let helps = tokens_kept + SUMMARY_TOKENS <= total - total / 10;
    if !helps && need == Need::Room {
        return Plan::Go;
    }
    let is_full = need == Need::Exceeded || total > percent(limit, FULL_PERCENT);
    Plan::Summarise(Summarise {
        reason: need.reason(),
        through_seq,
        tokens_before: total,
        tokens_kept,
        cut_to: is_full.then_some(limit / 2),
    })
}

/// Whether there is anything that a summary could stand for.
#[must_use]
pub fn is_compactable(history: &[MessageRow]) -> bool {
    let marks = Marks::of(history);
    history.iter().any(|row| row.seq > marks.newest_seq && is_step(row))
}

fn percent(of: u64, percent: u64) -> u64 {
    of.saturating_mul(percent) / 100
}

/// The rows that a prompt shows, with their sizes.
struct Sizes<'a> {
    rows: Vec<&'a MessageRow>,
    marks: Marks<'a>,
    /// Files that the prompt only names.
    left_out: LeftOut,
    /// Bytes of what a summary in force takes, and of the words kept beside it.
    summary_bytes: usize,
}

impl<'a> Sizes<'a> {
    fn of(history: &'a [MessageRow], window: Window<'_>) -> Self {
        let marks = Marks::of(history);
        let covered = marks.covered_through();
        let rows: Vec<&MessageRow> = history
            .iter()
            .filter(|row| !row.removed && row.seq > covered && mark(row).is_none())
            .collect();
        let budget = file_budget(window.kind, window.model);
        let left_out = LeftOut::of(rows.iter().copied(), marks, budget, window.limit);
        let summary_bytes = marks.summary.map_or(0, |mark| {
            mark.summary.len()
                + super::words::kept(history, covered)
                    .iter()
                    .map(|words| words.len())
                    .sum::<usize>()
        });
        Self { rows, marks, left_out, summary_bytes }
    }

    fn steps_since_mark(&self) -> usize {
        let newest = self.marks.newest_seq;
        self.rows.iter().filter(|row| row.seq > newest && is_step(row)).count()
    }

    /// Tokens of the next prompt: what the provider counted last, and what came since; without a
    /// count that can be trusted, by size.
    fn context_tokens(&self, fixed: u64) -> u64 {
        let counted = self.rows.iter().enumerate().rev().find_map(|(at, row)| {
            let usage = row.usage.as_ref().filter(|_| row.seq > self.marks.newest_seq)?;
            let total = usage.total();
            (usage.is_known() && total > 0).then_some((at, total))
        });
        match counted {
            Some((at, total)) => {
                total + tokens(self.rows[at + 1..].iter().map(|row| self.bytes(row)).sum())
            }
            None => {
                fixed
                    + tokens(
                        self.summary_bytes
                            + self.rows.iter().map(|row| self.bytes(row)).sum::<usize>(),
                    )
            }
        }
    }

    fn bytes(&self, row: &MessageRow) -> usize {
        let pruned = row.seq <= self.marks.pruned_through;
        let parts = row.content.iter().enumerate();
        parts.map(|(at, stored)| self.size(row, (at, stored), pruned)).sum()
    }

    /// About how many bytes of the prompt a part takes.
    fn size(&self, row: &MessageRow, (at, stored): (usize, &StoredPart), pruned: bool) -> usize {
        let pruned = pruned || self.left_out.why(row.seq, at).is_some();
        size(stored, pruned)
    }

    /// The mark that leaves old outputs out, if that is enough.
    fn prune(&self, need: Need, limit: u64, total: u64) -> Option<Compaction> {
        let through_seq = match need {
            Need::Asked => return None,
            Need::Room => self.cut(percent(limit, TAIL_PERCENT))?.0,
            Need::Exceeded => self.rows.last()?.seq,
        };
        let rows = self
            .rows
            .iter()
            .filter(|row| row.seq > self.marks.pruned_through && row.seq <= through_seq);
        let saved: usize = rows
            .flat_map(|row| row.content.iter().enumerate().map(move |part| (row, part)))
            .map(|(row, part)| self.size(row, part, false) - self.size(row, part, true))
            .sum();
        let tokens_after = total.saturating_sub(tokens(saved));
        let enough = match need {
            Need::Exceeded => percent(total, 60),
            Need::Room | Need::Asked => percent(limit, PRUNED_ENOUGH_PERCENT),
        };
        (tokens_after <= enough).then(|| Compaction {
            method: CompactionMethod::Prune,
            reason: need.reason(),
            through_seq,
            summary: String::new(),
            tokens_before: total,
            tokens_after,
        })
    }

    /// Where the newest steps begin that fit `budget` tokens: the `seq` before them, and their
    /// tokens. None: everything fits.
    fn cut(&self, budget: u64) -> Option<(i64, u64)> {
        let (mut kept, mut bytes) = (self.rows.len(), 0);
        let mut tail_bytes = 0;
        for (at, row) in self.rows.iter().enumerate().rev() {
            bytes += self.bytes(row);
            let begins = is_step(row) || is_said(row);
            // What a person said last is kept whatever its size.
            let is_last_word = is_said(row) && at + 1 == self.rows.len();
            if begins && (is_last_word || tokens(bytes) <= budget) {
                (kept, tail_bytes) = (at, bytes);
            } else if tokens(bytes) > budget {
                break;
            }
        }
        let before = kept.checked_sub(1)?;
        let covers = self.rows[..kept].iter().any(|row| is_step(row));
        covers.then(|| (self.rows[before].seq, tokens(tail_bytes)))
    }
}

fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// About how many bytes of the prompt a part takes.
fn size(stored: &StoredPart, pruned: bool) -> usize {
    let whole = match (&stored.raw, &stored.part) {
        (Some(raw), _) => raw.get().len(),
        (None, Part::Text { text } | Part::AgentReport { text, .. }) => text.len(),
        (None, Part::ToolCall { name, args, .. }) => name.len() + args.to_string().len(),
        (None, Part::ToolResult { result, .. }) => {
            crate::chat::history::result_bytes(result).min(crate::chat::history::RESULT_SHOWN_BYTES)
        }
        (None, Part::File { .. }) if pruned => files::STUB_BYTES,
        (None, Part::File { file }) => usize::try_from(files::tokens(file) * BYTES_PER_TOKEN)
            .unwrap_or(usize::MAX)
            .max(files::STUB_BYTES),
        (None, Part::Reasoning { .. } | Part::Notice { .. } | Part::Compaction { .. }) => return 0,
    };
    let is_stub =
        pruned && matches!(stored.part, Part::ToolResult { .. }) && whole > STUB_OVER_BYTES;
    32 + if is_stub { super::stub::BYTES } else { whole }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
