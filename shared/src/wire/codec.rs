//! Messages as MessagePack with field names.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{MessageError, MessageReader};

/// Levels of maps and arrays in a message. Ours have under ten; a level costs about 2 KiB of stack
/// in a debug build.
const DEPTH_MAX: usize = 64;

/// Why bytes are not the message they should be. The text names the field.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {kind}: {source}")]
pub struct DecodeError {
    /// The Rust name of the message type, for people.
    pub kind: &'static str,
    /// What the decoder says.
    #[source]
    pub source: MessageError,
}

/// Encodes a message. Field names are kept, so that fields can be added later.
///
/// # Panics
/// Never for the types of `protocol`: writing to memory cannot fail and every map key is a text.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("the messages of the protocol always encode")
}

/// Decodes a message; unknown fields are ignored, and so are bytes behind it.
///
/// The depth is bounded: the decoder recurses, and a field that nobody knows may hold a megabyte
/// of opening brackets, which would use up the stack of a runtime's worker.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::deserialize(&mut MessageReader::new(bytes, DEPTH_MAX))
        .map_err(|source| DecodeError { kind: short_type_name::<T>(), source })
}

fn short_type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}
