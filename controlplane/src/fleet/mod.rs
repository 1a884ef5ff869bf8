//! The daemons: who is connected, and how to ask them.
//!
//! ```text
//! accept ──► session ──► registry ◄── client (WorkspaceLink) ◄── http, tools, chat
//!   │  mTLS     hello, epoch   presence      calls, bodies, followers
//!   └─ enroll ─► ca            acknowledge ─► notices
//! ```
//!
//! Invariants: a workspace has at most one current link, the one with the highest epoch; a call
//! ends in done, refused, failed or unknown and these are never folded; everything a daemon says
//! is bounded and belongs to the workspace of its certificate, never to one that it names.

mod acknowledge;
mod body;
mod client;
mod presence;
mod registry;
#[cfg(test)]
mod tests;

pub use body::{FollowEvent, FollowStream, RawBody, RawLength};
pub use client::{CallError, Deadline, Operation, UnknownReason, WorkspaceLink};
pub use presence::Presence;
pub use registry::{Attachment, Fleet, NewLink};
