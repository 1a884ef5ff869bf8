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
pub mod message;
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
pub use message::MessageError;

/// One input of the fuzzer: bytes as a stream of frames, and each message as whatever a peer may
/// say. Nothing may panic, and nothing may grow beyond its limit.
///
/// Used by `fuzz/` and by a property test, so that it always builds.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz_one(bytes: &[u8]) {
    struct SaidAgain;
    impl ReadAs for SaidAgain {
        fn read_as<T: serde::de::DeserializeOwned + serde::Serialize>(&mut self, body: &[u8]) {
            if let Ok(message) = decode::<T>(body) {
                let again = encode(&message);
                assert!(decode::<T>(&again).is_ok(), "what was read can be said");
            }
        }
    }
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    while let Ok(Some(frame)) = decoder.next_frame() {
        read_as_all(&frame.body, &mut SaidAgain);
    }
    let _ = decoder.finish();
}

/// Reads one message as a type.
#[cfg(any(test, feature = "testing"))]
trait ReadAs {
    fn read_as<T: serde::de::DeserializeOwned + serde::Serialize>(&mut self, body: &[u8]);
}

/// Reads a message as everything that a peer may say.
#[cfg(any(test, feature = "testing"))]
fn read_as_all(body: &[u8], reader: &mut impl ReadAs) {
    use crate::protocol::{call, enroll, files, hello, notice, operation, process, pty};
    reader.read_as::<hello::Hello>(body);
    reader.read_as::<call::Reply<hello::Welcome>>(body);
    reader.read_as::<call::CallHeader>(body);
    reader.read_as::<notice::DaemonNotice>(body);
    reader.read_as::<notice::ControlNotice>(body);
    reader.read_as::<enroll::Enroll>(body);
    reader.read_as::<call::Reply<enroll::Certificate>>(body);
    reader.read_as::<operation::OperationState>(body);
    reader.read_as::<process::StartProcess>(body);
    reader.read_as::<call::Reply<process::ProcessView>>(body);
    reader.read_as::<process::ViewOutput>(body);
    reader.read_as::<process::FollowItem>(body);
    reader.read_as::<process::WriteStdin>(body);
    reader.read_as::<pty::OpenPty>(body);
    reader.read_as::<pty::AttachPty>(body);
    reader.read_as::<pty::PtySay>(body);
    reader.read_as::<pty::PtyItem>(body);
    reader.read_as::<call::Reply<pty::PtyAttached>>(body);
    reader.read_as::<call::Reply<pty::PtyMatches>>(body);
    reader.read_as::<files::WriteFile>(body);
    reader.read_as::<files::EditFiles>(body);
    reader.read_as::<call::Reply<files::SearchResult>>(body);
}
