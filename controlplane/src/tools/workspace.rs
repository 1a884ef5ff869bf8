//! The link to a workspace as tools see it: the fleet's, or a fake in tests.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use shared::protocol::Method;
use shared::protocol::process::FollowOutput;

use super::context::OperationKey;
use crate::fleet::{CallError, Deadline, FollowEvent, Operation, WorkspaceLink};

/// What a followed process says, in order; the end of the process or an error is the last of it.
pub type Following = BoxStream<'static, Result<FollowEvent, CallError>>;

/// Calls to one workspace. Every call ends by itself: by its deadline or with the link.
pub trait Workspace: Clone + Send + Sync + 'static {
    /// Asks for something that changes nothing.
    fn read<M: Method>(
        &self,
        request: &M,
        deadline: Duration,
    ) -> impl Future<Output = Result<M::Reply, CallError>> + Send;

    /// Asks for an operation. A repeat with the same key is answered from the daemon's journal.
    /// Without a deadline: the answer is worth waiting for as long as there is a link.
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
    ) -> impl Future<Output = Result<Following, CallError>> + Send;
}

impl Workspace for WorkspaceLink {
    async fn read<M: Method>(
        &self,
        request: &M,
        deadline: Duration,
    ) -> Result<M::Reply, CallError> {
        Self::read(self, request, Deadline::after(deadline)).await
    }

    async fn operate<M: Method>(
        &self,
        key: &OperationKey,
        request: &M,
    ) -> Result<M::Reply, CallError> {
        Self::operate(self, &operation(key), request).await
    }

    async fn operate_with_body<M: Method>(
        &self,
        key: &OperationKey,
        request: &M,
        body: Bytes,
    ) -> Result<M::Reply, CallError> {
        Self::operate_with_body(self, &operation(key), request, body).await
    }

    async fn follow(&self, request: &FollowOutput) -> Result<Following, CallError> {
        let (_, stream) = Self::follow(self, request).await?;
        let events = unfold(Some(stream), |stream| async move {
            let mut stream = stream?;
            match stream.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(stream))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(events.boxed())
    }
}

fn operation(key: &OperationKey) -> Operation {
    let operation = Operation::new(key.op_id, key.fence.clone());
    if key.read_only { operation.read_only() } else { operation }
}
