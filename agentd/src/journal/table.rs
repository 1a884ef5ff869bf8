//! What the journal knows, in memory: entries, epochs, tombstones. All of it is bounded.
//!
//! Outcomes stay on disk; an entry holds their place. Entries that wait for an acknowledgement
//! are limited in number and bytes: at the limit the oldest outcomes that are over a day old give
//! way to their tombstones, and if there is none, nothing new is begun.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shared::ids::OpId;
use shared::protocol::call::Fence;
use shared::protocol::{ErrorCode, WireError};
use tokio::sync::watch;

use super::entry::{Digest, Effect, Entry, Event, Phase, Refusal};
use super::record::{Record, SettledOp, digest_of};
use crate::records::{Live, LiveRecord, Location};

/// Outcomes that may wait for their acknowledgement.
const UNACKNOWLEDGED_MAX: usize = 10_000;
/// Bytes of them.
const UNACKNOWLEDGED_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// An outcome younger than this never gives way.
const UNACKNOWLEDGED_KEPT_MS: i64 = 24 * 3600 * 1000;
/// Tombstones kept; the oldest give way.
const TOMBSTONES_MAX: usize = 16_384;
/// Scopes whose epoch is kept; the least recently used give way.
const SCOPES_MAX: usize = 16_384;
/// Tombstones in one record of a rewrite.
const TOMBSTONES_PER_RECORD: usize = 1_000;

/// What an attached asker waits for: the outcome, or why there is none.
pub(super) type Awaited = Option<Result<Bytes, WireError>>;

/// What is to be done with somebody who asks for an operation.
pub(super) enum Asked {
    /// Append this, report, then run.
    Claimed(Vec<u8>),
    /// Append this first when there is something, then wait.
    Attach(watch::Receiver<Awaited>, Option<Vec<u8>>),
    /// Append this first when there is something, then answer from here.
    Answer(Location, Option<Vec<u8>>),
    /// Refuse; when true, only once everything before is durable.
    Refuse(WireError, bool),
}

/// What is to be done with somebody who cancels.
pub(super) enum CancelAsked {
    /// Append this, report, then say cancelled.
    Record(Vec<u8>),
    /// Say cancelled once everything before is durable.
    Cancelled,
    /// It runs, or may have run.
    Running,
    /// It ended; its outcome is here unless it was acknowledged.
    Ended(Option<Location>),
}

/// The table. One mutex, held for moments.
#[derive(Default)]
pub(super) struct JournalTable {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: HashMap<OpId, Slot>,
    /// Operations whose outcome waits for its acknowledgement, oldest first; may hold settled ones.
    ended: VecDeque<OpId>,
    unacknowledged: usize,
    unacknowledged_bytes: u64,
    tombstones: VecDeque<OpId>,
    epochs: HashMap<String, Scope>,
    touches: u64,
    /// What the rewrite in progress moves, in the order of its records.
    moving: Vec<Option<OpId>>,
    /// Since the start, for people who ask who was refused.
    stale_epochs_refused: u64,
}

struct Slot {
    entry: Entry,
    at: Detail,
}

/// What each phase holds besides the entry.
enum Detail {
    /// Claimed, begun or interrupted.
    Open { method: String, fence: Fence, note: Option<Bytes>, outcome: watch::Sender<Awaited> },
    /// Ended.
    Ended { location: Location, at_ms: i64 },
    /// Settled, cancelling, cancelled.
    Bare,
}

struct Scope {
    epoch: u64,
    touched: u64,
}

impl JournalTable {
    /// Takes in one record of the file, oldest first.
    pub(super) fn replay(&self, record: Record, location: Location) {
        let mut state = self.lock();
        match record {
            Record::Begun { op, scope, epoch, digest, method } => {
                state.raise_epoch(&scope, epoch);
                let entry = Entry::replayed(Phase::Begun, Some(digest_of(&digest)));
                let fence = Fence { scope, epoch, hash: String::new() };
                let at =
                    Detail::Open { method, fence, note: None, outcome: watch::Sender::new(None) };
                state.slots.entry(op).or_insert(Slot { entry, at });
            }
            Record::Prepared { op, note: fresh } => {
                if let Some(Slot { at: Detail::Open { note, .. }, .. }) = state.slots.get_mut(&op) {
                    *note = Some(fresh.into());
                }
            }
            Record::Ended { op, digest, at_ms, .. } => {
                let entry = Entry::replayed(Phase::Ended, Some(digest_of(&digest)));
                state.end(op, entry, location, at_ms);
            }
            Record::Cancelled { op } => {
                let entry = Entry::replayed(Phase::Cancelled, None);
                state.slots.insert(op, Slot { entry, at: Detail::Bare });
                state.bury(op);
            }
            Record::NeverRan { op } => drop(state.slots.remove(&op)),
            Record::Settled { ops } => {
                for SettledOp { op, digest } in ops {
                    state.settle(op, digest_of(&digest));
                }
            }
            Record::Epoch { scope, epoch } => state.raise_epoch(&scope, epoch),
        }
    }

