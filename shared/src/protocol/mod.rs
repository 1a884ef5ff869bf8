//! The messages between control plane and daemon, version 1.
//!
//! ```text
//! daemon dials, ALPN agentd/1, mTLS
//! stream 0 (daemon opens)   Hello ──►   ◄── Reply<Welcome>     then Notice frames both ways, for the life of the link
//! stream n (either opens)   CallHeader, request ──►  [raw …]  FIN
//!                           ◄── Reply<T>  [items or raw …]  FIN          cancel = reset with a code
//! ```
//!
//! Bodies are serde types in MessagePack *with field names*: a field may be added (always with a
//! default), never removed or given another meaning; unknown fields are ignored and an unknown
//! method is answered `unsupported`. Control plane N speaks with daemons N and N-1. Each message
//! has a golden file in `golden/v1`; a change of bytes fails a test.
//!
//! | Version | Added |
//! |---|---|
//! | 1.0 | everything here |

pub mod call;
pub mod close;
pub mod enroll;
pub mod error;
pub mod files;
#[cfg(test)]
mod golden;
pub mod hello;
pub mod join_token;
pub mod notice;
pub mod operation;
pub mod process;
pub mod pty;

pub use call::{CallHeader, Method, MethodKind, Reply};
pub use error::{ErrorCode, Outcome, WireError};

/// ALPN of a link: the major version of the protocol.
pub const ALPN_LINK: &[u8] = b"agentd/1";
/// ALPN of enrolment: no client certificate yet, one call, then the connection ends.
pub const ALPN_ENROLL: &[u8] = b"agentd-enroll/1";
/// The name in the control plane's QUIC certificate; the CA is pinned, so it is the same everywhere.
pub const SERVER_NAME: &str = "controlplane.holdfast.internal";
/// Lowest and highest minor version this build speaks.
pub const MINOR_MIN: u32 = 0;
/// See [`MINOR_MIN`].
pub const MINOR_MAX: u32 = 0;
