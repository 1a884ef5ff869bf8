//! Which operation was done, and with what answer: why nothing runs twice.
//!
//! ```text
//! begin(op, fence) ──► Begin(token) ──effect──► token.commit(outcome) ──► answered for ever after
//!                 ├──► Attach        it runs just now: wait for the same outcome
//!                 ├──► Answered      it ended: here is what it answered
//!                 └──► Refused       other hash, older epoch, cancelled, or the disk is full
//! ```
//!
//! Durable before the effect (the begin) and after it (the outcome), so after a crash "no record"
//! proves that nothing was done. What had begun and not ended is *interrupted*: at the start of
//! the daemon its service says whether it provably never ran, or how it ended; what nobody can
//! say is answered `outcome_unknown` and never run again.
//!
//! Outcomes stay until the control plane acknowledges them; then a tombstone refuses a late
//! repeat. The highest epoch of each scope is kept, so a replaced worker is refused also after
//! a restart.
//!
//! Guard: one mutex around the table, held for moments and never across a wait. The task is the
//! recorder's; its failure ends the daemon.

mod entry;
mod handle;
mod record;
mod table;

pub use entry::{Effect, Entry, Event, Phase, Refusal};
pub use handle::{Admission, Attached, Interrupted, JournalHandle, Settlement, Token};

#[cfg(test)]
mod tests;
