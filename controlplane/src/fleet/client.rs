//! Calls to one workspace's daemon.
//!
//! ```text
//! no link, or no stream opened        ──► NotConnected   nothing was sent
//! the daemon answered Refused/Failed  ──► Refused/Failed
//! anything else after the first byte  ──► Unknown        ask again with the same OpId
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::fault;
use shared::ids::{CallId, OpId, WorkspaceId};
use shared::protocol::call::{CallHeader, Fence};
use shared::protocol::process::{FollowOutput, Following, WaitProcess};
use shared::protocol::pty::{AttachPty, PtyRecording, RecordPty};
use shared::protocol::{ErrorCode, Method, MethodKind, Outcome, Reply, WireError};
use shared::wire::{Frame, FrameError, FrameKind, FrameReader, FrameWriter, ReadError, WriteError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::attach::PtyAttachment;
use super::body::{FollowStream, OpenBody, RawBody, RawLength};
use super::presence::Presence;
use super::registry::{ATTACHMENTS_MAX, Current, Entry};

/// Why a call has no good answer. The four cases are handled apart, always.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no link; nothing was sent.
    #[error("the workspace is not connected")]
    NotConnected {
        /// Unix milliseconds since when; none: not seen since this replica started.
        since_ms: Option<i64>,
    },
    /// The daemon refused; nothing was done.
    #[error("refused: {0}")]
    Refused(WireError),
    /// It was tried and went wrong.
    #[error("failed: {0}")]
    Failed(WireError),
    /// Nobody here knows whether it was done.
    #[error("the outcome is unknown: {reason}")]
    Unknown {
        /// Why, and whether to ask again.
        reason: UnknownReason,
    },
}

/// Why an outcome is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownReason {
    /// The link was lost after something was sent.
    #[error("the link was lost")]
    LinkLost,
    /// The caller's deadline passed.
    #[error("the deadline passed")]
    DeadlinePassed,
    /// The daemon's bytes are not an answer.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    /// The daemon itself cannot know any more: its disk or machine was lost. Final.
    #[error("{0}")]
    Lost(WireError),
}

impl UnknownReason {
    /// Whether asking again with the same operation id can tell. False: tell the user and stop.
    #[must_use]
    pub const fn may_ask_again(&self) -> bool {
        matches!(self, Self::LinkLost | Self::DeadlinePassed)
    }
}

/// How long a caller wants to wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// As long as the link lives.
    pub const NONE: Self = Self(None);

    /// From now on.
    #[must_use]
    pub const fn after(wait: Duration) -> Self {
        Self(Some(wait))
    }

    fn millis(self) -> Option<u64> {
        self.0.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }

    async fn limit<T>(
        self,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let Some(wait) = self.0 else { return work.await };
        tokio::time::timeout(wait, work)
            .await
            .unwrap_or(Err(CallError::Unknown { reason: UnknownReason::DeadlinePassed }))
    }
}

/// What names and fences one operation. The intent is committed before this is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The journal's key.
    pub op_id: OpId,
    /// Scope, epoch and hash as they stand in the intent.
    pub fence: Fence,
    /// How long to wait for the answer; the operation goes on without a waiter.
    pub deadline: Deadline,
    /// The daemon is to refuse it if it could change something.
    pub read_only: bool,
}

impl Operation {
    /// Waits as long as the link lives.
    #[must_use]
    pub const fn new(op_id: OpId, fence: Fence) -> Self {
        Self { op_id, fence, deadline: Deadline::NONE, read_only: false }
    }

    /// Of a caller that may change nothing, whatever the method says.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Waits at most so long.
    #[must_use]
    pub const fn within(mut self, wait: Duration) -> Self {
        self.deadline = Deadline::after(wait);
        self
    }
}

/// The way to one workspace. Cheap to clone; outlives links.
#[derive(Clone)]
pub struct WorkspaceLink {
    entry: Arc<Entry>,
}

impl WorkspaceLink {
    pub(super) const fn new(entry: Arc<Entry>) -> Self {
        Self { entry }
    }

    /// Which workspace.
    #[must_use]
    pub fn workspace_id(&self) -> WorkspaceId {
        self.entry.id
    }

