//! The daemons: who is connected, and how to ask them.
//!
//! ```text
//! listener ──► session ──► registry ◄── client (WorkspaceLink) ◄── http, tools, chat
//!   │  mTLS      hello, epoch   presence      calls, bodies, followers
//!   └─ enroll ─► ca             acknowledge ─► notices
//! ```
//!
//! Invariants: a workspace has at most one current link, the one with the highest epoch; a call
//! ends in done, refused, failed or unknown and these are never folded; everything a daemon says
//! is bounded and belongs to the workspace of its certificate, never to one that it names.

mod acknowledge;
mod attach;
mod body;
mod ca;
mod client;
mod device;
mod directory;
mod enroll;
mod hello;
mod join_tokens;
mod listener;
mod peers;
mod presence;
mod previews;
mod registry;
mod session;
#[cfg(test)]
mod tests;
mod tls;

pub use attach::{PtyAttachment, PtyEvent, PtyEvents, PtyVoice};
pub use body::{FollowEvent, FollowStream, OpenBody, RawBody, RawLength};
pub use ca::{CaError, CertificateAuthority, DeviceRequest, InvalidRequest, SignedDevice};
pub use client::{CallError, Deadline, Operation, UnknownReason, WorkspaceLink};
pub use device::DeviceKeyHash;
pub use directory::{Directory, Parts as DirectoryParts};
pub use join_tokens::{IssuedJoinToken, JOIN_TOKEN_LIFE, JoinTokens};
pub use listener::{ListenError, Listener, ListenerOptions, ListenerParts};
pub use peers::{Door, PeerAsk, PeerError, Peers, WatchFrom, WatchItem};
pub use presence::Presence;
pub use previews::PreviewRelays;
pub use registry::{Attachment, Fleet, NewLink};
pub use tls::{Congestion, TransportOptions, install_provider, provider};
