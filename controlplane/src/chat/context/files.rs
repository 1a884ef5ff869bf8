//! Which attached files a prompt shows, and what stands for the others. Pure.
//!
//! ```text
//!  rows, oldest first ─► fits by itself? ──no──► stub: why
//!                              │ yes
//!                              ▼
//!                      room for all of them? ──no──► the oldest become stubs, down to half
//! ```
//!
//! A history is gone through from its beginning, so the decisions of a longer one begin with those
//! of the shorter one: a file that is shown stays shown until newer ones need its room, and one that
//! is left out never comes back. Where room is needed, half of it is made at once, so that the
//! provider's cache is broken seldom (the trace then says `files_left_out`). The newest files stay.

use std::collections::{HashMap, VecDeque};

use super::marks::Marks;
use crate::chat::content::kind;
use crate::chat::content::{FileRef, Part, Role};
use crate::llm::{FileBudget, TEXT_SHOWN_BYTES};
use crate::store::chats::MessageRow;

/// Share of the window that files may take, in percent.
const WINDOW_PERCENT: u64 = 40;
/// Bytes of a stub, about.
pub const STUB_BYTES: usize = 256;
/// Pixels that a provider counts as one token, about.
const PIXELS_PER_TOKEN: u64 = 750;
/// Most tokens of an image: providers make larger ones smaller.
const IMAGE_TOKENS_MAX: u64 = 1_600;
/// Bytes of a page of a PDF, and its tokens, about; pages that are thought of at most.
const PAGE: (u64, u64, u64) = (100_000, 1_500, 40);

/// Why a file is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The model takes no such files.
    Kind,
    /// It is over this many bytes.
    TooLarge(u64),
    /// An image with a side over this many pixels.
    TooWide(u32),
    /// It does not fit its share of the model's window.
    Window,
    /// Newer files took its place.
    Newer,
    /// It was left out with the old outputs of tools, to make room.
    Pruned,
    /// The provider refused it.
    Refused,
}

/// What stands for a file that is not shown.
#[must_use]
pub fn stub(file: &FileRef, why: Why) -> String {
    let why = match why {
        Why::Kind => "this model is not shown files of this kind".to_owned(),
        Why::TooLarge(limit) => format!("it is over the limit of {limit} bytes"),
        Why::TooWide(limit) => format!("it is over the limit of {limit} pixels a side"),
        Why::Window => "it does not fit this model's window".to_owned(),
        Why::Newer => "newer files took its place".to_owned(),
        Why::Pruned => "it was left out to make room; the user can attach it again".to_owned(),
        Why::Refused => "the model's provider refused to read it".to_owned(),
    };
    let FileRef { name, media_type, size, .. } = file;
    format!("[Attached file {name} ({media_type}, {size} bytes) is not shown: {why}.]")
}

/// What stands for a file where only words can be.
#[must_use]
pub fn note(file: &FileRef) -> String {
    format!("[Attached file: {}, {}, {} bytes]", file.name, file.media_type, file.size)
}

/// About how many tokens of the prompt a file takes when it is shown.
#[must_use]
pub fn tokens(file: &FileRef) -> u64 {
    match file.media_type.as_str() {
        kind::TEXT => file.size.min(TEXT_SHOWN_BYTES).div_ceil(4) + 16,
        kind::PDF => file.size.div_ceil(PAGE.0).clamp(1, PAGE.2) * PAGE.1,
        _ => {
            let pixels = file.width.zip(file.height);
            let pixels = pixels.map(|(width, height)| u64::from(width) * u64::from(height));
            pixels
                .map_or(IMAGE_TOKENS_MAX, |pixels| pixels / PIXELS_PER_TOKEN)
                .clamp(64, IMAGE_TOKENS_MAX)
        }
    }
}

/// The files of a history that are not shown, by the row's `seq` and the part's place.
#[derive(Debug, Default)]
pub struct LeftOut(HashMap<(i64, usize), Why>);

impl LeftOut {
    /// Why this file is not shown; none: it is.
    #[must_use]
    pub fn why(&self, seq: i64, at: usize) -> Option<Why> {
        self.0.get(&(seq, at)).copied()
    }

    /// Of rows by `seq`, for a model with this budget and this window in tokens.
    #[must_use]
    pub fn of<'a>(
        rows: impl IntoIterator<Item = &'a MessageRow>,
        marks: Marks<'_>,
        budget: FileBudget,
        window: Option<u64>,
    ) -> Self {
        let mut deciding = Deciding {
            limits: Limits::of(budget, window),
            budget,
            shown: VecDeque::new(),
            left_out: HashMap::new(),
        };
        for row in rows.into_iter().filter(|row| row.role == Role::User) {
            deciding.row(row, marks);
        }
        Self(deciding.left_out)
    }
}

