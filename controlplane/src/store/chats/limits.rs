//! How many chats may run at once, and in which order the others wait.
//!
//! ```text
//! runs:   a chat with a worker whose lease runs          (subagents run in their parent's place)
//! waits:  a chat with work and without a worker
//! turn:   how many chats of its owner would run with it ─► then since when it waits ─► its id
//! ```
//!
//! Whoever has fewer chats running comes first, so one person with a hundred chats makes nobody wait
//! behind all of them. With limits the taking is one transaction behind one row, so that two servers
//! never take the same last place.

use std::collections::HashMap;

use shared::ids::{ChatId, ReplicaId, UserId};

use super::ChatStore;
use super::guard::Held;
use super::rows::{Acquired, ChatRow};
use crate::chat::machine::Event;
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::replicas::lease_clock_ms;
use crate::store::row::{Columns, Reader};

/// Waiting chats that are looked at for one taking, and that are shown a place in the queue.
const WAITING_MAX: i64 = 500;

/// The limits of a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunningLimits {
    /// Of all chats together; none: no limit.
    pub deployment: Option<u32>,
    /// Of one user's chats; none: no limit.
    pub user: Option<u32>,
}

impl RunningLimits {
    /// Whether there is any.
    #[must_use]
    pub const fn are_set(&self) -> bool {
        self.deployment.is_some() || self.user.is_some()
    }
}

/// A chat that waits, in the order of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub chat: ChatId,
    /// Whose.
    pub owner: UserId,
    /// Its place in the queue, from 1; none: it may run now.
    pub place: Option<u32>,
    epoch: i64,
    /// No other replica is nearer to its workspace.
    near: bool,
}

macro_rules! live_worker {
    () => {
        "EXISTS (SELECT 1 FROM replicas WHERE replicas.id = chats.worker_id \
         AND replicas.lease_until_ms > $1)"
    };
}
macro_rules! free {
    () => {
        concat!(
            "chats.status IN ('running', 'interrupting') AND chats.archived = FALSE \
             AND (chats.worker_id IS NULL OR NOT ",
            live_worker!(),
            ")"
        )
    };
}
// Its daemon is connected to no other living replica.
macro_rules! near {
    () => {
        "NOT EXISTS (SELECT 1 FROM links, replicas WHERE links.workspace_id = chats.workspace_id \
         AND replicas.id = links.replica_id AND replicas.lease_until_ms > $1 \
         AND replicas.id <> $2)"
    };
}

const CANDIDATES: &str = concat!(
    "SELECT id, epoch FROM (SELECT chats.id AS id, chats.epoch AS epoch, \
     COALESCE(chats.runnable_since_ms, 0) AS since, ROW_NUMBER() OVER (PARTITION BY chats.owner_id \
     ORDER BY COALESCE(chats.runnable_since_ms, 0), chats.id) AS nth FROM chats WHERE ",
    free!(),
    " AND (CAST($3 AS BIGINT) = 1 OR ",
    near!(),
    ")) AS waiting ORDER BY nth, since, id LIMIT $4"
);
/// Taken whatever the limits say: a stop has to be carried out, and a subagent has its parent's place.
const BESIDE: &str = concat!(
    "SELECT chats.id AS id, chats.epoch AS epoch FROM chats WHERE ",
    free!(),
    " AND (chats.status = 'interrupting' OR chats.parent_id IS NOT NULL) \
     ORDER BY COALESCE(chats.runnable_since_ms, 0), chats.id LIMIT $2"
);
const RUNNING: &str = concat!(
    "SELECT COUNT(*) FROM chats WHERE chats.status IN ('running', 'interrupting') \
     AND chats.archived = FALSE AND chats.parent_id IS NULL AND ",
    live_worker!()
);
const IN_TURN: &str = concat!(
    "SELECT waiting.id AS id, waiting.epoch AS epoch, waiting.owner_id AS owner_id, \
     waiting.is_near AS is_near, COALESCE(running.number, 0) + waiting.nth AS turn, waiting.nth AS nth \
     FROM (SELECT chats.id AS id, chats.epoch AS epoch, chats.owner_id AS owner_id, \
     COALESCE(chats.runnable_since_ms, 0) AS since, CASE WHEN ",
    near!(),
    " THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END AS is_near, ROW_NUMBER() OVER (PARTITION BY chats.owner_id \
     ORDER BY COALESCE(chats.runnable_since_ms, 0), chats.id) AS nth FROM chats \
     WHERE chats.parent_id IS NULL AND chats.status = 'running' AND ",
    free!(),
    ") AS waiting LEFT JOIN (SELECT chats.owner_id AS owner_id, COUNT(*) AS number FROM chats \
     WHERE chats.status IN ('running', 'interrupting') AND chats.archived = FALSE \
     AND chats.parent_id IS NULL AND ",
    live_worker!(),
    " GROUP BY chats.owner_id) AS running ON running.owner_id = waiting.owner_id \
     ORDER BY turn, waiting.since, waiting.id LIMIT $3"
);
/// Whoever takes chats under limits holds this row.
const HOLD_TURN: &str = "INSERT INTO settings (key, value, updated_at_ms) \
     VALUES ('chats.turn', $1, $2) \
     ON CONFLICT (key) DO UPDATE SET updated_at_ms = excluded.updated_at_ms";