    /// What is known now.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.entry.presence.borrow().clone()
    }

    /// Presence as it changes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Presence> {
        self.entry.presence.subscribe()
    }

    /// Waits until the workspace is connected. Cancel-safe.
    pub async fn connected(&self) {
        // The sender lives in the entry that this handle holds, so it cannot be gone.
        let _ = self.changed().wait_for(|presence| presence.connected).await;
    }

    /// Asks something that changes nothing. May be repeated at will.
    pub async fn read<M: Method>(
        &self,
        request: &M,
        deadline: Deadline,
    ) -> Result<M::Reply, CallError> {
        let header = read_header::<M>(self.entry.ids.id(), deadline);
        deadline.limit(self.call(header, request, Bytes::new())).await.map(|(reply, _)| reply)
    }

    /// Asks for a change. On [`CallError::Unknown`] ask again with the same `operation`.
    pub async fn operate<M: Method>(
        &self,
        operation: &Operation,
        request: &M,
    ) -> Result<M::Reply, CallError> {
        self.operate_with_body(operation, request, Bytes::new()).await
    }

    /// As [`operate`](Self::operate), with raw bytes behind the request.
    pub async fn operate_with_body<M: Method>(
        &self,
        operation: &Operation,
        request: &M,
        body: Bytes,
    ) -> Result<M::Reply, CallError> {
        debug_assert_eq!(M::KIND, MethodKind::Operation, "{}", M::NAME);
        let header = CallHeader {
            method: M::NAME.to_owned(),
            id: operation.op_id.to_string(),
            deadline_ms: operation.deadline.millis(),
            fence: Some(operation.fence.clone()),
            traceparent: None,
            resume_from: None,
            read_only: operation.read_only,
        };
        let call = self.call(header, request, body);
        operation.deadline.limit(call).await.map(|(reply, _)| reply)
    }

    /// Reads a page of raw bytes; `deadline` is for the head of the answer.
    pub async fn read_raw<M: Method>(
        &self,
        request: &M,
        deadline: Deadline,
    ) -> Result<(M::Reply, RawBody), CallError>
    where
        M::Reply: RawLength,
    {
        let header = read_header::<M>(self.entry.ids.id(), deadline);
        let (reply, rest) = deadline.limit(self.call(header, request, Bytes::new())).await?;
        let len = reply.raw_len();
        Ok((reply, RawBody::new(rest, len)))
    }

    /// Follows the output of a process from an offset. Dropping the stream ends the following.
    pub async fn follow(
        &self,
        request: &FollowOutput,
    ) -> Result<(Following, FollowStream), CallError> {
        let mut header = read_header::<FollowOutput>(self.entry.ids.id(), Deadline::NONE);
        header.resume_from = Some(request.offset);
        let (reply, rest) = self.call(header, request, Bytes::new()).await?;
        Ok((reply, FollowStream::new(rest, request.offset)))
    }

    /// Attaches a viewer to a PTY. The stream stays open both ways; dropping it detaches.
    pub async fn attach(&self, request: &AttachPty) -> Result<PtyAttachment, CallError> {
        let Some(current) = self.entry.current() else { return Err(self.not_connected()) };
        let in_flight = current.calls.token();
        let Ok(permit) = Arc::clone(&current.attachments).try_acquire_owned() else {
            let message = format!("{ATTACHMENTS_MAX} viewers are attached in this workspace");
            let error = WireError::refused(ErrorCode::TooManyViewers, message);
            return Err(CallError::Refused(error.with("limit", ATTACHMENTS_MAX)));
        };
        let (write, read) = tokio::select! {
            biased;
            () = current.gone.cancelled() => return Err(self.not_connected()),
            opened = current.streams.open() => opened.map_err(|_| self.not_connected())?,
        };
        let header = read_header::<AttachPty>(self.entry.ids.id(), Deadline::NONE);
        let heads = [Frame::message(&header), Frame::message(request)];
        let (mut writer, mut frames) = (FrameWriter::new(write), FrameReader::new(read));
        let answer = async {
            check_sent(writer.write_together(&heads).await)?;
            head(frames.next().await)
        };
        let reply = tokio::select! {
            biased;
            answered = answer => answered?,
            () = current.gone.cancelled() => return Err(unknown(UnknownReason::LinkLost)),
        };
        let attached = outcome::<AttachPty>(&reply)?;
        let rest = Rest { frames, _permit: Some(permit), _in_flight: in_flight };
        Ok(PtyAttachment::new(attached, rest, writer))
    }

    /// The recording of a PTY: raw bytes up to the end of the stream.
    pub async fn record(
        &self,
        request: &RecordPty,
        deadline: Deadline,
    ) -> Result<(PtyRecording, OpenBody), CallError> {
        let header = read_header::<RecordPty>(self.entry.ids.id(), deadline);
        let (reply, rest) = deadline.limit(self.call(header, request, Bytes::new())).await?;
        Ok((reply, OpenBody::new(rest)))
    }

    /// Tells the daemon, in batches and when it is there, that these outcomes are committed.
    pub fn acknowledge(&self, ops: Vec<OpId>) {
        self.entry.acknowledgements.add(ops);
    }

    fn not_connected(&self) -> CallError {
        let presence = self.entry.presence.borrow();
        CallError::NotConnected { since_ms: presence.since_ms.filter(|_| !presence.connected) }
    }

    async fn call<M: Method>(
        &self,
        header: CallHeader,
        request: &M,
        body: Bytes,
    ) -> Result<(M::Reply, Rest), CallError> {
        let Some(current) = self.entry.current() else { return Err(self.not_connected()) };
        let in_flight = current.calls.token();
        let permit = match M::KIND {
            MethodKind::Read => Some(self.read_permit(&current, M::NAME).await?),
            MethodKind::Operation => None,
        };
        let (write, read) = tokio::select! {
            biased;
            () = current.gone.cancelled() => return Err(self.not_connected()),
            opened = current.streams.open() => opened.map_err(|_| self.not_connected())?,
        };
        let heads = [Frame::message(&header), Frame::message(request)];
        if M::KIND == MethodKind::Operation {
            fault::point("w1 operation ready");
        }
        let (reply, frames) = tokio::select! {
            biased;
            answered = exchange(FrameWriter::new(write), FrameReader::new(read), &heads, body) => {
                answered?
            }
            () = current.gone.cancelled() => return Err(unknown(UnknownReason::LinkLost)),
        };
        if M::KIND == MethodKind::Operation {
            fault::point("w5 operation answered");
        }
        Ok((outcome::<M>(&reply)?, Rest { frames, _permit: permit, _in_flight: in_flight }))
    }

    async fn read_permit(
        &self,
        current: &Current,
        method: &str,
    ) -> Result<OwnedSemaphorePermit, CallError> {
        let reads = match method {
            FollowOutput::NAME | WaitProcess::NAME => &current.long_reads,
            _ => &current.short_reads,
        };
        tokio::select! {
            biased;
            () = current.gone.cancelled() => Err(self.not_connected()),
            permit = Arc::clone(reads).acquire_owned() => {
                Ok(permit.expect("the semaphore of a link is never closed"))
            }
        }
    }
}

