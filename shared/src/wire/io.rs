//! Frames over asynchronous streams: QUIC streams in the programs, in-memory pipes in tests.
//!
//! Owns reading and writing of whole frames and nothing of their meaning; [`super::incoming`] has
//! the shape of a call. Halves of a stream are boxed, so that services are not generic over the
//! transport: one allocation per half and call.

use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::HEADER_BYTES;
use super::{Frame, FrameDecoder, FrameError, FrameKind};
use crate::limits::RAW_FRAME_MAX_BYTES;

/// Bodies up to this size are copied behind their header and leave in one write.
const ONE_WRITE_BYTES: usize = 16 * 1024;

/// The half of a stream that bytes come from.
pub type ReadHalf = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// The half of a stream that bytes go to. Shutting it down is the orderly end (FIN).
pub type WriteHalf = Box<dyn AsyncWrite + Send + Sync + Unpin>;
/// What [`OpenStreams::open`] gives back.
pub type Opening<'a> = Pin<Box<dyn Future<Output = io::Result<(WriteHalf, ReadHalf)>> + Send + 'a>>;

/// A connection on which calls can be opened: QUIC, or a double in tests.
pub trait OpenStreams: Send + Sync + 'static {
    /// Opens a stream both ways. Waits while the peer allows no more streams.
    ///
    /// Dropping the read half before its end tells the peer that nobody wants the answer.
    fn open(&self) -> Opening<'_>;
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are no frames; the stream is of no more use.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The transport failed: reset, connection lost.
    #[error("the stream broke")]
    Io(#[from] io::Error),
}

/// Why a frame could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The frame is over its limit; nothing of it was written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The transport failed, or the peer wants no more.
    #[error("the stream broke")]
    Io(#[from] io::Error),
}

/// Reads frames from a stream.
pub struct FrameReader<R = ReadHalf> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from the start of `source`.
    pub fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new() }
    }

    /// The next frame; none at the orderly end of the stream.
    ///
    /// Cancel-safe: bytes that have come stay for the next call.
    pub async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if self.source.read_buf(self.decoder.room()).await? == 0 {
                self.decoder.finish()?;
                return Ok(None);
            }
        }
    }
}

/// Writes frames to a stream.
pub struct FrameWriter<W = WriteHalf> {
    sink: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes from the start of `sink`.
    pub const fn new(sink: W) -> Self {
        Self { sink }
    }

    /// Writes one frame. Not cancel-safe: a dropped call may leave half a frame behind.
    pub async fn write(&mut self, frame: &Frame) -> Result<(), WriteError> {
        let body = frame.body.len();
        if body <= ONE_WRITE_BYTES {
            let mut out = BytesMut::with_capacity(HEADER_BYTES + body);
            frame.write_to(&mut out)?;
            self.sink.write_all(&out).await?;
        } else {
            self.sink.write_all(&frame.header()?).await?;
            self.sink.write_all(&frame.body).await?;
        }
        Ok(())
    }

    /// Writes several frames with one write. For the small heads of a call.
    pub async fn write_together(&mut self, frames: &[Frame]) -> Result<(), WriteError> {
        let mut out = BytesMut::new();
        for frame in frames {
            frame.write_to(&mut out)?;
        }
        self.sink.write_all(&out).await?;
        Ok(())
    }

    /// Writes `bytes` as raw frames, each as large as a raw frame may be. None for no bytes.
    pub async fn write_raw(&mut self, mut bytes: Bytes) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let body = bytes.split_to(bytes.len().min(RAW_FRAME_MAX_BYTES));
            self.write(&Frame { kind: FrameKind::Raw, body }).await?;
        }
        Ok(())
    }

    /// Ends the stream in order (FIN). What was written still arrives.
    pub async fn finish(&mut self) -> Result<(), WriteError> {
        self.sink.shutdown().await?;
        Ok(())
    }
}
