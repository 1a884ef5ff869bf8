//! Log-ins: a cookie's hash, and whose it is.

use shared::ids::{SessionId, UserId};

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::clean;

/// One log-in.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// As the browser called itself.
    pub user_agent: Option<String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub last_used_at_ms: i64,
    /// Unix milliseconds; from then on it is not found.
    pub expires_at_ms: i64,
}

/// A log-in to be kept.
pub struct NewSession {
    /// Whose it is.
    pub user_id: UserId,
    /// Of the cookie's secret.
    pub token_hash: String,
    /// As the browser calls itself.
    pub user_agent: Option<String>,
    /// Unix milliseconds.
    pub expires_at_ms: i64,
}

/// The log-ins. Cheap to clone.
#[derive(Clone)]
pub struct SessionStore {
    base: Base,
}

const INSERT: &str = "INSERT INTO sessions \
     (id, user_id, token_hash, user_agent, created_at_ms, last_used_at_ms, expires_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $5, $6) \
     RETURNING id, user_id, user_agent, created_at_ms, last_used_at_ms, expires_at_ms";
const BY_TOKEN: &str = "SELECT id, user_id, user_agent, created_at_ms, last_used_at_ms, expires_at_ms \
     FROM sessions WHERE token_hash = $1 AND expires_at_ms > $2";
const BY_ID: &str = "SELECT id, user_id, user_agent, created_at_ms, last_used_at_ms, expires_at_ms \
     FROM sessions WHERE id = $1 AND expires_at_ms > $2";
const TOUCH: &str = "UPDATE sessions SET last_used_at_ms = $2, expires_at_ms = $3 WHERE id = $1";
const DELETE: &str = "DELETE FROM sessions WHERE id = $1";
const DELETE_OF_USER: &str = "DELETE FROM sessions WHERE user_id = $1";
const DELETE_EXPIRED: &str = "DELETE FROM sessions WHERE expires_at_ms <= $1";

pub(super) const STATEMENTS: &[&str] =
    &[INSERT, BY_TOKEN, BY_ID, TOUCH, DELETE, DELETE_OF_USER, DELETE_EXPIRED];

impl SessionStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Keeps a log-in.
    pub async fn create(&self, new: &NewSession) -> Result<SessionRow, StoreError> {
        let id: SessionId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        let agent = new.user_agent.as_deref().map(clean);
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(new.user_id.to_string())
                .bind(&new.token_hash)
                .bind(agent)
                .bind(now)
                .bind(new.expires_at_ms)
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// The log-in of a cookie; none if it is unknown or expired.
    pub async fn by_token_hash(&self, hash: &str) -> Result<Option<SessionRow>, StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_TOKEN).bind(hash).bind(now).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// A log-in that was found before; none if it has ended or expired since.
    pub async fn by_id(&self, id: SessionId) -> Result<Option<SessionRow>, StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.reader(), |pool| {
            let row =
                sqlx::query(BY_ID).bind(id.to_string()).bind(now).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// Notes a use and moves the end. The caller does this now and then, not with each request.
    pub async fn touch(&self, id: SessionId, expires_at_ms: i64) -> Result<(), StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(TOUCH)
                .bind(id.to_string())
                .bind(now)
                .bind(expires_at_ms)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Ends a log-in. Idempotent.
    pub async fn delete(&self, id: SessionId) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE).bind(id.to_string()).execute(pool).await?;
        });
        Ok(())
    }

    /// Ends every log-in of a person; answers how many.
    pub async fn delete_of_user(&self, user: UserId) -> Result<u64, StoreError> {
        Ok(on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE_OF_USER).bind(user.to_string()).execute(pool).await?.rows_affected()
        }))
    }

    /// Forgets expired log-ins; answers how many.
    pub async fn delete_expired(&self) -> Result<u64, StoreError> {
        let now = self.base.clock.now_ms();
        Ok(on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE_EXPIRED).bind(now).execute(pool).await?.rows_affected()
        }))
    }
}

fn read<R: Columns>(row: &R) -> Result<SessionRow, StoreError> {
    let row = Reader::of(row, "sessions", "id");
    Ok(SessionRow {
        id: row.parsed("id")?,
        user_id: row.parsed("user_id")?,
        user_agent: row.text_or_null("user_agent")?,
        created_at_ms: row.int("created_at_ms")?,
        last_used_at_ms: row.int("last_used_at_ms")?,
        expires_at_ms: row.int("expires_at_ms")?,
    })
}
