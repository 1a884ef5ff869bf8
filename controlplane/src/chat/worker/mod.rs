//! The worker: this replica's lease, the chats it takes, one runner for each.
//!
//! ```text
//!  register ─► lease keeper: renew each 3 s ── 8 s without success ─► lost: every runner leaves
//!     ▲     ├► acquire loop: hint or 1 s ─► store.acquire ─┐             │
//!     │     └► seats (claims of ChatService) ──────────────┴► runner per chat
//!     └───────────────── under a new replica id ◄────────────────────────┘
//! ```
//!
//! A lease lasts 10 s in the database; the replica stops itself after 8 s by its own monotonic
//! clock, counted from *before* the renewal that succeeded last. So two replicas never work on one
//! chat, whatever the wall clocks say; and should they, the fences hold.
//!
//! A chat that the rows give to this replica and that no runner of it drives (the answer to the claim
//! was lost, or a chat could not be given back) is taken anew after a poll.
//!
//! On a soft stop no chat is taken any more, each runner parks (an answer that is nearly there may
//! end) and gives its chat back, and the lease is released: another replica goes on at once. A
//! runner that panics stops its own chat with an error; the others live.

mod lease;
mod orphans;
mod seat;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared::ids::{ChatId, ReplicaId, RunnerId};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use seat::{Seat, WorkerHandle};

use super::runner::{Runner, Shared, internal_error};
use crate::store::chats::Acquired;
use crate::store::{ReplicaAddresses, ReplicaStore, StoreError};
use lease::Lease;
pub use lease::{LEASE, LEASE_BOUNDS};
use orphans::{Driving, Orphans};
use seat::Seated;

/// Backstop for a lost hint.
const ACQUIRE_POLL: Duration = Duration::from_secs(1);
/// Chats taken in one transaction.
const ACQUIRE_BATCH: u32 = 10;
/// Pause before a database that did not answer is asked for work again.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// Drives the chats that this replica owns. Made by [`super::Engine`].
pub struct Worker {
    shared: Arc<Shared>,
    replicas: ReplicaStore,
    lease: Duration,
    addresses: ReplicaAddresses,
    handle: WorkerHandle,
    seats: mpsc::Receiver<Seated>,
    driving: Driving,
    standing: watch::Sender<Option<ReplicaId>>,
}

