//! What `agentd` and `controlplane` must agree on.
//!
//! Here belong: ids, numbers both sides share, time and randomness as parameters, the task
//! lifecycle, the messages of the wire and their framing. Here may never come: sockets, files,
//! SQL, HTTP, or any rule of one program alone.
//!
//! ```text
//! agentd ──► shared ◄── controlplane
//! ```

pub mod backoff;
pub mod clock;
pub mod fault;
pub mod ids;
#[cfg(feature = "runtime")]
pub mod lifecycle;
pub mod limits;
pub mod protocol;
pub mod wire;

#[cfg(feature = "testing")]
pub mod testing;
