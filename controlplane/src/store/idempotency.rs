//! Answers to requests that carry an `Idempotency-Key`, so that a repeated one is answered and not
//! done again.
//!
//! ```text
//! claim ──► Fresh ──work──► finish(answer) ──► Answered
//!             │    └ the transaction of the work notes what it made, if the claim still stands
//!             └ claimed again by another process: nothing made ──► Fresh;  made ──► Made
//! ```
//!
//! A claim does not ask whether its holder lives: whoever asks elsewhere takes it over, and the
//! former holder's transaction then finds that its claim is gone and makes nothing.

use shared::ids::{ReplicaId, UserId};

use super::Base;
use super::db::{Tx, in_write_tx, on_pool};
use super::error::StoreError;
use super::row::Reader;
use super::text::clean;

/// What a key stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyClaim {
    /// It was free: do the work, then [`finish`](IdempotencyStore::finish) or
    /// [`release`](IdempotencyStore::release).
    Fresh(ClaimedKey),
    /// The same request has its answer.
    Answered(SavedAnswer),
    /// The work was done, and its process died before it kept the answer: the id of what was made.
    Made(String),
    /// The same request is being worked on.
    InFlight,
    /// Another request used the key.
    OtherRequest,
}

/// An answer to be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The claimed key of a request, for the transaction that does the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedKey {
    /// Whose key.
    pub owner: UserId,
    /// The key.
    pub key: String,
    /// The process that works on it.
    pub holder: ReplicaId,
    /// When it was claimed, in unix milliseconds.
    pub claimed_at_ms: i64,
}

impl ClaimedKey {
    /// Notes in the transaction of the work what it makes: the two are true together or not at all.
    ///
    /// Errors: [`StoreError::Fenced`] if somebody else holds the claim by now.
    pub(super) async fn note(&self, tx: &mut Tx, made: &str) -> Result<(), StoreError> {
        let noted = on_pool!(tx.conn(), |conn| {
            sqlx::query(NOTE)
                .bind(self.owner.to_string())
                .bind(clean(&self.key))
                .bind(made)
                .bind(self.holder.to_string())
                .bind(self.claimed_at_ms)
                .execute(conn)
                .await?
                .rows_affected()
        });
        if noted == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }
}

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct IdempotencyStore {
    base: Base,
}

/// A claim without an answer is given up after this long by its own process too: the client went
/// away, and with it the request.
const CLAIM_MAX_MS: i64 = 60_000;

const CLAIM: &str = "INSERT INTO idempotency_keys \
     (owner_id, key, request_hash, holder, created_at_ms) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (owner_id, key) DO UPDATE SET request_hash = excluded.request_hash, \
     holder = excluded.holder, created_at_ms = excluded.created_at_ms \
     WHERE idempotency_keys.status IS NULL AND idempotency_keys.made IS NULL \
     AND (idempotency_keys.created_at_ms < $6 OR (idempotency_keys.holder <> excluded.holder \
     AND idempotency_keys.request_hash = excluded.request_hash))";
const NOTE: &str = "UPDATE idempotency_keys SET made = $3 \
     WHERE owner_id = $1 AND key = $2 AND holder = $4 AND created_at_ms = $5 AND status IS NULL";
const FIND: &str = "SELECT key, request_hash, made, status, body FROM idempotency_keys \
     WHERE owner_id = $1 AND key = $2";
const FINISH: &str = "UPDATE idempotency_keys SET status = $3, body = $4 \
     WHERE owner_id = $1 AND key = $2 AND status IS NULL";
const RELEASE: &str = "DELETE FROM idempotency_keys WHERE owner_id = $1 AND key = $2 \
     AND holder = $3 AND created_at_ms = $4 AND status IS NULL AND made IS NULL";
const DELETE_OLD: &str = "DELETE FROM idempotency_keys WHERE created_at_ms < $1";

pub(super) const STATEMENTS: &[&str] = &[CLAIM, NOTE, FIND, FINISH, RELEASE, DELETE_OLD];

impl IdempotencyStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Claims a key of a person for a request that `holder` works on. Of two that come at once, one
    /// is `Fresh`.
    pub async fn claim(
        &self,
        owner: UserId,
        key: &str,
        request_hash: &str,
        holder: ReplicaId,
    ) -> Result<KeyClaim, StoreError> {
        let now = self.base.clock.now_ms();
        in_write_tx!(&self.base.db, |tx| {
            let claimed = on_pool!(tx.conn(), |conn| {
                sqlx::query(CLAIM)
                    .bind(owner.to_string())
                    .bind(clean(key))
                    .bind(request_hash)
                    .bind(holder.to_string())
                    .bind(now)
                    .bind(now - CLAIM_MAX_MS)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            if claimed == 1 {
                let key = key.to_owned();
                KeyClaim::Fresh(ClaimedKey { owner, key, holder, claimed_at_ms: now })
            } else {
                on_pool!(tx.conn(), |conn| {
                    let row = sqlx::query(FIND)
                        .bind(owner.to_string())
                        .bind(clean(key))
                        .fetch_one(conn)
                        .await?;
                    found(&Reader::of(&row, "idempotency_keys", "key"), request_hash)?
                })
            }
        })
    }

    /// Keeps the answer.
    pub async fn finish(
        &self,
        owner: UserId,
        key: &str,
        answer: &SavedAnswer,
    ) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(FINISH)
                .bind(owner.to_string())
                .bind(clean(key))
                .bind(i64::from(answer.status))
                .bind(answer.body.as_slice())
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Gives a claim up: the work was not done. Idempotent; changes nothing where the claim was
    /// taken over, or something was made.
    pub async fn release(&self, claimed: &ClaimedKey) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(RELEASE)
                .bind(claimed.owner.to_string())
                .bind(clean(&claimed.key))
                .bind(claimed.holder.to_string())
                .bind(claimed.claimed_at_ms)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Forgets keys older than `before_ms`; answers how many.
    pub async fn delete_old(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE_OLD).bind(before_ms).execute(pool).await?.rows_affected()
        }))
    }
}

fn found<R: super::row::Columns>(
    row: &Reader<'_, R>,
    request_hash: &str,
) -> Result<KeyClaim, StoreError> {
    if row.text("request_hash")? != request_hash {
        return Ok(KeyClaim::OtherRequest);
    }
    let Some(status) = row.int_or_null("status")? else {
        return Ok(row.text_or_null("made")?.map_or(KeyClaim::InFlight, KeyClaim::Made));
    };
    Ok(KeyClaim::Answered(SavedAnswer {
        status: u16::try_from(status).unwrap_or(500),
        body: row.bytes_or_null("body")?.unwrap_or_default(),
    }))
}
