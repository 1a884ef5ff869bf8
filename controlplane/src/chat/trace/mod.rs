//! Traces: what every turn, step, attempt and tool did, when, and with which tokens.
//!
//! ```text
//!  runner ─► Recorder (memory, never waits) ─► Recording task ─► spans, in batches
//!                     └─► live spans ─┐                              │
//!  GET /chats/{id}/traces ◄───────────┴──────────────────────────────┘
//! ```
//!
//! Recording is beside the turn: a full channel or a database that is away costs spans, never a turn
//! and never a wait. Keys follow from what a span describes (`t` + seq of the user's message, `s` +
//! seq of the step's message, `a` + that + attempt, `o` + operation, `n` + history version), so that a write may be repeated
//! and a runner that takes a chat over goes on with the former one's spans.

mod attributes;
mod recorder;
mod request;
mod shape;

pub(super) use attributes::{merge, provider_name, usage};
pub use recorder::{Recorder, Recording};
pub use request::{Request, Sent, rebuild};
pub use shape::{Break, Head, Shape};