pub(super) const STATEMENTS: &[&str] = &[CANDIDATES, BESIDE, RUNNING, IN_TURN, HOLD_TURN];

/// A waiting chat as it was read, before the limits are applied.
#[derive(Clone, Copy, Debug)]
struct Queued {
    chat: ChatId,
    owner: UserId,
    epoch: i64,
    near: bool,
    /// With it, so many chats of its owner would run.
    turn: i64,
    /// Its place among its owner's.
    nth: i64,
}

/// Gives each its place: those that fit under the limits may run, the others wait in this order.
fn places(queued: &[Queued], running: i64, limits: RunningLimits) -> Vec<Waiting> {
    let mut left = limits.deployment.map(|limit| i64::from(limit) - running);
    let mut before = 0;
    let mut waiting = Vec::with_capacity(queued.len());
    for it in queued {
        let owner_has_room = limits.user.is_none_or(|limit| it.turn <= i64::from(limit));
        let fits = owner_has_room && left.is_none_or(|left| left > 0);
        let place = if fits {
            left = left.map(|left| left - 1);
            None
        } else {
            before += 1;
            // Under a limit of their own people wait for themselves only.
            let place = if limits.deployment.is_some() { before } else { it.nth };
            Some(u32::try_from(place).unwrap_or(u32::MAX))
        };
        let Queued { chat, owner, epoch, near, .. } = *it;
        waiting.push(Waiting { chat, owner, place, epoch, near });
    }
    waiting
}

impl ChatStore {
    /// From now on at most so many chats run at once. Once.
    pub fn limit_running(&self, limits: RunningLimits) {
        let _ = self.limits.set(limits);
    }

    /// The limits; none are set until [`limit_running`](Self::limit_running).
    #[must_use]
    pub fn running_limits(&self) -> RunningLimits {
        self.limits.get().copied().unwrap_or_default()
    }

    /// Takes up to `limit` runnable chats that nobody owns or whose worker's lease ended: of whoever
    /// has fewest first, then those that wait longest. A chat that another worker takes meanwhile is
    /// left out. Without a lease of its own the replica gets nothing.
    pub async fn acquire(
        &self,
        replica: ReplicaId,
        limit: u32,
    ) -> Result<Vec<Acquired>, StoreError> {
        self.acquire_from(replica, limit, true).await
    }

    /// As [`acquire`](Self::acquire), but leaves chats of a workspace whose daemon is connected to
    /// another replica to that one.
    pub async fn acquire_near(
        &self,
        replica: ReplicaId,
        limit: u32,
    ) -> Result<Vec<Acquired>, StoreError> {
        self.acquire_from(replica, limit, false).await
    }

