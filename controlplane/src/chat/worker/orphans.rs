//! Chats that are this replica's by the rows, and that no runner of it drives.
//!
//! They come from answers that were lost: of a claim that was committed after all, or of a chat that
//! could not be given back. As long as the replica lives its lease keeps everybody else away, so it
//! has to find them itself. One query per poll, over the index of owners.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::ids::{ReplicaId, RunnerId};
use tokio::time::Instant;

use super::ACQUIRE_POLL;
use crate::store::chats::{Acquired, ChatStore};

/// The runners that drive a chat. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Driving(Arc<Mutex<HashSet<RunnerId>>>);

/// One runner drives its chat until this is dropped.
pub(super) struct Drives {
    driving: Driving,
    runner: RunnerId,
}

impl Driving {
    /// `runner` drives a chat from now on.
    pub(super) fn begin(&self, runner: RunnerId) -> Drives {
        self.lock().insert(runner);
        Drives { driving: self.clone(), runner }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<RunnerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Drives {
    fn drop(&mut self) {
        self.driving.lock().remove(&self.runner);
    }
}

/// Finds them for one lease.
pub(super) struct Orphans {
    replica: ReplicaId,
    driving: Driving,
    /// Since when a chat is without its runner: it may be on its way to its seat.
    since: HashMap<RunnerId, Instant>,
    looked_at: Instant,
}

impl Orphans {
    /// Of `replica`, whose runners are `driving`.
    pub(super) fn of(replica: ReplicaId, driving: Driving) -> Self {
        Self { replica, driving, since: HashMap::new(), looked_at: Instant::now() }
    }

    /// Takes those anew that were without a runner for a poll's time. At most one look per poll.
    pub(super) async fn retake(&mut self, store: &ChatStore) -> Vec<Acquired> {
        if self.looked_at.elapsed() < ACQUIRE_POLL {
            return Vec::new();
        }
        self.looked_at = Instant::now();
        let owned = match store.owned(self.replica).await {
            Ok(owned) => owned,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "chats without a runner cannot be looked for now"
                );
                return Vec::new();
            }
        };
        let idle: Vec<_> = {
            let driving = self.driving.lock();
            owned.into_iter().filter(|(.., runner)| !driving.contains(runner)).collect()
        };
        self.since.retain(|runner, _| idle.iter().any(|(.., left)| left == runner));
        let mut retaken = Vec::new();
        for (chat, epoch, runner) in idle {
            let since = *self.since.entry(runner).or_insert(self.looked_at);
            if since.elapsed() < ACQUIRE_POLL {
                continue;
            }
            match store.retake(self.replica, chat, epoch).await {
                Ok(acquired) => {
                    tracing::warn!(chat.id = %chat, "a chat without a runner is taken anew");
                    retaken.extend(acquired);
                }
                Err(error) => tracing::warn!(chat.id = %chat,
                    error = &error as &dyn std::error::Error,
                    "a chat without a runner could not be taken anew"),
            }
        }
        retaken
    }
}
