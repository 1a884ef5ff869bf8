//! Frames: split a stream of bytes, in chunks of any size, into frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{MESSAGE_FRAME_MAX_BYTES, RAW_FRAME_MAX_BYTES};

/// Bytes before the body: length and kind.
pub const HEADER_BYTES: usize = 5;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A MessagePack message.
    Message,
    /// Raw bytes.
    Raw,
}

impl FrameKind {
    /// Largest body of this kind, in bytes.
    #[must_use]
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Message => MESSAGE_FRAME_MAX_BYTES,
            Self::Raw => RAW_FRAME_MAX_BYTES,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Message => 0,
            Self::Raw => 1,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Message),
            1 => Some(Self::Raw),
            _ => None,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// The body, without the header.
    pub body: Bytes,
}

/// Why a stream of bytes is not a stream of frames. All of them end the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length says more than the kind may hold.
    #[error("the frame has {len} bytes, the limit is {limit}")]
    TooLarge {
        /// As the header says.
        len: usize,
        /// Of the kind.
        limit: usize,
    },
    /// The length leaves no room for the kind.
    #[error("the frame is empty")]
    Empty,
    /// The kind does not exist.
    #[error("frame kind {0} does not exist")]
    UnknownKind(u8),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, {missing} bytes early")]
    Truncated {
        /// Bytes that are missing, at least.
        missing: usize,
    },
}

impl Frame {
    /// A message frame.
    #[must_use]
    pub fn message<T: serde::Serialize>(message: &T) -> Self {
        Self { kind: FrameKind::Message, body: super::encode(message).into() }
    }

    /// A raw frame.
    #[must_use]
    pub fn raw(body: impl Into<Bytes>) -> Self {
        Self { kind: FrameKind::Raw, body: body.into() }
    }

    /// Appends the frame's bytes. Errors if the body is over its limit; `out` is then unchanged.
    pub fn write_to(&self, out: &mut BytesMut) -> Result<(), FrameError> {
        let header = self.header()?;
        out.reserve(HEADER_BYTES + self.body.len());
        out.put_slice(&header);
        out.put_slice(&self.body);
        Ok(())
    }

    /// What stands before the body. Errors if the body is over its limit.
    pub fn header(&self) -> Result<[u8; HEADER_BYTES], FrameError> {
        let limit = self.kind.max_bytes();
        if self.body.len() > limit {
            return Err(FrameError::TooLarge { len: self.body.len(), limit });
        }
        let len = u32::try_from(self.body.len() + 1).expect("both limits are far under 4 GiB");
        let [a, b, c, d] = len.to_be_bytes();
        Ok([a, b, c, d, self.kind.byte()])
    }
}

/// Splits bytes into frames. Holds at most one frame more than what was pushed.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    /// An empty decoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Where a reader appends bytes as they come, with room for what the frame still misses.
    ///
    /// The room is bounded: the length of a frame is checked before it is asked for here.
    #[cfg(feature = "runtime")]
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        const AT_LEAST: usize = 4 * 1024;
        let missing = match self.buffer.first_chunk::<4>() {
            Some(header) => {
                let wanted =
                    4 + (u32::from_be_bytes(*header) as usize).min(MESSAGE_FRAME_MAX_BYTES + 1);
                wanted.saturating_sub(self.buffer.len())
            }
            None => 0,
        };
        self.buffer.reserve(missing.max(AT_LEAST));
        &mut self.buffer
    }

    /// The next whole frame, if there is one. A header over its limit is refused at once, before
    /// its body is waited for.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*header) as usize;
        let Some(body_len) = len.checked_sub(1) else { return Err(FrameError::Empty) };
        if body_len > MESSAGE_FRAME_MAX_BYTES {
            return Err(FrameError::TooLarge { len: body_len, limit: MESSAGE_FRAME_MAX_BYTES });
        }
        let Some(&kind) = self.buffer.get(4) else { return Ok(None) };
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        if body_len > kind.max_bytes() {
            return Err(FrameError::TooLarge { len: body_len, limit: kind.max_bytes() });
        }
        if self.buffer.len() < HEADER_BYTES + body_len {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        Ok(Some(Frame { kind, body: self.buffer.split_to(body_len).freeze() }))
    }

    /// The end of the stream: fine between frames, an error inside one.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let wanted = match self.buffer.first_chunk::<4>() {
            Some(header) => 4 + u32::from_be_bytes(*header) as usize,
            None => HEADER_BYTES,
        };
        Err(FrameError::Truncated { missing: wanted.saturating_sub(self.buffer.len()) })
    }
}