/// One amount of each thing that is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limits {
    images: u64,
    pdfs: u64,
    bytes: u64,
    tokens: u64,
}

impl Limits {
    fn of(budget: FileBudget, window: Option<u64>) -> Self {
        Self {
            images: budget.images as u64,
            pdfs: budget.pdfs as u64,
            bytes: budget.total_bytes,
            tokens: window.map_or(u64::MAX, |tokens| tokens / 100 * WINDOW_PERCENT),
        }
    }

    fn of_file(file: &FileRef) -> Self {
        let is = |holds: bool| u64::from(holds);
        let is_text = file.media_type == kind::TEXT;
        Self {
            images: is(kind::is_image(&file.media_type)),
            pdfs: is(file.media_type == kind::PDF),
            bytes: if is_text { 0 } else { file.size },
            tokens: tokens(file),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn minus(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    fn with(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            images: of(self.images, other.images),
            pdfs: of(self.pdfs, other.pdfs),
            bytes: of(self.bytes, other.bytes),
            tokens: of(self.tokens, other.tokens),
        }
    }

    /// What of this is over the limits, as ones and zeros.
    fn over(self, limits: Self) -> Self {
        self.with(limits, |amount, limit| u64::from(amount > limit))
    }

    fn is_zero(self) -> bool {
        self == Self::default()
    }
}

struct Deciding {
    budget: FileBudget,
    limits: Limits,
    /// Oldest first.
    shown: VecDeque<((i64, usize), Limits)>,
    left_out: HashMap<(i64, usize), Why>,
}

impl Deciding {
    fn row(&mut self, row: &MessageRow, marks: Marks<'_>) {
        let mut own = Limits::default();
        for (at, stored) in row.content.iter().enumerate() {
            let Part::File { file } = &stored.part else { continue };
            let key = (row.seq, at);
            let cost = Limits::of_file(file);
            match self.alone(file, cost, row.seq, marks) {
                Some(why) => drop(self.left_out.insert(key, why)),
                None => {
                    own = own.plus(cost);
                    self.shown.push_back((key, cost));
                }
            }
        }
        if !own.is_zero() {
            self.make_room(own);
        }
    }

    /// Why a file is not shown whatever else there is.
    fn alone(&self, file: &FileRef, cost: Limits, seq: i64, marks: Marks<'_>) -> Option<Why> {
        let budget = self.budget;
        let is_image = cost.images > 0;
        let side = file.width.max(file.height).unwrap_or_default();
        if seq <= marks.refused_through {
            Some(Why::Refused)
        } else if seq <= marks.pruned_through {
            Some(Why::Pruned)
        } else if file.media_type == kind::BYTES
            || cost.images > self.limits.images
            || cost.pdfs > self.limits.pdfs
        {
            Some(Why::Kind)
        } else if is_image && file.size > budget.image_bytes {
            Some(Why::TooLarge(budget.image_bytes))
        } else if is_image && side > budget.image_side {
            Some(Why::TooWide(budget.image_side))
        } else if cost.bytes > self.limits.bytes {
            Some(Why::TooLarge(self.limits.bytes))
        } else if cost.tokens > self.limits.tokens {
            Some(Why::Window)
        } else {
            None
        }
    }

    /// Leaves the oldest files out where they are over a limit: down to half of it, or to what the
    /// newest message alone needs. `own`: of the newest message.
    fn make_room(&mut self, own: Limits) {
        let all = self.shown.iter().fold(Limits::default(), |sum, (_, cost)| sum.plus(*cost));
        let over = all.over(self.limits);
        if over.is_zero() {
            return;
        }
        let half = self.limits.with(own, |limit, own| (limit / 2).max(own.min(limit)));
        // What is not over its limit needs no room.
        let room = half.with(over, |half, over| if over > 0 { half } else { u64::MAX });
        let mut left = all;
        let mut kept = VecDeque::with_capacity(self.shown.len());
        for (key, cost) in std::mem::take(&mut self.shown) {
            let needed = left.over(room);
            let helps = cost.with(needed, |cost, needed| u64::from(cost > 0 && needed > 0));
            if helps.is_zero() {
                kept.push_back((key, cost));
            } else {
                left = left.minus(cost);
                self.left_out.insert(key, Why::Newer);
            }
        }
        self.shown = kept;
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
