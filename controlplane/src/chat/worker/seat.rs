//! A place for one more chat, reserved before the commit that claims it.

use std::sync::{Arc, Mutex, PoisonError};

use shared::ids::{ReplicaId, WorkspaceId};
use tokio::sync::mpsc;

use crate::chat::ports::ToolRunner;
use crate::store::chats::{Acquired, MessageRow};

/// Chats on their way to their runners. Only a burst fills it; the rest waits in the database.
const SEATS: usize = 256;

/// A chat on its way to its runner.
pub(in crate::chat) struct Seated {
    pub(super) acquired: Acquired,
    /// The whole history, where the claimer knows it.
    pub(super) history: Option<Vec<MessageRow>>,
}

/// The way to the worker. Cheap to clone.
#[derive(Clone)]
pub struct WorkerHandle {
    seats: mpsc::Sender<Seated>,
    /// The replica while its lease runs and the program does not stop.
    replica: Arc<Mutex<Option<ReplicaId>>>,
    tools: Arc<dyn ToolRunner>,
    /// Chats wait in the queue of the deployment: nobody takes one out of turn.
    in_turn: bool,
}

/// A reserved place. Unused it is given back.
pub struct Seat {
    permit: mpsc::OwnedPermit<Seated>,
    replica: ReplicaId,
}

impl WorkerHandle {
    pub(super) fn new(tools: Arc<dyn ToolRunner>, in_turn: bool) -> (Self, mpsc::Receiver<Seated>) {
        let (seats, taken) = mpsc::channel(SEATS);
        (Self { seats, replica: Arc::default(), tools, in_turn }, taken)
    }

    /// A place for one more chat of `workspace`; none: claim nothing. This replica takes no work
    /// now, or another one is nearer to the workspace, or chats are taken in turn.
    #[must_use]
    pub fn seat(&self, workspace: Option<WorkspaceId>) -> Option<Seat> {
        if self.in_turn || workspace.is_some_and(|workspace| !self.tools.is_near(workspace)) {
            return None;
        }
        let replica = (*self.lock())?;
        if shared::fault::rarely("claim: no seat") {
            return None;
        }
        let permit = self.seats.clone().try_reserve_owned().ok()?;
        Some(Seat { permit, replica })
    }

    pub(super) fn free_seats(&self) -> usize {
        self.seats.capacity()
    }

    pub(super) async fn give(&self, seated: Seated) {
        // An error is the end of the worker: the chat is taken over when the lease is released.
        let _ = self.seats.send(seated).await;
    }

    pub(super) fn open(&self, replica: ReplicaId) {
        *self.lock() = Some(replica);
    }

    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ReplicaId>> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Who claims.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Hands the claimed chat to its runner.
    pub(in crate::chat) fn take(self, acquired: Acquired, history: Option<Vec<MessageRow>>) {
        self.permit.send(Seated { acquired, history });
    }
}