/// What follows the head of an answer, and the right to hold the stream.
pub(super) struct Rest {
    pub(super) frames: FrameReader,
    _permit: Option<OwnedSemaphorePermit>,
    _in_flight: TaskTrackerToken,
}

fn read_header<M: Method>(id: CallId, deadline: Deadline) -> CallHeader {
    debug_assert_eq!(M::KIND, MethodKind::Read, "{}", M::NAME);
    CallHeader {
        method: M::NAME.to_owned(),
        id: id.to_string(),
        deadline_ms: deadline.millis(),
        fence: None,
        traceparent: None,
        resume_from: None,
        read_only: false,
    }
}

/// Sends the call and waits for the head of the answer, both at once: a daemon that refuses a
/// large body answers before it has read it.
async fn exchange(
    mut writer: FrameWriter,
    mut reader: FrameReader,
    heads: &[Frame],
    body: Bytes,
) -> Result<(Bytes, FrameReader), CallError> {
    let send = async {
        writer.write_together(heads).await?;
        writer.write_raw(body).await?;
        writer.finish().await
    };
    tokio::pin!(send);
    let mut sending = true;
    let frame = {
        let head = reader.next();
        tokio::pin!(head);
        loop {
            tokio::select! {
                biased;
                frame = &mut head => break frame,
                sent = &mut send, if sending => {
                    sending = false;
                    check_sent(sent)?;
                }
            }
        }
    };
    Ok((head(frame)?, reader))
}

/// The head of an answer, from the first frame of it.
fn head(frame: Result<Option<Frame>, ReadError>) -> Result<Bytes, CallError> {
    match frame {
        Ok(Some(Frame { kind: FrameKind::Message, body })) => Ok(body),
        Ok(Some(Frame { kind: FrameKind::Raw, .. })) => {
            Err(malformed("raw bytes stand before the head of the answer"))
        }
        Ok(None) | Err(ReadError::Io(_) | ReadError::Frame(FrameError::Truncated { .. })) => {
            Err(unknown(UnknownReason::LinkLost))
        }
        Err(ReadError::Frame(error)) => Err(malformed(&error.to_string())),
    }
}

/// A broken transport is not an error here: the answer may still be on its way, and reading it
/// says the rest. A request over the frame's limit was never sent.
fn check_sent(sent: Result<(), WriteError>) -> Result<(), CallError> {
    match sent {
        Ok(()) | Err(WriteError::Io(_)) => Ok(()),
        Err(WriteError::Frame(error)) => Err(CallError::Refused(WireError::refused(
            ErrorCode::FrameTooLarge,
            format!("the request: {error}"),
        ))),
    }
}

fn outcome<M: Method>(reply: &[u8]) -> Result<M::Reply, CallError> {
    match shared::wire::decode::<Reply<M::Reply>>(reply) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Err(error)) if error.known_code() == Some(ErrorCode::OutcomeUnknown) => {
            Err(unknown(UnknownReason::Lost(error)))
        }
        Ok(Reply::Err(error)) => Err(match error.outcome {
            Outcome::Refused => CallError::Refused(error),
            Outcome::Failed => CallError::Failed(error),
        }),
        Err(error) => Err(malformed(&error.to_string())),
    }
}

pub(super) const fn unknown(reason: UnknownReason) -> CallError {
    CallError::Unknown { reason }
}

pub(super) fn malformed(what: &str) -> CallError {
    let cut = &what[..what.floor_char_boundary(512)];
    unknown(UnknownReason::Malformed(cut.to_owned()))
}
