//! The sending half of a stream: one that has sent much gives way to the others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Bytes after which a stream counts as bulk.
const BULK_FROM_BYTES: u64 = 64 * 1024;
/// Priority of a bulk stream; that of every other one is 0.
pub const BULK_PRIORITY: i32 = -1;

/// Sends as its inner half does, and calls `demote` once it has sent 64 KiB, so that a page of a
/// file never stands in the way of a short answer.
pub struct GivingWay<W> {
    inner: W,
    sent: u64,
    demote: fn(&W),
}

impl<W> GivingWay<W> {
    /// `demote` lowers the priority of a half to [`BULK_PRIORITY`].
    pub const fn new(inner: W, demote: fn(&W)) -> Self {
        Self { inner, sent: 0, demote }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for GivingWay<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            let before = self.sent;
            self.sent += written as u64;
            if before < BULK_FROM_BYTES && self.sent >= BULK_FROM_BYTES {
                (self.demote)(&self.inner);
            }
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