    /// After the last record: what had begun is interrupted. Gives operation, method and note.
    pub(super) fn restarted(&self) -> Vec<(OpId, String, Option<Bytes>)> {
        let mut state = self.lock();
        let mut interrupted = Vec::new();
        for (op, slot) in &mut state.slots {
            slot.entry.apply(Event::Restarted);
            if let (Phase::Interrupted, Detail::Open { method, note, .. }) =
                (slot.entry.phase(), &slot.at)
            {
                interrupted.push((*op, method.clone(), note.clone()));
            }
        }
        interrupted.sort_by_key(|(op, ..)| *op);
        interrupted
    }

    /// Operations that were refused since the start because their epoch was over.
    pub(super) fn stale_epochs_refused(&self) -> u64 {
        self.lock().stale_epochs_refused
    }

    /// Somebody asks for `op`.
    pub(super) fn ask(&self, op: OpId, fence: &Fence, method: &str, now_ms: i64) -> Asked {
        let mut state = self.lock();
        let newest = state.epochs.get(&fence.scope).map_or(0, |scope| scope.epoch);
        if fence.epoch < newest {
            return Asked::Refuse(state.stale_epoch(fence, newest), false);
        }
        let known = state.slots.contains_key(&op);
        if !known && state.is_full(now_ms) {
            let text = "the journal holds too many outcomes that nobody has acknowledged";
            return Asked::Refuse(WireError::refused(ErrorCode::JournalUnavailable, text), false);
        }
        let raised = (fence.epoch > newest)
            .then(|| Record::Epoch { scope: fence.scope.clone(), epoch: fence.epoch }.encode());
        state.raise_epoch(&fence.scope, fence.epoch);
        let digest = Digest::of(&fence.hash);
        let slot = state.slots.entry(op).or_insert_with(|| Slot {
            entry: Entry::absent(),
            at: Detail::Open {
                method: method.to_owned(),
                fence: fence.clone(),
                note: None,
                outcome: watch::Sender::new(None),
            },
        });
        let effect = slot.entry.apply(Event::Asked(digest)).first().copied();
        match (effect, &slot.at) {
            (Some(Effect::RecordBegin), _) => Asked::Claimed(begun(op, fence, digest, method)),
            (Some(Effect::Attach), Detail::Open { outcome, .. }) => {
                Asked::Attach(outcome.subscribe(), raised)
            }
            (Some(Effect::Answer), Detail::Ended { location, .. }) => {
                Asked::Answer(location.clone(), raised)
            }
            (Some(Effect::Refuse(refusal)), _) => {
                Asked::Refuse(refused(refusal, op), refusal == Refusal::Cancelled)
            }
            _ => Asked::Refuse(refused(Refusal::Unknown, op), false),
        }
    }

    /// The begin of `op` is durable.
    pub(super) fn begun(&self, op: OpId) {
        if let Some(slot) = self.lock().slots.get_mut(&op) {
            slot.entry.apply(Event::Recorded);
        }
    }

    /// The begin of `op` is not durable: whoever attached is told `error`.
    pub(super) fn not_begun(&self, op: OpId, error: &WireError) {
        if let Some(Slot { at: Detail::Open { outcome, .. }, .. }) = self.lock().slots.remove(&op) {
            outcome.send_replace(Some(Err(error.clone())));
        }
    }

    /// The note of `op` is durable.
    pub(super) fn prepared(&self, op: OpId, fresh: Bytes) {
        if let Some(Slot { at: Detail::Open { note, .. }, .. }) = self.lock().slots.get_mut(&op) {
            *note = Some(fresh);
        }
    }

    /// What was asked of an open `op`; none when it is not open.
    pub(super) fn digest(&self, op: OpId) -> Option<Digest> {
        self.lock().slots.get(&op).and_then(|slot| slot.entry.digest())
    }

    /// The outcome of `op` is known and on its way to the disk: whoever attaches is given it.
    pub(super) fn told(&self, op: OpId, bytes: Bytes) {
        if let Some(Slot { at: Detail::Open { outcome, .. }, .. }) = self.lock().slots.get(&op) {
            outcome.send_replace(Some(Ok(bytes)));
        }
    }

    /// The outcome of `op` is durable at `location`: whoever attached is given it.
    pub(super) fn ended(&self, op: OpId, location: Location, at_ms: i64, bytes: Bytes) {
        let mut state = self.lock();
        let Some(mut slot) = state.slots.remove(&op) else { return };
        slot.entry.apply(Event::Ended);
        if let Detail::Open { outcome, .. } = &slot.at {
            outcome.send_replace(Some(Ok(bytes)));
        }
        state.end(op, slot.entry, location, at_ms);
    }

