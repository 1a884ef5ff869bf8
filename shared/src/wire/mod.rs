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
#[cfg(test)]
mod tests;

pub use codec::{DecodeError, decode, encode};
pub use frame::{Frame, FrameDecoder, FrameError, FrameKind};
#[cfg(feature = "runtime")]
pub use giving_way::{BULK_PRIORITY, GivingWay};
#[cfg(feature = "runtime")]
pub use incoming::{Answerer, BodyError, BodyReader, Dispatch, IncomingCall, ReceiveError};
#[cfg(feature = "runtime")]
pub use io::{FrameReader, FrameWriter, OpenStreams, ReadError, ReadHalf, WriteError, WriteHalf};

/// One input of the fuzzer: bytes as a stream of frames, and each message as whatever a peer may
/// say. Nothing may panic, and nothing may grow beyond its limit.
///
/// Used by `fuzz/` and by a property test, so that it always builds.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_one(bytes: &[u8]) {
    use crate::protocol::{call, enroll, files, hello, notice, operation, process, pty};
    fn try_as<T: serde::de::DeserializeOwned + serde::Serialize>(body: &[u8]) {
        if let Ok(message) = decode::<T>(body) {
            let again = encode(&message);
            assert!(decode::<T>(&again).is_ok(), "what was read can be said");
        }
    }
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    while let Ok(Some(frame)) = decoder.next_frame() {
        let body = &frame.body[..];
        try_as::<hello::Hello>(body);
        try_as::<call::Reply<hello::Welcome>>(body);
        try_as::<call::CallHeader>(body);
        try_as::<notice::DaemonNotice>(body);
        try_as::<notice::ControlNotice>(body);
        try_as::<enroll::Enroll>(body);
        try_as::<call::Reply<enroll::Certificate>>(body);
        try_as::<operation::OperationState>(body);
        try_as::<process::StartProcess>(body);
        try_as::<call::Reply<process::ProcessView>>(body);
        try_as::<process::ViewOutput>(body);
        try_as::<process::FollowItem>(body);
        try_as::<process::WriteStdin>(body);
        try_as::<pty::OpenPty>(body);
        try_as::<pty::AttachPty>(body);
        try_as::<pty::PtySay>(body);
        try_as::<pty::PtyItem>(body);
        try_as::<call::Reply<pty::PtyAttached>>(body);
        try_as::<call::Reply<pty::PtyMatches>>(body);
        try_as::<files::WriteFile>(body);
        try_as::<files::EditFiles>(body);
        try_as::<call::Reply<files::SearchResult>>(body);
    }
    let _ = decoder.finish();
}
