//! The head of every call, and the typed list of methods.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::WireError;

/// First frame of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHeader {
    /// Which method, e.g. `process/start`. See [`Method::NAME`].
    pub method: String,
    /// An [`OpId`](crate::ids::OpId) for an operation, a [`CallId`](crate::ids::CallId) for a read.
    pub id: String,
    /// Milliseconds from now within which the caller wants an answer; none: no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Present on operations: what fences them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// W3C trace context of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Absolute offset from which a stream of bytes goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_from: Option<u64>,
    /// The caller is in a mode in which nothing may be changed, whatever the method says: a daemon
    /// refuses each operation that could with `read_only_mode`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Fences one operation: who asks, in which epoch, for exactly what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Whose epoch it is: the chat id for the agent's operations, `http` for a person's.
    pub scope: String,
    /// Rises with every take-over of the scope. The daemon refuses any epoch under the highest it
    /// has seen for the scope.
    pub epoch: u64,
    /// Hex BLAKE3 of what is asked, made once by the control plane and stored with the intent.
    /// The same operation id with another hash is refused.
    pub hash: String,
}

/// First frame of an answer. Streams follow it with more frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    /// It was done.
    Ok(T),
    /// It was refused, or it failed; the error says which.
    Err(WireError),
}

/// Whether a method may change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Changes nothing; may be asked again at will.
    Read,
    /// May change something: carries an operation id and a fence, and is journalled.
    Operation,
}

/// One method: its name, its request and its answer.
///
/// Implemented by the request type, so that a call is `client.call(&request)` and the answer's
/// type follows.
pub trait Method: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name on the wire; never reused for something else.
    const NAME: &'static str;
    /// Read or operation.
    const KIND: MethodKind;
    /// The answer.
    type Reply: Serialize + DeserializeOwned + Send + Sync + 'static;
}

/// Declares methods and the list that tests and the dispatcher walk.
macro_rules! methods {
    ($($request:ty => $name:literal, $kind:ident, $reply:ty;)*) => {
        $(impl $crate::protocol::Method for $request {
            const NAME: &'static str = $name;
            const KIND: $crate::protocol::MethodKind = $crate::protocol::MethodKind::$kind;
            type Reply = $reply;
        })*

        /// Names of this service's methods.
        pub const METHODS: &[&str] = &[$($name),*];
    };
}
pub(crate) use methods;
