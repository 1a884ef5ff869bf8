//! Standard input that stays open: one task per process, so that writes keep their order.

use shared::ids::OpId;
use shared::protocol::process::StdinWritten;
use shared::protocol::{ErrorCode, WireError};
use tokio::sync::{mpsc, oneshot};

use super::kept::KeeperHandle;

/// Writes that may wait for the one in progress. Each is one operation; more are refused.
const QUEUE: usize = 4;

type Answer = oneshot::Sender<Result<StdinWritten, WireError>>;

/// Asks for writes. Dropping every handle ends the writer; the input stays open.
#[derive(Clone)]
pub(super) struct StdinHandle {
    requests: mpsc::Sender<Write>,
}

/// Hands one write after the other to the keeper.
pub(super) struct StdinWriter {
    requests: mpsc::Receiver<Write>,
    keeper: KeeperHandle,
}

struct Write {
    op: OpId,
    data: Vec<u8>,
    close: bool,
    answer: Answer,
}

impl StdinHandle {
    /// Writes all of `data`, then closes when `close`. The error says how much was taken.
    pub(super) async fn write(
        &self,
        op: OpId,
        data: Vec<u8>,
        close: bool,
    ) -> Result<StdinWritten, WireError> {
        let (answer, written) = oneshot::channel();
        match self.requests.try_send(Write { op, data, close, answer }) {
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
    /// The writer of the input that `keeper` holds.
    pub(super) fn new(keeper: KeeperHandle) -> (Self, StdinHandle) {
        let (sender, requests) = mpsc::channel(QUEUE);
        (Self { requests, keeper }, StdinHandle { requests: sender })
    }

    /// Serves until it is closed, or the process closes its end.
    pub(super) async fn run(mut self) {
        while let Some(Write { op, data, close, answer }) = self.requests.recv().await {
            let result = self.keeper.write(op, data, close).await;
            let done = close || result.as_ref().is_err_and(|error| error.code == "stdin_closed");
            // A caller that has gone away needs no answer.
            let _ = answer.send(result);
            if done {
                return;
            }
        }
    }
}

/// Nobody reads any more, or it was closed before.
pub(super) fn closed() -> WireError {
    WireError::refused(ErrorCode::StdinClosed, "the standard input of the process is closed")
}
