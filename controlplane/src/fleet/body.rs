//! What follows the head of an answer: raw pages, and the output of a process as it comes.
//!
//! Both end with proof that they are whole: a page has the announced number of bytes, a followed
//! output ends with its last item. A stream that ends without it is *unknown*, never "the end".

use bytes::{Bytes, BytesMut};
use shared::protocol::files::BytesPage;
use shared::protocol::process::{FollowItem, OutputPage, OutputStream, ProcessView};
use shared::protocol::pty::PtyOutputPage;
use shared::wire::{Frame, FrameError, FrameKind, ReadError};

use super::client::{CallError, Rest, UnknownReason, malformed, unknown};

/// An answer whose head says how many raw bytes follow.
pub trait RawLength {
    /// How many.
    fn raw_len(&self) -> u64;
}

impl RawLength for OutputPage {
    fn raw_len(&self) -> u64 {
        self.len
    }
}

impl RawLength for BytesPage {
    fn raw_len(&self) -> u64 {
        self.len
    }
}

impl RawLength for PtyOutputPage {
    fn raw_len(&self) -> u64 {
        self.len
    }
}

/// Raw bytes behind a reply whose number is not told: they go to the orderly end of the stream.
pub struct OpenBody {
    rest: Rest,
}

impl OpenBody {
    pub(super) const fn new(rest: Rest) -> Self {
        Self { rest }
    }

    /// The next bytes; none at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        match self.rest.frames.next().await {
            Ok(None) => Ok(None),
            frame => raw(checked(frame)?).map(Some),
        }
    }
}

/// The raw bytes behind a reply.
pub struct RawBody {
    rest: Rest,
    missing: u64,
}

impl RawBody {
    pub(super) const fn new(rest: Rest, len: u64) -> Self {
        Self { rest, missing: len }
    }

    /// Bytes that are still to come.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.missing
    }

    /// The next bytes, 1 to 256 KiB; none after the last announced one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        while self.missing > 0 {
            let bytes = raw(next_frame(&mut self.rest).await?)?;
            let Some(missing) = self.missing.checked_sub(bytes.len() as u64) else {
                return Err(malformed("more bytes than announced"));
            };
            self.missing = missing;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// All that is still to come. Refused as malformed when that is more than `max_bytes`.
    pub async fn collect(mut self, max_bytes: u64) -> Result<Bytes, CallError> {
        if self.missing > max_bytes {
            return Err(malformed("the daemon announced more bytes than were asked for"));
        }
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

/// One thing that a follower sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowEvent {
    /// Bytes that the process wrote, 1 byte to 256 KiB.
    Chunk {
        /// Absolute, of the first byte.
        offset: u64,
        /// Which stream wrote them.
        stream: OutputStream,
        /// The bytes.
        bytes: Bytes,
    },
    /// Bytes that were dropped before they could be followed: `[from, to)`.
    Dropped {
        /// First one.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// The process ended and every byte was seen. The last event.
    End {
        /// Its final view.
        process: ProcessView,
    },
}

/// The output of one process as it comes. Dropping it ends the following.
pub struct FollowStream {
    rest: Rest,
    next_offset: u64,
    ended: bool,
    /// The head of a chunk whose bytes have not come yet, so that `next` is cancel-safe.
    pending: Option<(u64, OutputStream, u32)>,
}

impl FollowStream {
    pub(super) const fn new(rest: Rest, offset: u64) -> Self {
        Self { rest, next_offset: offset, ended: false, pending: None }
    }

    /// Where to resume after an error: one past the last byte that was given out.
    #[must_use]
    pub const fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The next event; none after [`FollowEvent::End`]. Cancel-safe.
    ///
    /// Offsets are checked: they go on without a gap or a repeat, so what is given out is exactly
    /// the log, or an error.
    pub async fn next(&mut self) -> Result<Option<FollowEvent>, CallError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if let Some((offset, stream, len)) = self.pending {
                let bytes = raw(next_frame(&mut self.rest).await?)?;
                self.pending = None;
                if bytes.len() != len as usize {
                    return Err(malformed("a chunk has another length than announced"));
                }
                self.next_offset = offset + u64::from(len);
                return Ok(Some(FollowEvent::Chunk { offset, stream, bytes }));
            }
            match self.next_item().await? {
                FollowItem::Chunk { offset, stream, len } => {
                    if offset != self.next_offset || offset.checked_add(u64::from(len)).is_none() {
                        return Err(malformed("a chunk does not continue the output"));
                    }
                    self.pending = Some((offset, stream, len));
                }
                FollowItem::Dropped { from, to } => {
                    if from != self.next_offset || to < from {
                        return Err(malformed("a gap does not continue the output"));
                    }
                    self.next_offset = to;
                    return Ok(Some(FollowEvent::Dropped { from, to }));
                }
                FollowItem::End { process } => {
                    self.ended = true;
                    return Ok(Some(FollowEvent::End { process }));
                }
            }
        }
    }

    async fn next_item(&mut self) -> Result<FollowItem, CallError> {
        match next_frame(&mut self.rest).await? {
            Frame { kind: FrameKind::Message, body } => {
                shared::wire::decode(&body).map_err(|error| malformed(&error.to_string()))
            }
            Frame { kind: FrameKind::Raw, .. } => Err(malformed("raw bytes without their head")),
        }
    }
}

pub(super) async fn next_frame(rest: &mut Rest) -> Result<Frame, CallError> {
    checked(rest.frames.next().await)
}

fn checked(frame: Result<Option<Frame>, ReadError>) -> Result<Frame, CallError> {
    match frame {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) | Err(ReadError::Io(_) | ReadError::Frame(FrameError::Truncated { .. })) => {
            Err(unknown(UnknownReason::LinkLost))
        }
        Err(ReadError::Frame(error)) => Err(malformed(&error.to_string())),
    }
}

pub(super) fn raw(frame: Frame) -> Result<Bytes, CallError> {
    match frame.kind {
        FrameKind::Raw => Ok(frame.body),
        FrameKind::Message => Err(malformed("a message stands where raw bytes should")),
    }
}
