//! Editing several files at once: all of them or none.
//!
//! ```text
//! read ─► decode ─► find each old text ─► check overlap ─► splice ─► encode ─► stage ─► diff
//!                     matching.rs                          indent.rs              difference.rs
//!                        └─ nothing: hints.rs
//! ```
//!
//! Every edit is searched in the original content, so the order of the edits does not matter.
//! Everything is computed in memory before the first byte is written.

mod difference;
mod hints;
mod indent;
mod matching;
mod plan;

pub(super) use plan::plan_edit;

#[cfg(test)]
pub(super) use plan::edited_text;
