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
#[cfg(feature = "runtime")]
pub mod giving_way;
#[cfg(feature = "runtime")]
pub mod incoming;
#[cfg(feature = "runtime")]
pub mod io;
pub mod optional_bytes;

pub use codec::{DecodeError, decode, encode};
pub use frame::{Frame, FrameDecoder, FrameError, FrameKind};
#[cfg(feature = "runtime")]
pub use giving_way::{BULK_PRIORITY, GivingWay};
#[cfg(feature = "runtime")]
pub use incoming::{Answerer, BodyError, BodyReader, Dispatch, IncomingCall, ReceiveError};
#[cfg(feature = "runtime")]
pub use io::{FrameReader, FrameWriter, OpenStreams, ReadError, ReadHalf, WriteError, WriteHalf};
