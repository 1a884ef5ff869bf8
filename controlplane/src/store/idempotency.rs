//! Answers to requests that carry an `Idempotency-Key`, so that a repeated one is answered and not
//! done again.

use shared::ids::UserId;

use super::Base;
use super::db::{in_write_tx, on_pool};
use super::error::StoreError;
use super::row::Reader;
use super::text::clean;

/// What a key stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyClaim {
    /// It was free: do the work, then [`finish`](IdempotencyStore::finish) or
    /// [`release`](IdempotencyStore::release).
    Fresh,
    /// The same request has its answer.
    Answered(SavedAnswer),
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

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct IdempotencyStore {
    base: Base,
}

/// A claim without an answer is given up after this long: its process died.
const CLAIM_MAX_MS: i64 = 60_000;

const CLAIM: &str = "INSERT INTO idempotency_keys (owner_id, key, request_hash, created_at_ms) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (owner_id, key) DO UPDATE \
     SET request_hash = excluded.request_hash, created_at_ms = excluded.created_at_ms \
     WHERE idempotency_keys.status IS NULL AND idempotency_keys.created_at_ms < $5";
const FIND: &str = "SELECT key, request_hash, status, body FROM idempotency_keys \
     WHERE owner_id = $1 AND key = $2";
const FINISH: &str = "UPDATE idempotency_keys SET status = $3, body = $4 \
     WHERE owner_id = $1 AND key = $2 AND status IS NULL";
const RELEASE: &str =
    "DELETE FROM idempotency_keys WHERE owner_id = $1 AND key = $2 AND status IS NULL";
const DELETE_OLD: &str = "DELETE FROM idempotency_keys WHERE created_at_ms < $1";

pub(super) const STATEMENTS: &[&str] = &[CLAIM, FIND, FINISH, RELEASE, DELETE_OLD];

impl IdempotencyStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Claims a key of a person for a request. Of two that come at once, one is `Fresh`.
    pub async fn claim(
        &self,
        owner: UserId,
        key: &str,
        request_hash: &str,
    ) -> Result<KeyClaim, StoreError> {
        let now = self.base.clock.now_ms();
        in_write_tx!(&self.base.db, |tx| {
            let claimed = on_pool!(tx.conn(), |conn| {
                sqlx::query(CLAIM)
                    .bind(owner.to_string())
                    .bind(clean(key))
                    .bind(request_hash)
                    .bind(now)
                    .bind(now - CLAIM_MAX_MS)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            if claimed == 1 {
                KeyClaim::Fresh
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

    /// Gives a claim up: the work was not done. Idempotent.
    pub async fn release(&self, owner: UserId, key: &str) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(RELEASE).bind(owner.to_string()).bind(clean(key)).execute(pool).await?;
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
    let Some(status) = row.int_or_null("status")? else { return Ok(KeyClaim::InFlight) };
    Ok(KeyClaim::Answered(SavedAnswer {
        status: u16::try_from(status).unwrap_or(500),
        body: row.bytes_or_null("body")?.unwrap_or_default(),
    }))
}
