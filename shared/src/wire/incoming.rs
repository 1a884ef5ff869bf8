//! An accepted call as the side that answers it sees it.
//!
//! ```text
//! caller                              answerer
//!   CallHeader, request ──►             IncomingCall::receive
//!   raw … (body) ──► FIN                BodyReader::next
//!                    ◄── Reply<T>       Answerer::reply
//!                    ◄── items, raw …   Answerer::item / raw
//!                    ◄── FIN            Answerer::finish
//! ```
//!
//! A caller that goes away cancels `IncomingCall::cancelled`; it never drops the handler's future.
//! So an operation that has begun runs to its recorded end, and a read or a follower may stop.

use std::future::Future;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::io::{FrameReader, FrameWriter, ReadError, ReadHalf, WriteError, WriteHalf};
use super::{Frame, FrameError, FrameKind};
use crate::ids::OpId;
use crate::protocol::call::CallHeader;
use crate::protocol::{ErrorCode, Method, Reply, WireError};

/// Longest method name, id, trace context and fence field of a header, in bytes.
const HEADER_TEXT_MAX_BYTES: usize = 512;

/// Answers calls. Implemented by the daemon's dispatch and by doubles in tests.
pub trait Dispatch: Send + Sync + 'static {
    /// Answers one call. Runs to its end even when the caller has gone away.
    fn handle(&self, call: IncomingCall) -> impl Future<Output = ()> + Send;

    /// The outcomes of these operations, at most 1,000, are committed; the journal may forget them.
    fn acknowledged(&self, op_ids: Vec<OpId>) -> impl Future<Output = ()> + Send {
        let _ = op_ids;
        std::future::ready(())
    }
}

/// One call that has come in: its head was read, its body was not.
pub struct IncomingCall {
    /// Method, id, fence, deadline.
    pub header: CallHeader,
    /// The request, still encoded; see [`IncomingCall::decode`].
    pub request: Bytes,
    /// Raw bytes that follow the request.
    pub body: BodyReader,
    /// Where the answer goes.
    pub answer: Answerer,
    /// Cancelled when the caller wants no answer any more, or the link is gone.
    pub cancelled: CancellationToken,
}

/// Why a stream was not a call.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Opened and closed without a word.
    #[error("the stream ended before a call")]
    Empty,
    /// Not a call; the caller was told why.
    #[error("not a call: {0}")]
    Rejected(WireError),
    /// The transport failed.
    #[error("the stream broke")]
    Io(#[from] std::io::Error),
}

impl IncomingCall {
    /// Reads the head of a call. A malformed one is answered here and given back as an error.
    pub async fn receive(
        read: ReadHalf,
        write: WriteHalf,
        cancelled: CancellationToken,
    ) -> Result<Self, ReceiveError> {
        let mut frames = FrameReader::new(read);
        let answer = Answerer::new(write);
        match read_head(&mut frames).await {
            Ok((header, request)) => {
                let body = BodyReader { frames };
                Ok(Self { header, request, body, answer, cancelled })
            }
            Err(ReceiveError::Rejected(error)) => {
                // The caller may be gone; what matters is that nothing was begun.
                let _ = answer.fail(error.clone()).await;
                Err(ReceiveError::Rejected(error))
            }
            Err(error) => Err(error),
        }
    }

    /// The request as `M`. The error names the field and is ready to be answered.
    pub fn decode<M: Method>(&self) -> Result<M, WireError> {
        super::decode(&self.request).map_err(|error| {
            WireError::refused(ErrorCode::InvalidRequest, bounded(&error.to_string()))
                .with("method", M::NAME)
        })
    }

    /// Answers a call that changes nothing; gives up when its caller does.
    pub async fn read<M: Method>(
        self,
        read: impl AsyncFnOnce(M) -> Result<M::Reply, WireError>,
    ) -> Result<(), WriteError> {
        let request = match self.decode::<M>() {
            Ok(request) => request,
            Err(error) => return self.answer.fail(error).await,
        };
        let reply = tokio::select! {
            reply = read(request) => reply,
            () = self.cancelled.cancelled() => return Ok(()),
        };
        match reply {
            Ok(reply) => self.answer.answer(&Reply::Ok(reply)).await,
            Err(error) => self.answer.fail(error).await,
        }
    }

