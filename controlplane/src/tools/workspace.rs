//! The link to a workspace as tools see it. Implemented by the fleet's link and by a fake in tests.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use shared::protocol::process::{FollowOutput, ProcessView};
use shared::protocol::{Method, WireError};

use super::context::OperationKey;

/// The four ends of a remote call are: done (`Ok`), and these. *Not connected* is a refusal by us.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("the workspace is not connected")]
    NotConnected {
        /// Unix milliseconds since when; none: it never was.
        since_ms: Option<i64>,
    },
    /// The daemon refused: nothing was done.
    #[error("refused: {0}")]
    Refused(#[source] WireError),
    /// The daemon tried and it went wrong.
    #[error("failed: {0}")]
    Failed(#[source] WireError),
    /// The link was lost before the answer.
    #[error("unknown: {reason}")]
    Unknown {
        /// For the log.
        reason: String,
    },
}

/// One thing a follower is told.
#[derive(Clone, Debug)]
pub enum Followed {
    /// Output, in order.
    Chunk(Bytes),
    /// Output that was dropped before it could be sent, in bytes.
    Dropped(u64),
    /// The process ended and every byte was told.
    End(Box<ProcessView>),
}

/// Calls to one workspace. Every call ends by itself: by its deadline or with the link.
pub trait Workspace: Clone + Send + Sync + 'static {
    /// Asks for something that changes nothing.
    fn read<M: Method>(
        &self,
        request: &M,
        deadline: Duration,
    ) -> impl Future<Output = Result<M::Reply, CallError>> + Send;

    /// Asks for an operation. A repeat with the same key is answered from the daemon's journal.
    fn operate<M: Method>(
        &self,
        key: &OperationKey,
        request: &M,
    ) -> impl Future<Output = Result<M::Reply, CallError>> + Send;

    /// As [`operate`](Self::operate), with raw bytes after the request.
    fn operate_with_body<M: Method>(
        &self,
        key: &OperationKey,
        request: &M,
        body: Bytes,
    ) -> impl Future<Output = Result<M::Reply, CallError>> + Send;

    /// Follows a process's output. Dropping the stream ends it.
    fn follow(
        &self,
        request: &FollowOutput,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Followed, CallError>>, CallError>> + Send;
}
