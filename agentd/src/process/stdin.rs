//! Standard input that stays open: one writer task per process, so that writes keep their order.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use shared::protocol::process::StdinWritten;
use shared::protocol::{ErrorCode, WireError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::child;

/// Writes that may wait for the one in progress. Each is one operation; more are refused.
const QUEUE: usize = 4;
/// How long a full pipe is waited for before the writer is told.
const BLOCKED_AFTER: Duration = Duration::from_secs(5);

type Answer = oneshot::Sender<Result<StdinWritten, WireError>>;

/// Asks for writes. Dropping every handle closes the input.
#[derive(Clone)]
pub(super) struct StdinHandle {
    requests: mpsc::Sender<Write>,
}

/// Owns the pipe.
pub(super) struct StdinWriter {
    requests: mpsc::Receiver<Write>,
    pipe: AsyncFd<Arc<OwnedFd>>,
}

struct Write {
    data: Vec<u8>,
    close: bool,
    answer: Answer,
}

impl StdinHandle {
    /// Writes all of `data`, then closes when `close`. The error says how much was taken.
    pub(super) async fn write(
        &self,
        data: Vec<u8>,
        close: bool,
    ) -> Result<StdinWritten, WireError> {
        let (answer, written) = oneshot::channel();
        match self.requests.try_send(Write { data, close, answer }) {
            Ok(()) => written.await.unwrap_or_else(|_| Err(closed())),
            Err(mpsc::error::TrySendError::Full(_)) => Err(WireError::refused(
                ErrorCode::StdinBlocked,
                "the process does not read its standard input, and other writes wait already",
            )
            .with("written", 0)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(closed()),
        }
    }
}

impl StdinWriter {
    /// The writer of `pipe`, which does not block.
    pub(super) fn new(pipe: OwnedFd) -> std::io::Result<(Self, StdinHandle)> {
        let pipe = child::watch(pipe, Interest::WRITABLE)?;
        let (sender, requests) = mpsc::channel(QUEUE);
        Ok((Self { requests, pipe }, StdinHandle { requests: sender }))
    }

    /// Serves until it is closed, or the process closes its end.
    pub(super) async fn run(mut self) {
        while let Some(Write { data, close, answer }) = self.requests.recv().await {
            let mut written = 0;
            let all = self.write_all(&data, &mut written);
            let result = match tokio::time::timeout(BLOCKED_AFTER, all).await {
                Ok(Ok(())) => Ok(StdinWritten { written }),
                Ok(Err(())) => Err(closed().with("written", written)),
                Err(_) => Err(WireError::failed(
                    ErrorCode::StdinBlocked,
                    format!(
                        "the process does not read its standard input: {written} of {} bytes were \
                         taken",
                        data.len()
                    ),
                )
                .with("written", written)),
            };
            let done = close || result.as_ref().is_err_and(|error| error.code == "stdin_closed");
            let _ = answer.send(result);
            if done {
                return;
            }
        }
    }

    async fn write_all(&self, data: &[u8], written: &mut u64) -> Result<(), ()> {
        let mut rest = data;
        while !rest.is_empty() {
            let mut ready = self.pipe.writable().await.map_err(drop)?;
            match rustix::io::write(self.pipe.get_ref(), rest) {
                Ok(taken) => {
                    *written += taken as u64;
                    rest = &rest[taken..];
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return Err(()),
            }
        }
        Ok(())
    }
}

/// Nobody reads any more, or it was closed before.
pub(super) fn closed() -> WireError {
    WireError::refused(ErrorCode::StdinClosed, "the standard input of the process is closed")
}
