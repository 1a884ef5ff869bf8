//! The sending half of a stream: one that has sent much gives way to the others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use quinn::SendStream;
use tokio::io::AsyncWrite;

/// Bytes after which a stream counts as bulk.
const BULK_FROM_BYTES: u64 = 64 * 1024;
/// Below that of every other stream, which is 0.
const BULK_PRIORITY: i32 = -1;

/// Sends as its inner half does; after 64 KiB at a lower priority, so that a page of a file never
/// stands in the way of a short answer.
pub(super) struct GivingWay {
    inner: SendStream,
    sent: u64,
}

impl GivingWay {
    pub(super) const fn new(inner: SendStream) -> Self {
        Self { inner, sent: 0 }
    }
}

impl AsyncWrite for GivingWay {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            let before = self.sent;
            self.sent += written as u64;
            if before < BULK_FROM_BYTES && self.sent >= BULK_FROM_BYTES {
                // A closed stream has no priority any more.
                let _ = self.inner.set_priority(BULK_PRIORITY);
            }
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.inner), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.inner), cx)
    }
}
