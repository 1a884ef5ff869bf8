//! Previews between replicas: a viewer here of a chat that is driven there.
//!
//! ```text
//! runner's replica                          viewers' replica
//!   hub ─► Source ─► show ══ a stream ══► relay ─► Mirror ─► hub ─► subscriptions
//!                                           ▲ one task per chat with viewers: who drives it?
//!                                           └ hints, and the table of leases
//! ```
//!
//! A relay is only about previews: messages come from the database. One that dies is opened again
//! from the place where it stopped, and viewers keep what they saw. Nobody waits for a dial: the
//! subscriptions read the hub, and say that they are complete when the relay has caught up or took
//! too long.

mod relay;
mod show;

pub use relay::PreviewRelays;
pub(super) use show::show_preview;