    /// `op` provably never ran. Gives the record of it.
    pub(super) fn never_ran(&self, op: OpId) -> Vec<u8> {
        self.lock().slots.remove(&op);
        Record::NeverRan { op }.encode()
    }

    /// Somebody cancels `op` under `fence`.
    pub(super) fn cancel(&self, op: OpId, fence: &Fence) -> Result<CancelAsked, WireError> {
        let mut state = self.lock();
        let newest = state.epochs.get(&fence.scope).map_or(0, |scope| scope.epoch);
        if fence.epoch < newest {
            return Err(state.stale_epoch(fence, newest));
        }
        state.raise_epoch(&fence.scope, fence.epoch);
        let slot = state
            .slots
            .entry(op)
            .or_insert_with(|| Slot { entry: Entry::absent(), at: Detail::Bare });
        Ok(match (slot.entry.apply(Event::Cancel).first(), &slot.at) {
            (Some(Effect::RecordCancel), _) => {
                CancelAsked::Record(Record::Cancelled { op }.encode())
            }
            (Some(Effect::SayCancelled), _) => CancelAsked::Cancelled,
            (Some(Effect::SayEnded), Detail::Ended { location, .. }) => {
                CancelAsked::Ended(Some(location.clone()))
            }
            (Some(Effect::SayEnded), _) => CancelAsked::Ended(None),
            _ => CancelAsked::Running,
        })
    }

    /// The cancellation of `op` is durable, or not.
    pub(super) fn cancel_recorded(&self, op: OpId, durable: bool) {
        let mut state = self.lock();
        if !durable {
            state.slots.remove(&op);
            return;
        }
        if let Some(slot) = state.slots.get_mut(&op) {
            slot.entry.apply(Event::Recorded);
        }
        state.bury(op);
    }

    /// Where `op` stands, and its outcome's place when it ended.
    pub(super) fn phase(&self, op: OpId) -> (Phase, Option<Location>) {
        match self.lock().slots.get(&op) {
            None => (Phase::Absent, None),
            Some(Slot { entry, at: Detail::Ended { location, .. } }) => {
                (entry.phase(), Some(location.clone()))
            }
            Some(slot) => (slot.entry.phase(), None),
        }
    }

    /// The outcomes of `ops` are committed elsewhere. Gives the record of it, if any was new.
    pub(super) fn acknowledge(&self, ops: &[OpId]) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let settled: Vec<SettledOp> = ops.iter().filter_map(|op| state.acknowledge(*op)).collect();
        (!settled.is_empty()).then(|| Record::Settled { ops: settled }.encode())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, op: OpId, entry: Entry, location: Location, at_ms: i64) {
        self.unacknowledged += 1;
        self.unacknowledged_bytes += u64::from(location.len());
        self.ended.push_back(op);
        self.slots.insert(op, Slot { entry, at: Detail::Ended { location, at_ms } });
    }

    fn acknowledge(&mut self, op: OpId) -> Option<SettledOp> {
        let slot = self.slots.get(&op)?;
        let (Phase::Ended, Some(digest)) = (slot.entry.phase(), slot.entry.digest()) else {
            return None;
        };
        self.settle(op, digest);
        Some(SettledOp { op, digest: digest.0.to_vec() })
    }

    fn settle(&mut self, op: OpId, digest: Digest) {
        let entry = Entry::replayed(Phase::Settled, Some(digest));
        let former = self.slots.insert(op, Slot { entry, at: Detail::Bare });
        if let Some(Slot { at: Detail::Ended { location, .. }, .. }) = former {
            self.unacknowledged -= 1;
            self.unacknowledged_bytes -= u64::from(location.len());
        }
        self.bury(op);
    }

    fn bury(&mut self, op: OpId) {
        self.tombstones.push_back(op);
        if self.tombstones.len() > TOMBSTONES_MAX
            && let Some(oldest) = self.tombstones.pop_front()
        {
            self.slots.remove(&oldest);
        }
    }

    /// Whether nothing more may begin; makes room first where that is allowed.
    fn is_full(&mut self, now_ms: i64) -> bool {
        let over = |state: &Self| {
            state.unacknowledged >= UNACKNOWLEDGED_MAX
                || state.unacknowledged_bytes >= UNACKNOWLEDGED_MAX_BYTES
        };
        // Settled ones stay in the queue until they come to its front.
        while let Some(op) = self.ended.front().copied() {
            let slot = self.slots.get(&op).map(|slot| (&slot.at, slot.entry.digest()));
            if let Some((Detail::Ended { at_ms, .. }, Some(digest))) = slot {
                if !over(self) || now_ms - at_ms < UNACKNOWLEDGED_KEPT_MS {
                    break;
                }
                tracing::warn!(op.id = %op, "an outcome was never acknowledged and gives way");
                self.settle(op, digest);
            }
            self.ended.pop_front();
        }
        over(self)
    }

    fn raise_epoch(&mut self, scope: &str, epoch: u64) {
        self.touches += 1;
        let touched = self.touches;
        if let Some(known) = self.epochs.get_mut(scope) {
            known.epoch = known.epoch.max(epoch);
            known.touched = touched;
            return;
        }
        if self.epochs.len() >= SCOPES_MAX {
            let oldest = self.epochs.iter().min_by_key(|(_, scope)| scope.touched);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.epochs.remove(&oldest);
            }
        }
        self.epochs.insert(scope.to_owned(), Scope { epoch, touched });
    }
}

