//! Replicas to each other: one connection each way, many streams, each one question.
//!
//! ```text
//! asker ── ALPN replica/1, certificate of a replica ──► door of the other
//!   stream: PeerCall {to, ask} ──►   ◄── Reply<()>   then as the ask says:
//!     forward      the bytes of a daemon's stream, both ways
//!     acknowledge  nothing more
//!     watch        ◄── the preview of a chat, as it grows
//! ```
//!
//! Who asks is known by its certificate, which the deployment's CA signed for one lease; who is
//! asked checks that it is the replica that was meant, so that an address that was given to another
//! process misleads nobody. A replica whose lease has ended is not answered and not asked.

mod ask;
mod door;
mod identity;
mod pipe;
mod pool;

pub use ask::{PeerAsk, WatchFrom, WatchItem};
pub use door::Door;
pub use pool::{PeerError, Peers};

pub(super) use door::ALPN_REPLICA;
pub(super) use identity::replica_uri;
