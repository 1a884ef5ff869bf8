//! The way into the journal: admission, tokens, recovery.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::de::IgnoredAny;
use shared::clock::Clock;
use shared::fault;
use shared::ids::OpId;
use shared::lifecycle::Lifecycle;
use shared::limits::OUTCOME_MAX_BYTES;
use shared::protocol::call::Fence;
use shared::protocol::operation::OperationState;
use shared::protocol::{ErrorCode, Reply, WireError};
use tokio::sync::watch;

use super::entry::Phase;
use super::record::Record;
use super::table::{Asked, Awaited, CancelAsked, JournalTable};
use crate::records::{
    Location, OpenError, RecordFile, Recorder, RecorderError, RecorderHandle, Urgency,
};

/// Pause between tries to record an outcome while the disk is full.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// The journal. Cheap to clone; the recorder ends when the last clone and token are gone.
#[derive(Clone)]
pub struct JournalHandle {
    shared: Arc<Shared>,
}

struct Shared {
    table: Arc<JournalTable>,
    recorder: RecorderHandle,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
}

/// What somebody who asks for an operation is told.
pub enum Admission {
    /// Run it. Nobody else is told this until the token's outcome is recorded.
    Begin(Token),
    /// It has ended: its recorded outcome, an encoded `Reply`.
    Answered(Bytes),
    /// It runs: wait with [`Attached::outcome`].
    Attach(Attached),
    /// It is not run, or must not be repeated.
    Refused(WireError),
}

/// The right, and the duty, to run one operation and to record how it ended.
///
/// Dropped without an outcome (a panic), the outcome recorded is `outcome_unknown`.
pub struct Token {
    op: OpId,
    shared: Arc<Shared>,
    /// Until the begin is known to be durable, or not. Never locked: only shared references to a
    /// token need it to be shareable.
    begun: Mutex<Option<Begun>>,
    committed: bool,
}

type Begun = Pin<Box<dyn Future<Output = Result<(), RecorderError>> + Send>>;

/// Somebody else runs it; here comes its outcome.
pub struct Attached {
    outcome: watch::Receiver<Awaited>,
}

/// An operation that had begun when the daemon ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// Which.
    pub op_id: OpId,
    /// Its method's name.
    pub method: String,
    /// What [`Token::prepared`] recorded last.
    pub note: Option<Bytes>,
}

/// What its service says about an interrupted operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It provably had no effect, and may be asked for again.
    NeverRan,
    /// It had its effect, or that was made good now: the encoded `Reply`.
    Ended(Bytes),
}

impl JournalHandle {
    /// Operations that were refused since the start because somebody else had taken over.
    #[must_use]
    pub fn stale_epochs_refused(&self) -> u64 {
        self.shared.table.stale_epochs_refused()
    }

    /// Opens the journal in `dir`, replays it and starts its recorder. Blocks for the replay.
    ///
    /// What was interrupted comes back beside the handle; settle it before the first call.
    pub fn open(
        dir: &Path,
        lifecycle: &Lifecycle,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<Interrupted>), OpenError> {
        let table = Arc::new(JournalTable::default());
        let file = RecordFile::open(&dir.join("operations"), |location, bytes| {
            if let Some(record) = Record::decode(bytes) {
                table.replay(record, location);
            }
        })?;
        let interrupted = table
            .restarted()
            .into_iter()
            .map(|(op_id, method, note)| Interrupted { op_id, method, note })
            .collect();
        let live = Arc::clone(&table);
        let (recorder, handle) = Recorder::new(file, live, lifecycle.clone());
        lifecycle.spawn_vital("journal", recorder.run());
        let lifecycle = lifecycle.clone();
        let shared = Shared { table, recorder: handle, lifecycle, clock };
        Ok((Self { shared: Arc::new(shared) }, interrupted))
    }

    /// Asks to run `op`. [`Admission::Begin`] means that the begin is durable.
    ///
    /// Not cancel-safe: call it where it runs to its end.
    pub async fn begin(&self, op: OpId, fence: &Fence, method: &str) -> Admission {
        match self.claim(op, fence, method).await {
            Admission::Begin(mut token) => match token.begun().await {
                Ok(()) => Admission::Begin(token),
                Err(error) => Admission::Refused(error),
            },
            other => other,
        }
    }

    /// As [`begin`](Self::begin), but the begin is only on its way to the disk: wait for
    /// [`Token::begun`] before the effect. For a service that has a record of its own to sync.
    pub async fn claim(&self, op: OpId, fence: &Fence, method: &str) -> Admission {
        let Shared { table, recorder, clock, .. } = &*self.shared;
        fault::pass("w2 journal begin").await;
        match table.ask(op, fence, method, clock.now_ms()) {
            Asked::Claimed(record) => {
                let begun = Arc::clone(table);
                let begun = recorder.append(record, Urgency::Begin, move |_| begun.begun(op));
                Admission::Begin(Token {
                    op,
                    shared: Arc::clone(&self.shared),
                    begun: Mutex::new(Some(Box::pin(begun))),
                    committed: false,
                })
            }
            Asked::Attach(outcome, raised) => match self.raise(raised).await {
                Ok(()) => Admission::Attach(Attached { outcome }),
                Err(error) => Admission::Refused(error),
            },
            Asked::Answer(location, raised) => match self.raise(raised).await {
                Ok(()) => match self.outcome_at(location).await {
                    Ok(bytes) => Admission::Answered(bytes),
                    Err(error) => Admission::Refused(error),
                },
                Err(error) => Admission::Refused(error),
            },
            // "Cancelled" is only said when it will still be true after a crash.
            Asked::Refuse(error, true) => match recorder.barrier().await {
                Ok(()) => Admission::Refused(error),
                Err(error) => Admission::Refused(unavailable(error)),
            },
            Asked::Refuse(error, false) => Admission::Refused(error),
        }
    }