impl Live for JournalTable {
    fn live(&self) -> Vec<LiveRecord> {
        let mut state = self.lock();
        let mut records = Vec::new();
        let mut moving = Vec::new();
        let mut fresh = |record: &Record| {
            records.push(LiveRecord::Fresh(record.encode()));
            moving.push(None);
        };
        for (scope, Scope { epoch, .. }) in &state.epochs {
            fresh(&Record::Epoch { scope: scope.clone(), epoch: *epoch });
        }
        let mut settled = Vec::new();
        for op in &state.tombstones {
            match state.slots.get(op).map(|slot| (slot.entry.phase(), slot.entry.digest())) {
                Some((Phase::Settled, Some(digest))) => {
                    settled.push(SettledOp { op: *op, digest: digest.0.to_vec() });
                }
                Some((Phase::Cancelled, _)) => fresh(&Record::Cancelled { op: *op }),
                _ => {}
            }
        }
        for ops in settled.chunks(TOMBSTONES_PER_RECORD) {
            fresh(&Record::Settled { ops: ops.to_vec() });
        }
        for (op, slot) in &state.slots {
            if let (Detail::Open { method, fence, note, .. }, Some(digest)) =
                (&slot.at, slot.entry.digest())
            {
                records.push(LiveRecord::Fresh(begun(*op, fence, digest, method)));
                moving.push(None);
                if let Some(note) = note {
                    let note = note.to_vec();
                    records.push(LiveRecord::Fresh(Record::Prepared { op: *op, note }.encode()));
                    moving.push(None);
                }
            }
        }
        for op in &state.ended {
            if let Some(Slot { at: Detail::Ended { location, .. }, .. }) = state.slots.get(op) {
                records.push(LiveRecord::Kept(location.clone()));
                moving.push(Some(*op));
            }
        }
        state.moving = moving;
        records
    }

    fn moved(&self, locations: Vec<Location>) {
        let mut state = self.lock();
        let moving = std::mem::take(&mut state.moving);
        for (op, fresh) in moving.into_iter().zip(locations) {
            let slot = op.and_then(|op| state.slots.get_mut(&op));
            if let Some(Slot { at: Detail::Ended { location, .. }, .. }) = slot {
                *location = fresh;
            }
        }
    }
}

fn begun(op: OpId, fence: &Fence, digest: Digest, method: &str) -> Vec<u8> {
    let Fence { scope, epoch, .. } = fence.clone();
    let digest = digest.0.to_vec();
    Record::Begun { op, scope, epoch, digest, method: method.to_owned() }.encode()
}

impl State {
    fn stale_epoch(&mut self, fence: &Fence, newest: u64) -> WireError {
        self.stale_epochs_refused += 1;
        stale_epoch(fence, newest)
    }
}

fn stale_epoch(fence: &Fence, newest: u64) -> WireError {
    let text = format!(
        "epoch {} of {} is over: {newest} has been seen; somebody else has taken over",
        fence.epoch, fence.scope
    );
    WireError::refused(ErrorCode::StaleEpoch, text)
        .with("epoch", fence.epoch)
        .with("newest_epoch", newest)
}

fn refused(refusal: Refusal, op: OpId) -> WireError {
    match refusal {
        Refusal::Conflict => WireError::refused(
            ErrorCode::OperationConflict,
            format!("{op} was used for another operation"),
        ),
        Refusal::Cancelled => WireError::refused(
            ErrorCode::OperationCancelled,
            format!("{op} was cancelled before it began"),
        ),
        Refusal::Settled => WireError::refused(
            ErrorCode::OperationConflict,
            format!("{op} was done and its outcome acknowledged; it is never run again"),
        ),
        Refusal::Unknown => WireError::failed(
            ErrorCode::OutcomeUnknown,
            format!("{op} had begun when the daemon ended; how far it got is not known"),
        ),
    }
}