/// Which chat a runner's task drives, for the case that it panics.
type Driven = HashMap<Id, (ChatId, RunnerId)>;

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, replicas: ReplicaStore, lease: Duration) -> Self {
        let (handle, seats) =
            WorkerHandle::new(Arc::clone(&shared.tools), shared.store.running_limits().are_set());
        let addresses = ReplicaAddresses::default();
        let standing = watch::Sender::new(None);
        Self {
            shared,
            replicas,
            lease,
            addresses,
            handle,
            seats,
            standing,
            driving: Driving::default(),
        }
    }

    /// Where other replicas and daemons reach this one; said in each lease.
    #[must_use]
    pub fn reached_at(mut self, addresses: ReplicaAddresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// The replica as long as its lease runs, with what has to end before the lease does; none: there
    /// is no lease.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Option<ReplicaId>> {
        self.standing.subscribe()
    }

    /// For those who begin turns.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }

    /// Works until `soft` is cancelled, then parks every chat and releases the lease.
    pub async fn run(mut self, soft: CancellationToken) {
        while !soft.is_cancelled() {
            let replica = self.shared.ids.id();
            let begun =
                Lease::begin(&self.replicas, replica, self.lease, &self.addresses, &soft).await;
            let Some(lease) = begun else { break };
            self.serve(replica, lease, &soft).await;
        }
        // Every runner is gone.
        self.shared.recorder.finish();
        self.shared.hints.finish();
    }

    /// One lease: from its registration to its loss or to the soft stop.
    async fn serve(&mut self, replica: ReplicaId, lease: Lease, soft: &CancellationToken) {
        let lost = CancellationToken::new();
        // The keeper and the acquire loop end with this function.
        let mut helpers = JoinSet::new();
        helpers.spawn(lease.keep(self.replicas.clone(), lost.clone()));
        let taking = CancellationToken::new();
        let (shared, handle) = (Arc::clone(&self.shared), self.handle.clone());
        let orphans = Orphans::of(replica, self.driving.clone());
        helpers.spawn(acquire_loop(shared, handle, replica, orphans, taking.clone()));
        let (shared, stop) = (Arc::clone(&self.shared), taking.clone());
        helpers.spawn(async move {
            let forgotten = shared.tools.acknowledge_forgotten(&shared.store);
            stop.run_until_cancelled(forgotten).await;
        });
        self.handle.open(replica);
        self.standing.send_replace(Some(replica));
        // Those who were refused by a replica that is gone look again.
        self.shared.hints.runnable();
        tracing::info!(replica.id = %replica, "this replica works on chats");

        let mut runners = JoinSet::new();
        let mut driven = Driven::new();
        loop {
            tokio::select! {
                biased;
                () = lost.cancelled() => break,
                () = soft.cancelled() => break,
                Some(joined) = runners.join_next_with_id(), if !runners.is_empty() => {
                    self.ended(joined, &lost, &mut runners, &mut driven);
                }
                Some(seated) = self.seats.recv() => {
                    self.seat(seated, replica, (soft, &lost), &mut runners, &mut driven);
                }
            }
        }
        self.handle.close();
        if lost.is_cancelled() {
            self.standing.send_replace(None);
        }
        taking.cancel();
        // The lease is kept meanwhile.
        while let Some(joined) = runners.join_next_with_id().await {
            self.ended(joined, &lost, &mut runners, &mut driven);
        }
        if lost.is_cancelled() {
            tracing::error!(replica.id = %replica, "the lease was lost; chats are taken anew");
            return;
        }
        helpers.shutdown().await;
        self.standing.send_replace(None);
        if let Err(error) = self.replicas.release(replica).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the lease was not released; it ends by itself"
            );
        }
    }

    fn seat(
        &self,
        seated: Seated,
        replica: ReplicaId,
        (soft, lost): (&CancellationToken, &CancellationToken),
        runners: &mut JoinSet<()>,
        driven: &mut Driven,
    ) {
        let Seated { acquired, history } = seated;
        if acquired.fence.worker_id != replica {
            // Claimed under a lease that has ended since: it is taken over like any other.
            return;
        }
        let whom = (acquired.chat.id, acquired.fence.runner_id);
        let shared = Arc::clone(&self.shared);
        let (driving, soft, lost) = (self.driving.begin(whom.1), soft.clone(), lost.clone());
        let task = runners.spawn(async move {
            let _driving = driving;
            Runner::drive(shared, acquired, history, soft, lost).await;
        });
        driven.insert(task.id(), whom);
    }

    /// A runner's task ended. After a panic the chat stops with an error.
    fn ended(
        &self,
        joined: Result<(Id, ()), tokio::task::JoinError>,
        lost: &CancellationToken,
        runners: &mut JoinSet<()>,
        driven: &mut Driven,
    ) {
        let error = match joined {
            Ok((task, ())) => {
                driven.remove(&task);
                if self.shared.store.running_limits().are_set() {
                    // Its place is free.
                    self.shared.hints.runnable();
                }
                return;
            }
            Err(error) => error,
        };
        let Some(whom) = driven.remove(&error.id()) else { return };
        tracing::error!(chat.id = %whom.0, "a chat's runner panicked; the chat stops");
        let stopping = stop_with_error(Arc::clone(&self.shared), whom, lost.clone());
        let driving = self.driving.begin(whom.1);
        let task = runners.spawn(async move {
            let _driving = driving;
            stopping.await;
        });
        driven.insert(task.id(), whom);
    }
}

/// Stops a chat whose runner panicked; tries until the database takes it or the lease is lost.
async fn stop_with_error(
    shared: Arc<Shared>,
    (chat, runner): (ChatId, RunnerId),
    lost: CancellationToken,
) {
    while let Err(error) = try_to_stop(&shared, chat, runner).await {
        tracing::error!(chat.id = %chat, error = &error as &dyn std::error::Error,
            "a chat without a runner could not be stopped; it is tried again");
        tokio::select! {
            biased;
            () = lost.cancelled() => return,
            () = tokio::time::sleep(TROUBLE_PAUSE) => {}
        }
    }
}