    /// What is known of `op`.
    pub async fn query(&self, op: OpId) -> OperationState {
        match self.shared.table.phase(op) {
            (Phase::Absent, _) => OperationState::Absent,
            (Phase::Claimed | Phase::Begun | Phase::Interrupted, _) => OperationState::Running,
            (Phase::Cancelling | Phase::Cancelled, _) => OperationState::Cancelled,
            (Phase::Ended, Some(location)) => self.ended_state(Some(location)).await,
            (Phase::Ended | Phase::Settled, _) => OperationState::Done,
        }
    }

    /// Makes sure that `op` never begins; says so, or says that it has begun.
    pub async fn cancel(&self, op: OpId, fence: &Fence) -> Result<OperationState, WireError> {
        let Shared { table, recorder, .. } = &*self.shared;
        match table.cancel(op, fence)? {
            CancelAsked::Record(record) => {
                let durable = Arc::clone(table);
                let written = recorder
                    .append(record, Urgency::Begin, move |_| durable.cancel_recorded(op, true))
                    .await;
                if written.is_err() {
                    table.cancel_recorded(op, false);
                }
                written.map(|()| OperationState::Cancelled).map_err(unavailable)
            }
            CancelAsked::Cancelled => {
                recorder.barrier().await.map_err(unavailable)?;
                Ok(OperationState::Cancelled)
            }
            CancelAsked::Running => Ok(OperationState::Running),
            CancelAsked::Ended(location) => Ok(self.ended_state(location).await),
        }
    }

    /// The outcomes of `ops` are committed by the control plane: they may be dropped.
    pub fn acknowledge(&self, ops: &[OpId]) {
        if let Some(record) = self.shared.table.acknowledge(ops) {
            self.shared.recorder.append_lazily(record, Urgency::Begin, drop);
        }
    }

    /// What its service found out about an interrupted operation.
    pub async fn settle(&self, op: OpId, settlement: Settlement) -> Result<(), WireError> {
        let Shared { table, recorder, .. } = &*self.shared;
        match settlement {
            Settlement::NeverRan => {
                match recorder.append(table.never_ran(op), Urgency::Finish, drop).await {
                    // The next start finds it interrupted once more, and that nothing came of it. A
                    // full disk must not keep the daemon from its processes.
                    Err(RecorderError::NoSpace) => {
                        tracing::warn!(op.id = %op, "the disk is full; what never ran is not noted");
                        Ok(())
                    }
                    written => written.map_err(unavailable),
                }
            }
            Settlement::Ended(outcome) => self.shared.record_end(op, outcome).await,
        }
    }

    /// Waits until everything asked for before is durable. For an orderly end.
    pub async fn barrier(&self) {
        // Its failure ends the daemon and is logged there.
        let _ = self.shared.recorder.barrier().await;
    }

    async fn raise(&self, epoch: Option<Vec<u8>>) -> Result<(), WireError> {
        let Some(record) = epoch else { return Ok(()) };
        let written = self.shared.recorder.append(record, Urgency::Begin, drop).await;
        written.map_err(unavailable)
    }

    async fn ended_state(&self, location: Option<Location>) -> OperationState {
        let Some(location) = location else { return OperationState::Done };
        let outcome = self.outcome_at(location).await;
        match outcome.map(|bytes| shared::wire::decode::<Reply<IgnoredAny>>(&bytes)) {
            Ok(Ok(Reply::Err(error))) | Err(error) => OperationState::Failed { error },
            Ok(_) => OperationState::Done,
        }
    }

    async fn outcome_at(&self, location: Location) -> Result<Bytes, WireError> {
        let read = self.shared.lifecycle.blocking("journal.read", move || location.read()).await;
        match read.ok().and_then(|bytes| Record::decode(&bytes)) {
            Some(Record::Ended { outcome, .. }) => Ok(outcome.into()),
            _ => Err(WireError::failed(
                ErrorCode::OutcomeUnknown,
                "the journal has the outcome and cannot read it; see the daemon's log",
            )),
        }
    }
}

impl Token {
    /// Waits until the begin is durable. An error means that nothing was begun: the operation is
    /// absent again, whoever attached is told the same, and the token has done its duty.
    pub async fn begun(&mut self) -> Result<(), WireError> {
        let waiting = self.begun.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = waiting.as_mut() else { return Ok(()) };
        let written = begun.as_mut().await;
        *waiting = None;
        match written {
            Ok(()) => {
                fault::pass("w3 journal begun").await;
                Ok(())
            }
            Err(error) => {
                let error = unavailable(error);
                self.shared.table.not_begun(self.op, &error);
                self.committed = true;
                Err(error)
            }
        }
    }