    async fn acquire_from(
        &self,
        replica: ReplicaId,
        limit: u32,
        far_too: bool,
    ) -> Result<Vec<Acquired>, StoreError> {
        if self.running_limits().are_set() {
            return self.acquire_in_turn(replica, limit, far_too).await;
        }
        let now = lease_clock_ms(&self.base).await?;
        let candidates: Vec<(ChatId, i64)> = on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(CANDIDATES)
                .bind(now)
                .bind(replica.to_string())
                .bind(i64::from(far_too))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
            read_candidates(&rows)?
        });
        let mut taken = Vec::with_capacity(candidates.len());
        for (id, epoch) in candidates {
            match self.acquire_one(replica, id, epoch, now).await {
                Ok(acquired) => taken.extend(acquired),
                // What is taken is ours, so somebody has to drive it.
                Err(error) if !taken.is_empty() => {
                    tracing::warn!(chat.id = %id, error = &error as &dyn std::error::Error,
                        "fewer chats were taken than there are");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    pub(super) async fn acquire_one(
        &self,
        replica: ReplicaId,
        id: ChatId,
        epoch: i64,
        now: i64,
    ) -> Result<Option<Acquired>, StoreError> {
        in_write_tx!(&self.base.db, |tx| self.take_one(tx, replica, id, epoch, now).await?)
    }

    async fn take_one(
        &self,
        tx: &mut Tx,
        replica: ReplicaId,
        id: ChatId,
        epoch: i64,
        now: i64,
    ) -> Result<Option<Acquired>, StoreError> {
        let held = Held::take_free(tx, &self.base, id, epoch, replica, now).await?;
        let Some(mut held) = held else { return Ok(None) };
        held.apply(Event::Acquire, Some(replica)).await?;
        held.save().await?;
        let attempt_begun = held.written.attempt_begun;
        let chat = held.chat;
        Ok(chat.fence().map(|fence| Acquired { fence, chat, attempt_begun }))
    }

    async fn acquire_in_turn(
        &self,
        replica: ReplicaId,
        limit: u32,
        far_too: bool,
    ) -> Result<Vec<Acquired>, StoreError> {
        let now = lease_clock_ms(&self.base).await?;
        let limits = self.running_limits();
        let nobody_waits = self.waiting_at(now, replica).await?.is_empty();
        let beside: Vec<(ChatId, i64)> = on_pool!(self.base.db.reader(), |pool| {
            let query = sqlx::query(BESIDE).bind(now).bind(i64::from(limit));
            read_candidates(&query.fetch_all(pool).await?)?
        });
        if nobody_waits && beside.is_empty() {
            return Ok(Vec::new());
        }
        in_write_tx!(&self.base.db, |tx| {
            on_pool!(tx.conn(), |conn| {
                sqlx::query(HOLD_TURN).bind(&[0_u8][..]).bind(now).execute(conn).await?;
            });
            // Read behind the row: what others took is counted.
            let running: i64 = on_pool!(tx.conn(), |conn| {
                sqlx::query_scalar(RUNNING).bind(now).fetch_one(conn).await?
            });
            let queued = on_pool!(tx.conn(), |conn| {
                let query =
                    sqlx::query(IN_TURN).bind(now).bind(replica.to_string()).bind(WAITING_MAX);
                read_queue(&query.fetch_all(conn).await?)?
            });
            let in_turn = places(&queued, running, limits)
                .into_iter()
                .filter(|it| it.place.is_none() && (far_too || it.near))
                .map(|it| (it.chat, it.epoch));
            let chosen: Vec<(ChatId, i64)> =
                beside.iter().copied().chain(in_turn).take(limit as usize).collect();
            let mut taken = Vec::with_capacity(chosen.len());
            for (id, epoch) in chosen {
                taken.extend(self.take_one(tx, replica, id, epoch, now).await?);
            }
            taken
        })
    }

    /// Looks up the places of those of `rows` that wait.
    pub(super) async fn fill_places(&self, rows: &mut [ChatRow]) -> Result<(), StoreError> {
        let limited = self.running_limits().are_set();
        if !limited || rows.iter().all(|row| row.runnable_since_ms.is_none()) {
            return Ok(());
        }
        let places: HashMap<ChatId, Option<u32>> =
            self.waiting().await?.into_iter().map(|it| (it.chat, it.place)).collect();
        for row in rows {
            row.queue_position = places.get(&row.id).copied().flatten();
        }
        Ok(())
    }

    /// The chats that wait for a place, in their order; empty without limits.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        if !self.running_limits().are_set() {
            return Ok(Vec::new());
        }
        let now = lease_clock_ms(&self.base).await?;
        let nobody = self.base.ids.id();
        let mut waiting = self.waiting_at(now, nobody).await?;
        waiting.retain(|it| it.place.is_some());
        Ok(waiting)
    }

    async fn waiting_at(&self, now: i64, replica: ReplicaId) -> Result<Vec<Waiting>, StoreError> {
        let queued = on_pool!(self.base.db.reader(), |pool| {
            let query = sqlx::query(IN_TURN).bind(now).bind(replica.to_string()).bind(WAITING_MAX);
            read_queue(&query.fetch_all(pool).await?)?
        });
        if queued.is_empty() {
            return Ok(Vec::new());
        }
        let running: i64 = on_pool!(self.base.db.reader(), |pool| {
            sqlx::query_scalar(RUNNING).bind(now).fetch_one(pool).await?
        });
        Ok(places(&queued, running, self.running_limits()))
    }
}