async fn try_to_stop(shared: &Shared, chat: ChatId, runner: RunnerId) -> Result<(), StoreError> {
    let row = shared.store.head(chat).await?.filter(|row| row.runner_id == Some(runner));
    let Some((row, fence)) = row.and_then(|row| row.fence().map(|fence| (row, fence))) else {
        return Ok(());
    };
    match shared.store.finish_error(chat, &fence, &internal_error()).await {
        Ok(_) | Err(StoreError::Fenced) => {}
        // It was being stopped, which an error cannot end: another runner carries the stop out.
        Err(StoreError::Refused(_)) => shared.store.abandon(chat, &fence).await?,
        Err(error) => return Err(error),
    }
    shared.hints.chat_changed(chat);
    shared.hints.list_changed(row.owner_id, chat);
    shared.hints.runnable();
    Ok(())
}

/// Takes chats that have work, for as long as the lease lasts. After a hint, chats whose daemon is
/// connected to another replica are left to that one; each poll takes whatever is left.
async fn acquire_loop(
    shared: Arc<Shared>,
    handle: WorkerHandle,
    replica: ReplicaId,
    mut orphans: Orphans,
    stop: CancellationToken,
) {
    let mut wakes = shared.hints.runnable_wakes();
    let mut poll_at = Instant::now();
    while !stop.is_cancelled() {
        // Before the look: what comes during it is looked at again.
        wakes.borrow_and_update();
        let free = handle.free_seats();
        let limit = ACQUIRE_BATCH.min(u32::try_from(free).unwrap_or(ACQUIRE_BATCH));
        let is_poll = Instant::now() >= poll_at;
        let taken = match limit {
            0 => Ok(Vec::new()),
            limit if is_poll => shared.store.acquire(replica, limit).await,
            limit => shared.store.acquire_near(replica, limit).await,
        };
        give_up_overdue(&shared).await;
        for acquired in orphans.retake(&shared.store).await {
            hand_over(&handle, acquired).await;
        }
        let mut again = false;
        match taken {
            Ok(taken) => {
                again = limit > 0 && taken.len() >= limit as usize;
                if !taken.is_empty() {
                    tell_waiting(&shared).await;
                }
                for acquired in taken {
                    hand_over(&handle, acquired).await;
                }
                if is_poll && !again {
                    poll_at = Instant::now() + ACQUIRE_POLL;
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no chats can be taken now"
                );
                poll_at = Instant::now() + TROUBLE_PAUSE;
            }
        }
        if !again {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                changed = wakes.changed() => drop(changed),
                () = tokio::time::sleep_until(poll_at) => {}
            }
        }
    }
}

/// The queue moved: those who watch the chats in it see their new places.
async fn tell_waiting(shared: &Shared) {
    match shared.store.waiting().await {
        Ok(waiting) => {
            for it in waiting {
                shared.hints.chat_changed(it.chat);
                shared.hints.list_changed(it.owner, it.chat);
            }
        }
        Err(error) => tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the places in the queue are shown late"
        ),
    }
}

/// Gives up the calls that nobody answered in time. Any replica may: each is one guarded commit.
async fn give_up_overdue(shared: &Shared) {
    let overdue = match shared.store.overdue(ACQUIRE_BATCH).await {
        Ok(overdue) => overdue,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "calls that wait too long cannot be found now"
            );
            return;
        }
    };
    for call in overdue {
        match shared.store.expire(call).await {
            Ok(Some(row)) => {
                shared.hints.chat_changed(row.id);
                shared.hints.chat_asked(row.id);
                shared.hints.list_changed(row.owner_id, row.id);
                shared.hints.runnable();
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(chat.id = %call.chat_id,
                error = &error as &dyn std::error::Error,
                "a call that waits too long could not be given up"),
        }
    }
}

async fn hand_over(handle: &WorkerHandle, acquired: Acquired) {
    handle.give(Seated { acquired, history: None }).await;
}
