//! The task that owns a record file: batches, group commit, compaction.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shared::lifecycle::Lifecycle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::batch::BATCH_MAX_BYTES;
use super::file::{AppendError, Location, RecordFile, Urgency};
use crate::resident::give_back_heap;

/// Records that may wait for the disk. Full is a short wait: each of them is one operation that
/// is already bounded by the streams of the link.
const QUEUE: usize = 256;
/// Records of one batch, at most.
const BATCH_RECORDS_MAX: usize = 64;
/// A file smaller than this is never rewritten.
const REWRITE_MIN_BYTES: u64 = 1024 * 1024;
/// How long a lazy record waits for one that pays for the sync.
const LAZY_TIME: Duration = Duration::from_millis(200);

/// What a rewrite keeps; implemented by the table that the records describe.
pub trait Live: Send + Sync + 'static {
    /// Every record that still matters, in an order that replays.
    fn live(&self) -> Vec<LiveRecord>;

    /// The new places of what [`Live::live`] gave, in its order. Nothing was appended in between.
    fn moved(&self, locations: Vec<Location>);
}

/// One record that a rewrite keeps.
pub enum LiveRecord {
    /// As it stands in the file.
    Kept(Location),
    /// Made from memory.
    Fresh(Vec<u8>),
}

/// Why a record is not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecorderError {
    /// The disk is full; nothing was written.
    #[error("the disk of the state directory is full")]
    NoSpace,
    /// The file failed, or the daemon is ending. Nothing is acknowledged any more.
    #[error("the record file of the state directory cannot be written")]
    Gone,
}

/// Appends records. Cheap to clone.
#[derive(Clone)]
pub struct RecorderHandle {
    requests: mpsc::Sender<Request>,
}

/// Owns a record file. Ends when every handle is gone, or when the file fails.
pub struct Recorder {
    requests: mpsc::Receiver<Request>,
    file: RecordFile,
    live: Arc<dyn Live>,
    lifecycle: Lifecycle,
    rewritten_len: u64,
}

type Waiter = oneshot::Sender<Result<(), RecorderError>>;

type Then = Box<dyn FnOnce(Location) + Send>;

struct Request {
    /// None: only wait for what was asked before.
    record: Option<Vec<u8>>,
    urgency: Urgency,
    /// Need not be durable soon: goes with the next record that must be.
    lazy: bool,
    /// Run when the record is durable, before anything else happens to the file.
    then: Then,
    waiter: Waiter,
}

impl RecorderHandle {
    /// Appends one record; durable when it returns.
    ///
    /// `then` is run as soon as the record is durable and *before a rewrite can happen*: a table
    /// that learnt of its record only later could be asked for its live records in between, and
    /// would leave this one out. It may take a lock for a moment and nothing more.
    ///
    /// The order of calls is the order in the file. Cancelled: the record may still be written.
    pub fn append(
        &self,
        record: Vec<u8>,
        urgency: Urgency,
        then: impl FnOnce(Location) + Send + 'static,
    ) -> impl Future<Output = Result<(), RecorderError>> + Send + 'static {
        self.ask(Some(record), urgency, Box::new(then))
    }

    /// Waits until everything asked for before is durable.
    pub async fn barrier(&self) -> Result<(), RecorderError> {
        self.ask(None, Urgency::Finish, Box::new(drop)).await
    }

    /// Appends without waiting for the disk, and without a sync of its own: it becomes durable with
    /// the next record that must be, or within 200 ms. For what a crash may lose, because it was
    /// only a convenience or can be found out again.
    pub fn append_lazily(
        &self,
        record: Vec<u8>,
        urgency: Urgency,
        then: impl FnOnce(Location) + Send + 'static,
    ) {
        if shared::fault::rarely("records: lazy one lost") {
            return;
        }
        let (waiter, _) = oneshot::channel();
        let (record, then) = (Some(record), Box::new(then));
        // Full: as if a crash had lost it.
        let _ = self.requests.try_send(Request { record, urgency, lazy: true, then, waiter });
    }

    fn ask(
        &self,
        record: Option<Vec<u8>>,
        urgency: Urgency,
        then: Then,
    ) -> impl Future<Output = Result<(), RecorderError>> + Send + 'static {
        let (waiter, answer) = oneshot::channel();
        let request = Request { record, urgency, lazy: false, then, waiter };
        // Tried at once and not at the first poll: callers rely on the order of their calls.
        let sent = self.requests.try_send(request);
        let requests = self.requests.clone();
        async move {
            match sent {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(request)) => {
                    requests.send(request).await.map_err(|_| RecorderError::Gone)?;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(RecorderError::Gone),
            }
            answer.await.unwrap_or(Err(RecorderError::Gone))
        }
    }
}