fn read_candidates<R: Columns>(rows: &[R]) -> Result<Vec<(ChatId, i64)>, StoreError> {
    let read = |row: &R| {
        let row = Reader::of(row, "chats", "id");
        Ok((row.parsed("id")?, row.int("epoch")?))
    };
    rows.iter().map(read).collect()
}

fn read_queue<R: Columns>(rows: &[R]) -> Result<Vec<Queued>, StoreError> {
    let read = |row: &R| {
        let row = Reader::of(row, "chats", "id");
        Ok(Queued {
            chat: row.parsed("id")?,
            owner: row.parsed("owner_id")?,
            epoch: row.int("epoch")?,
            near: row.int("is_near")? == 1,
            turn: row.int("turn")?,
            nth: row.int("nth")?,
        })
    };
    rows.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    use super::*;

    /// `running[user]` chats run and `waiting` say whose chat came when; as the database orders them.
    fn queue(running: &[i64], waiting: &[usize]) -> Vec<Queued> {
        let ids: &dyn IdSource = &CountingIds::default();
        let owners: Vec<UserId> = running.iter().map(|_| ids.id()).collect();
        let mut seen = vec![0; running.len()];
        let mut queued: Vec<(i64, usize, Queued)> = Vec::new();
        for (since, &user) in waiting.iter().enumerate() {
            seen[user] += 1;
            let turn = running[user] + seen[user];
            let (chat, owner) = (ids.id(), owners[user]);
            let it = Queued { chat, owner, epoch: 0, near: true, turn, nth: seen[user] };
            queued.push((turn, since, it));
        }
        queued.sort_by_key(|(turn, since, _)| (*turn, *since));
        queued.into_iter().map(|(.., it)| it).collect()
    }

    #[test]
    fn who_has_fewest_running_comes_first() {
        // User 0 asked for three chats before user 1 asked for one.
        let queued = queue(&[1, 0], &[0, 0, 0, 1]);
        let limits = RunningLimits { deployment: Some(2), user: None };
        let waiting = places(&queued, 1, limits);
        assert_eq!(waiting[0].owner, queued[0].owner);
        assert_eq!(
            waiting.iter().map(|it| it.place).collect::<Vec<_>>(),
            [None, Some(1), Some(2), Some(3)]
        );
        assert_ne!(waiting[0].owner, waiting[1].owner, "the last place is the other user's");
    }

    #[test]
    fn under_a_limit_per_user_everybody_waits_for_themselves() {
        let queued = queue(&[2, 0], &[0, 0, 1]);
        let waiting = places(&queued, 2, RunningLimits { deployment: None, user: Some(2) });
        let of = |owner: UserId| -> Vec<Option<u32>> {
            waiting.iter().filter(|it| it.owner == owner).map(|it| it.place).collect()
        };
        let (first, second) = (queued.iter().find(|it| it.turn == 3), queued.first());
        assert_eq!(of(first.unwrap().owner), [Some(1), Some(2)]);
        assert_eq!(of(second.unwrap().owner), [None]);
    }

    proptest! {
        #[test]
        fn no_limit_is_passed_and_no_place_is_left_empty(
            running in proptest::collection::vec(0..5_i64, 1..5),
            picks in proptest::collection::vec(0..100_usize, 0..30),
            deployment in proptest::option::of(1..12_u32),
            user in proptest::option::of(1..5_u32),
        ) {
            let waiting: Vec<usize> = picks.iter().map(|pick| pick % running.len()).collect();
            let queued = queue(&running, &waiting);
            let total: i64 = running.iter().sum();
            let placed = places(&queued, total, RunningLimits { deployment, user });
            let begun = i64::try_from(placed.iter().filter(|it| it.place.is_none()).count()).unwrap();
            if let Some(limit) = deployment {
                prop_assert!(begun == 0 || total + begun <= i64::from(limit));
            }
            for (it, queued) in placed.iter().zip(&queued) {
                let user_full = user.is_some_and(|limit| queued.turn > i64::from(limit));
                let full = deployment.is_some_and(|limit| total + begun >= i64::from(limit));
                prop_assert_eq!(it.place.is_some(), user_full || (full && it.place.is_some()));
                if it.place.is_some() {
                    prop_assert!(user_full || full, "it waits for nothing");
                }
            }
            if deployment.is_some() {
                let order: Vec<u32> = placed.iter().filter_map(|it| it.place).collect();
                prop_assert!(order.iter().zip(1..).all(|(place, nth)| *place == nth));
            }
        }
    }
}
