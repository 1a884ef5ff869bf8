//! API keys: a secret's hash, and whose it is.

use shared::ids::{ApiKeyId, UserId};

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::clean;

/// One key, without its secret.
#[derive(Clone, Debug)]
pub struct ApiKeyRow {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is.
    pub user_id: UserId,
    /// For people.
    pub name: String,
    /// The secret's last characters, for people.
    pub hint: String,
    /// What it may be used for: words with spaces between.
    pub scopes: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds, to about a minute; none: never used.
    pub last_used_at_ms: Option<i64>,
    /// Unix milliseconds; none: never.
    pub expires_at_ms: Option<i64>,
}

/// A key to be kept.
pub struct NewApiKey {
    /// Whose it is.
    pub user_id: UserId,
    /// For people.
    pub name: String,
    /// Of the secret.
    pub token_hash: String,
    /// The secret's last characters.
    pub hint: String,
    /// What it may be used for: words with spaces between.
    pub scopes: String,
    /// Unix milliseconds; none: never.
    pub expires_at_ms: Option<i64>,
}

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct ApiKeyStore {
    base: Base,
}

/// A use is noted at most this often, so that a busy key does not write with each request.
const USE_NOTED_EVERY_MS: i64 = 60_000;

const INSERT: &str = "INSERT INTO api_keys \
     (id, user_id, name, token_hash, hint, scopes, created_at_ms, expires_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
     RETURNING id, user_id, name, hint, scopes, created_at_ms, last_used_at_ms, expires_at_ms";
const BY_TOKEN: &str = "SELECT \
     id, user_id, name, hint, scopes, created_at_ms, last_used_at_ms, expires_at_ms \
     FROM api_keys WHERE token_hash = $1";
const BY_ID: &str = "SELECT \
     id, user_id, name, hint, scopes, created_at_ms, last_used_at_ms, expires_at_ms \
     FROM api_keys WHERE id = $1";
const OF_USER: &str = "SELECT \
     id, user_id, name, hint, scopes, created_at_ms, last_used_at_ms, expires_at_ms \
     FROM api_keys WHERE user_id = $1 ORDER BY id LIMIT $2";
const TOUCH: &str = "UPDATE api_keys SET last_used_at_ms = $2 WHERE id = $1";
const DELETE: &str = "DELETE FROM api_keys WHERE id = $1 AND user_id = $2";

pub(super) const STATEMENTS: &[&str] = &[INSERT, BY_TOKEN, BY_ID, OF_USER, TOUCH, DELETE];

impl ApiKeyStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Keeps a key.
    pub async fn create(&self, new: &NewApiKey) -> Result<ApiKeyRow, StoreError> {
        let id: ApiKeyId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(new.user_id.to_string())
                .bind(clean(&new.name))
                .bind(&new.token_hash)
                .bind(&new.hint)
                .bind(&new.scopes)
                .bind(now)
                .bind(new.expires_at_ms)
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// The key of a secret, expired ones included; none if it is unknown. Notes the use now and
    /// then.
    pub async fn by_token_hash(&self, hash: &str) -> Result<Option<ApiKeyRow>, StoreError> {
        let now = self.base.clock.now_ms();
        let found: Option<ApiKeyRow> = on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_TOKEN).bind(hash).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()?
        });
        if let Some(key) = &found
            && key.last_used_at_ms.is_none_or(|last| now - last >= USE_NOTED_EVERY_MS)
        {
            on_pool!(self.base.db.writer(), |pool| {
                sqlx::query(TOUCH).bind(key.id.to_string()).bind(now).execute(pool).await?;
            });
        }
        Ok(found)
    }

    /// A key that was found before, also an expired one; none if it was revoked since.
    pub async fn by_id(&self, id: ApiKeyId) -> Result<Option<ApiKeyRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_ID).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// The keys of a person, oldest first, at most `limit`.
    pub async fn list(&self, user: UserId, limit: u32) -> Result<Vec<ApiKeyRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(OF_USER)
                .bind(user.to_string())
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
            rows.iter().map(read).collect()
        })
    }

    /// Forgets a key of a person. Errors: [`StoreError::NotFound`].
    pub async fn delete(&self, user: UserId, id: ApiKeyId) -> Result<(), StoreError> {
        let gone = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE)
                .bind(id.to_string())
                .bind(user.to_string())
                .execute(pool)
                .await?
                .rows_affected()
        });
        if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }
}

fn read<R: Columns>(row: &R) -> Result<ApiKeyRow, StoreError> {
    let row = Reader::of(row, "api_keys", "id");
    Ok(ApiKeyRow {
        id: row.parsed("id")?,
        user_id: row.parsed("user_id")?,
        name: row.text("name")?,
        hint: row.text("hint")?,
        scopes: row.text("scopes")?,
        created_at_ms: row.int("created_at_ms")?,
        last_used_at_ms: row.int_or_null("last_used_at_ms")?,
        expires_at_ms: row.int_or_null("expires_at_ms")?,
    })
}