    /// The same for an answer with raw bytes behind it.
    pub async fn page<M: Method>(
        mut self,
        read: impl AsyncFnOnce(M) -> Result<(M::Reply, Bytes), WireError>,
    ) -> Result<(), WriteError> {
        let request = match self.decode::<M>() {
            Ok(request) => request,
            Err(error) => return self.answer.fail(error).await,
        };
        let page = tokio::select! {
            page = read(request) => page,
            () = self.cancelled.cancelled() => return Ok(()),
        };
        match page {
            Ok((head, bytes)) => {
                self.answer.reply(&Reply::Ok(head)).await?;
                self.answer.raw(bytes).await?;
                self.answer.finish().await
            }
            Err(error) => self.answer.fail(error).await,
        }
    }
}

async fn read_head(frames: &mut FrameReader) -> Result<(CallHeader, Bytes), ReceiveError> {
    let header = next_message(frames, "the header").await?.ok_or(ReceiveError::Empty)?;
    let header: CallHeader = super::decode(&header).map_err(|error| {
        rejected(ErrorCode::UnknownMessage, format!("the first frame of a call: {error}"))
    })?;
    check_texts(&header)?;
    let request = next_message(frames, "the request").await?.ok_or_else(|| {
        rejected(ErrorCode::TruncatedFrame, "the stream ended before the request".to_owned())
    })?;
    Ok((header, request))
}

async fn next_message(
    frames: &mut FrameReader,
    what: &'static str,
) -> Result<Option<Bytes>, ReceiveError> {
    match frames.next().await {
        Ok(Some(Frame { kind: FrameKind::Message, body })) => Ok(Some(body)),
        Ok(Some(Frame { kind: FrameKind::Raw, .. })) => Err(rejected(
            ErrorCode::ProtocolViolation,
            format!("{what} of a call is a message frame, not a raw one"),
        )),
        Ok(None) => Ok(None),
        Err(ReadError::Frame(error)) => {
            Err(rejected(frame_error_code(&error), format!("{what}: {error}")))
        }
        Err(ReadError::Io(error)) => Err(error.into()),
    }
}

