//! What the journal's file says, as MessagePack with field names, so that a later version can add.

use serde::{Deserialize, Serialize};
use shared::ids::OpId;

use super::entry::Digest;

/// One record. Applying the same one twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// Durable before the effect.
    Begun {
        op: OpId,
        scope: String,
        epoch: u64,
        #[serde(with = "shared::wire::bytes")]
        digest: Vec<u8>,
        method: String,
    },
    /// What its service needs to go on, or to undo, after a crash.
    Prepared {
        op: OpId,
        #[serde(with = "shared::wire::bytes")]
        note: Vec<u8>,
    },
    /// Durable after the effect. Whole in itself, so that a rewrite keeps it as it stands.
    Ended {
        op: OpId,
        #[serde(with = "shared::wire::bytes")]
        digest: Vec<u8>,
        at_ms: i64,
        #[serde(with = "shared::wire::bytes")]
        outcome: Vec<u8>,
    },
    /// It never begins.
    Cancelled { op: OpId },
    /// It provably never ran; its begin counts for nothing.
    NeverRan { op: OpId },
    /// Outcomes that are committed elsewhere.
    Settled { ops: Vec<SettledOp> },
    /// The highest epoch of a scope.
    Epoch { scope: String, epoch: u64 },
}

/// The tombstone of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SettledOp {
    pub(super) op: OpId,
    #[serde(with = "shared::wire::bytes")]
    pub(super) digest: Vec<u8>,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        shared::wire::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match shared::wire::decode(bytes) {
            Ok(record) => Some(record),
            // Its checksum holds, so it is whole: a newer version wrote it.
            Err(error) => {
                tracing::warn!(%error, "a journal record of a newer version is passed over");
                None
            }
        }
    }
}

/// The digest of a record; all zeros when a newer version has another size.
pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    Digest(bytes.try_into().unwrap_or_default())
}
