//! Frames and their encoding: the only module that knows bytes.
//!
//! ```text
//! frame   = length u32 big-endian (of what follows: kind and body), kind u8, body
//! kind    = 0 message (MessagePack with field names) │ 1 raw bytes
//! ```
//!
//! The length is checked against the kind's limit before anything is allocated.

pub mod bytes;
pub mod codec;
pub mod frame;
pub mod optional_bytes;

pub use codec::{DecodeError, decode, encode};
pub use frame::{Frame, FrameDecoder, FrameError, FrameKind};
