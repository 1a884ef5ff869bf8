//! The journal as seen over the wire: ask about an operation, cancel one.

use serde::{Deserialize, Serialize};

use super::call::methods;
use super::error::WireError;
use crate::ids::OpId;

/// What does the journal know of this operation?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryOperation {
    /// Which.
    pub op_id: OpId,
}

/// The journal's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OperationState {
    /// Never seen. Provably nothing was done.
    Absent,
    /// Recorded, not ended.
    Running,
    /// Ended well. Ask again with the same id to get the answer.
    Done,
    /// Ended badly.
    Failed {
        /// The recorded error.
        error: WireError,
    },
    /// Cancelled before it began; it will never begin.
    Cancelled,
}

/// Makes sure that an operation never begins. If it has begun, says so and changes nothing.
///
/// Journalled: a later arrival of the operation is refused `operation_cancelled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelOperation {
    /// The operation to cancel; the header's own id is the id of the cancellation.
    pub op_id: OpId,
}

methods! {
    QueryOperation => "operation/query", Read, OperationState;
    CancelOperation => "operation/cancel", Operation, OperationState;
}