impl Recorder {
    /// A recorder of `file`; `live` says what a rewrite keeps.
    pub fn new(
        file: RecordFile,
        live: Arc<dyn Live>,
        lifecycle: Lifecycle,
    ) -> (Self, RecorderHandle) {
        let (sender, requests) = mpsc::channel(QUEUE);
        // Counts as just rewritten, so that the first rewrite is due at twice the size found.
        let rewritten_len = file.len();
        (
            Self { requests, file, live, lifecycle, rewritten_len },
            RecorderHandle { requests: sender },
        )
    }

    /// Serves until every handle is gone or the file fails.
    pub async fn run(mut self) {
        let mut taken = Vec::with_capacity(BATCH_RECORDS_MAX);
        while self.take(&mut taken).await {
            while !taken.is_empty() {
                let later = taken.split_off(batch_len(&taken));
                let batch = std::mem::replace(&mut taken, later);
                match self.write(batch).await {
                    Ok(recorder) => self = recorder,
                    Err(error) => {
                        tracing::error!(error = %error, "a record file failed; the daemon ends");
                        return;
                    }
                }
            }
            if self.file.len() > 2 * self.rewritten_len + REWRITE_MIN_BYTES
                || shared::fault::rarely("records: rewritten early")
            {
                self = self.rewrite().await;
            }
        }
    }

    /// Waits for something that must be written now. False: there is nothing more, for ever.
    async fn take(&mut self, taken: &mut Vec<Request>) -> bool {
        if self.requests.recv_many(taken, BATCH_RECORDS_MAX).await == 0 {
            return false;
        }
        let deadline = Instant::now() + LAZY_TIME;
        while taken.iter().all(|request| request.lazy) && taken.len() < BATCH_RECORDS_MAX {
            let room = BATCH_RECORDS_MAX - taken.len();
            match timeout_at(deadline, self.requests.recv_many(taken, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    async fn write(mut self, batch: Vec<Request>) -> Result<Self, AppendError> {
        let lifecycle = self.lifecycle.clone();
        lifecycle
            .blocking("records.append", move || {
                // A full disk refuses the beginnings of the batch and not its endings.
                let full = match append(&mut self.file, batch, Urgency::Begin)? {
                    Written::All => return Ok(self),
                    Written::NoSpace(batch) => batch,
                };
                let (begin, finish): (Vec<_>, Vec<_>) =
                    full.into_iter().partition(|request| request.urgency == Urgency::Begin);
                refuse(begin);
                if let Written::NoSpace(finish) = append(&mut self.file, finish, Urgency::Finish)? {
                    refuse(finish);
                }
                Ok(self)
            })
            .await
    }

    async fn rewrite(mut self) -> Self {
        let live = self.live.live();
        let lifecycle = self.lifecycle.clone();
        let (mut this, moved) = lifecycle
            .blocking("records.rewrite", move || {
                let moved = self.file.rewrite(live.into_iter().map(LiveRecord::into_bytes));
                // All of them at once were larger than anything else.
                give_back_heap();
                (self, moved)
            })
            .await;
        match moved {
            Ok(locations) => this.live.moved(locations),
            Err(error) => tracing::warn!(%error, "a record file could not be made smaller"),
        }
        // Also after an error: the next try is due when the file has doubled again.
        this.rewritten_len = this.file.len();
        this
    }
}

enum Written {
    All,
    NoSpace(Vec<Request>),
}

fn append(
    file: &mut RecordFile,
    batch: Vec<Request>,
    urgency: Urgency,
) -> Result<Written, AppendError> {
    let records: Vec<&[u8]> =
        batch.iter().filter_map(|request| request.record.as_deref()).collect();
    let written = if records.is_empty() { Ok(Vec::new()) } else { file.append(&records, urgency) };
    match written {
        Ok(locations) => {
            let mut locations = locations.into_iter();
            for request in batch {
                if let Some(location) = request.record.as_ref().and_then(|_| locations.next()) {
                    (request.then)(location);
                }
                let _ = request.waiter.send(Ok(()));
            }
            Ok(Written::All)
        }
        Err(AppendError::NoSpace) => Ok(Written::NoSpace(batch)),
        // The waiters see their channel close, which says "gone".
        Err(error) => Err(error),
    }
}

fn refuse(batch: Vec<Request>) {
    for request in batch {
        let _ = request.waiter.send(Err(RecorderError::NoSpace));
    }
}

/// How many of the requests fit into one batch; at least one.
fn batch_len(requests: &[Request]) -> usize {
    let mut bytes = 0;
    let fits = |request: &&Request| {
        bytes += request.record.as_ref().map_or(0, |record| record.len() + 4);
        bytes <= BATCH_MAX_BYTES
    };
    requests.iter().take_while(fits).count().max(1)
}

impl LiveRecord {
    pub(crate) fn into_bytes(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Kept(location) => location.read(),
            Self::Fresh(bytes) => Ok(bytes),
        }
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