fn check_texts(header: &CallHeader) -> Result<(), ReceiveError> {
    let fence = header.fence.as_ref();
    let texts = [
        ("method", Some(&header.method)),
        ("id", Some(&header.id)),
        ("traceparent", header.traceparent.as_ref()),
        ("fence.scope", fence.map(|fence| &fence.scope)),
        ("fence.hash", fence.map(|fence| &fence.hash)),
    ];
    for (field, text) in texts {
        if text.is_some_and(|text| text.len() > HEADER_TEXT_MAX_BYTES) {
            return Err(rejected(
                ErrorCode::InvalidRequest,
                format!("{field} is over {HEADER_TEXT_MAX_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

/// The stable code of a frame error.
#[must_use]
pub const fn frame_error_code(error: &FrameError) -> ErrorCode {
    match error {
        FrameError::TooLarge { .. } => ErrorCode::FrameTooLarge,
        FrameError::Truncated { .. } => ErrorCode::TruncatedFrame,
        FrameError::Empty | FrameError::UnknownKind(_) => ErrorCode::UnknownMessage,
    }
}

fn rejected(code: ErrorCode, message: String) -> ReceiveError {
    ReceiveError::Rejected(WireError::refused(code, bounded(&message)))
}

/// Cut to the 2 KiB that an error's text may have, at a character border.
fn bounded(message: &str) -> String {
    const MAX_BYTES: usize = 2_048;
    message[..message.floor_char_boundary(MAX_BYTES)].to_owned()
}

/// Why the body of a call could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// A frame that is none, or a message where only raw bytes may stand.
    #[error("the body is malformed: {0}")]
    Malformed(String, ErrorCode),
    /// More or fewer bytes than announced.
    #[error("the body has {got} bytes, {announced} were announced")]
    Length {
        /// As the request says.
        announced: u64,
        /// Bytes that came before the end, or before it was too much.
        got: u64,
    },
    /// The transport failed.
    #[error("the stream broke")]
    Io(#[from] std::io::Error),
}

impl From<BodyError> for WireError {
    fn from(error: BodyError) -> Self {
        let code = match &error {
            BodyError::Malformed(_, code) => *code,
            BodyError::Length { .. } => ErrorCode::InvalidRequest,
            BodyError::Io(_) => ErrorCode::TruncatedFrame,
        };
        Self::refused(code, bounded(&error.to_string()))
    }
}

/// The raw bytes behind a request or a reply.
pub struct BodyReader {
    frames: FrameReader,
}

impl BodyReader {
    /// Goes on after the heads that `frames` has read.
    #[must_use]
    pub const fn new(frames: FrameReader) -> Self {
        Self { frames }
    }

    /// Whatever else the caller says, frame by frame, where a method takes more than bytes.
    #[must_use]
    pub fn into_frames(self) -> FrameReader {
        self.frames
    }

    /// The next bytes, 1 to 256 KiB; none at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.frames.next().await {
                Ok(Some(Frame { kind: FrameKind::Raw, body })) if body.is_empty() => {}
                Ok(Some(Frame { kind: FrameKind::Raw, body })) => return Ok(Some(body)),
                Ok(Some(Frame { kind: FrameKind::Message, .. })) => {
                    let text = "a message stands between raw frames".to_owned();
                    return Err(BodyError::Malformed(text, ErrorCode::ProtocolViolation));
                }
                Ok(None) => return Ok(None),
                Err(ReadError::Frame(error)) => {
                    return Err(BodyError::Malformed(error.to_string(), frame_error_code(&error)));
                }
                Err(ReadError::Io(error)) => return Err(error.into()),
            }
        }
    }

    /// All of it, exactly `announced` bytes up to the end of the stream.
    ///
    /// The caller has checked `announced` against the method's limit: memory grows with what
    /// comes, never ahead of it.
    pub async fn read_exactly(&mut self, announced: u64) -> Result<Bytes, BodyError> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            let got = (all.len() + bytes.len()) as u64;
            if got > announced {
                return Err(BodyError::Length { announced, got });
            }
            all.extend_from_slice(&bytes);
        }
        let got = all.len() as u64;
        if got == announced { Ok(all.freeze()) } else { Err(BodyError::Length { announced, got }) }
    }
}

/// Writes the answer of one call.
pub struct Answerer {
    frames: FrameWriter,
}

impl Answerer {
    /// Answers on `write`.
    #[must_use]
    pub const fn new(write: WriteHalf) -> Self {
        Self { frames: FrameWriter::new(write) }
    }

    /// Writes the head of the answer. One that is over the frame's limit becomes the error
    /// `frame_too_large`, so that the caller is never left without an answer.
    pub async fn reply<T: Serialize>(&mut self, reply: &Reply<T>) -> Result<(), WriteError> {
        match self.frames.write(&Frame::message(reply)).await {
            Err(WriteError::Frame(error)) => {
                let error =
                    WireError::failed(ErrorCode::FrameTooLarge, format!("the answer: {error}"));
                self.frames.write(&Frame::message(&Reply::<()>::Err(error))).await
            }
            written => written,
        }
    }

    /// Writes a head that was encoded before, such as an outcome from the journal.
    pub async fn reply_encoded(&mut self, reply: Bytes) -> Result<(), WriteError> {
        self.frames.write(&Frame { kind: FrameKind::Message, body: reply }).await
    }

    /// Writes one item of a stream.
    pub async fn item<T: Serialize>(&mut self, item: &T) -> Result<(), WriteError> {
        self.frames.write(&Frame::message(item)).await
    }

    /// Writes one item and the raw bytes that belong to it; with one write when they are few.
    pub async fn item_with<T: Serialize>(
        &mut self,
        item: &T,
        bytes: Bytes,
    ) -> Result<(), WriteError> {
        const FEW_BYTES: usize = 16 * 1024;
        if bytes.is_empty() || bytes.len() > FEW_BYTES {
            self.item(item).await?;
            return self.raw(bytes).await;
        }
        let frames = [Frame::message(item), Frame { kind: FrameKind::Raw, body: bytes }];
        self.frames.write_together(&frames).await
    }

    /// Writes raw bytes, as many frames as they need.
    pub async fn raw(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        self.frames.write_raw(bytes).await
    }

    /// Ends the answer in order.
    pub async fn finish(mut self) -> Result<(), WriteError> {
        self.frames.finish().await
    }

    /// Answers with one head and ends.
    pub async fn answer<T: Serialize>(mut self, reply: &Reply<T>) -> Result<(), WriteError> {
        self.reply(reply).await?;
        self.finish().await
    }

    /// Answers with an error and ends.
    pub async fn fail(self, error: WireError) -> Result<(), WriteError> {
        self.answer(&Reply::<()>::Err(error)).await
    }
}