    /// Records what the operation's service needs after a crash. Durable when it returns; call it
    /// after the last step that can be undone and before the first that cannot.
    pub async fn prepared(&self, note: Bytes) -> Result<(), WireError> {
        let record = Record::Prepared { op: self.op, note: note.to_vec() }.encode();
        let (op, table) = (self.op, Arc::clone(&self.shared.table));
        let then = move |_| table.prepared(op, note);
        self.shared.recorder.append(record, Urgency::Begin, then).await.map_err(unavailable)
    }

    /// Tells the outcome at once and records it soon. Only for a service that can find the outcome
    /// out again from a durable record of its own ([`Settlement::Ended`]) after a crash.
    pub fn commit_recoverable(mut self, outcome: Bytes) -> Bytes {
        self.committed = true;
        fault::point("w4 journal told");
        self.shared.table.told(self.op, outcome.clone());
        let (op, at_ms) = (self.op, self.shared.clock.now_ms());
        let record = self.shared.end_record(op, at_ms, &outcome);
        let (table, bytes) = (Arc::clone(&self.shared.table), outcome.clone());
        let then = move |location| table.ended(op, location, at_ms, bytes);
        self.shared.recorder.append_lazily(record, Urgency::Finish, then);
        outcome
    }

    /// Records the outcome (an encoded `Reply`); durable when it returns. Whoever is attached gets
    /// it too. Waits while the disk is full: the effect has been had, so it must not be forgotten.
    ///
    /// An outcome over 1 MiB is replaced by an error that says so. An error means that the
    /// journal failed for good: nothing may be acknowledged.
    pub async fn commit(mut self, outcome: Bytes) -> Result<Bytes, WireError> {
        self.committed = true;
        let outcome = if outcome.len() > OUTCOME_MAX_BYTES { too_large(&outcome) } else { outcome };
        fault::pass("w5 journal commit").await;
        self.shared.record_end(self.op, outcome.clone()).await?;
        fault::pass("w5 journal committed").await;
        Ok(outcome)
    }
}

impl Shared {
    async fn record_end(&self, op: OpId, outcome: Bytes) -> Result<(), WireError> {
        let at_ms = self.clock.now_ms();
        let record = self.end_record(op, at_ms, &outcome);
        loop {
            let (table, outcome) = (Arc::clone(&self.table), outcome.clone());
            let then = move |location| table.ended(op, location, at_ms, outcome);
            match self.recorder.append(record.clone(), Urgency::Finish, then).await {
                Ok(()) => return Ok(()),
                Err(RecorderError::NoSpace) => {
                    tracing::warn!(op.id = %op, "the disk is full; an outcome waits in memory");
                    tokio::time::sleep(FULL_DISK_PAUSE).await;
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
    }
}

impl Shared {
    fn end_record(&self, op: OpId, at_ms: i64, outcome: &Bytes) -> Vec<u8> {
        let digest = self.table.digest(op).map_or_else(Vec::new, |digest| digest.0.to_vec());
        Record::Ended { op, digest, at_ms, outcome: outcome.to_vec() }.encode()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // After a hard stop the entry stays begun: the next start finds out.
        if self.committed || self.shared.lifecycle.hard().is_cancelled() {
            return;
        }
        tracing::error!(op.id = %self.op, "an operation ended without an outcome");
        let error = WireError::failed(
            ErrorCode::OutcomeUnknown,
            "the daemon failed while it ran the operation; its log has more",
        );
        let outcome = Bytes::from(shared::wire::encode(&Reply::<()>::Err(error)));
        let (shared, op) = (Arc::clone(&self.shared), self.op);
        self.shared.lifecycle.spawn_serving("journal.unfinished", async move {
            // The journal's own failure ends the daemon and is logged there.
            let _ = shared.record_end(op, outcome).await;
        });
    }
}

impl Attached {
    /// Waits for the outcome, an encoded `Reply`. The error: it was not begun, or the daemon ends.
    pub async fn outcome(mut self) -> Result<Bytes, WireError> {
        match self.outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(outcome)) => outcome,
            _ => Err(WireError::refused(
                ErrorCode::ShuttingDown,
                "the daemon is ending; ask again after the reconnect",
            )),
        }
    }
}

fn unavailable(error: RecorderError) -> WireError {
    WireError::refused(ErrorCode::JournalUnavailable, format!("nothing was begun: {error}"))
        .with("cause", if error == RecorderError::NoSpace { "disk_full" } else { "failed" })
}

fn too_large(outcome: &Bytes) -> Bytes {
    let error = WireError::failed(
        ErrorCode::FrameTooLarge,
        format!(
            "it was done; its answer has {} bytes and the limit is {OUTCOME_MAX_BYTES}",
            outcome.len()
        ),
    );
    shared::wire::encode(&Reply::<()>::Err(error)).into()
}
