//! What a model is told of a chat, and how it is kept short. Pure.
//!
//! ```text
//!  rows ─► history: marks applied, results shown ─► repair: valid for the provider ─► prompt
//!   │                                                                                   │
//!   └─► plan: how full is the window ─► go │ prune │ summarise │ stuck          validate (tests)
//! ```
//!
//! A prompt is a function of the stored rows, of the model's settings and of nothing else, so any
//! replica makes the same bytes of it and a longer history begins with the shorter one's prompt. The
//! one thing that shortens it is a [`Compaction`](crate::chat::content::Compaction): a message of
//! its own in the history. `docs/design/017-context.md` says why.

pub mod files;
pub mod marks;
pub mod plan;
pub mod repair;
pub mod stub;
pub mod summary;
pub mod validate;
pub mod words;

pub use plan::{Need, Plan, Summarise, Window, is_compactable, plan};
pub use repair::{Dialect, repair};
