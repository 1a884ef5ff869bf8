//! As [`super::bytes`], for `Option<Vec<u8>>`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct Binary(#[serde(with = "super::bytes")] Vec<u8>);

/// Writes binary or nil.
pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(|bytes| Binary(bytes.clone())).serialize(serializer)
}

/// Reads binary or nil.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
    Ok(Option::<Binary>::deserialize(d)?.map(|binary| binary.0))
}
