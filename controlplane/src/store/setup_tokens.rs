//! Tokens of the one-time link with which the first administrator is made.

use super::Base;
use super::db::on_pool;
use super::error::StoreError;

/// The set-up tokens. Cheap to clone. A token is used up by
/// [`UserStore::create_first`](super::UserStore::create_first).
#[derive(Clone)]
pub struct SetupTokenStore {
    base: Base,
}

const INSERT: &str =
    "INSERT INTO setup_tokens (token_hash, created_at_ms, expires_at_ms) VALUES ($1, $2, $3)";
const VALID: &str =
    "SELECT COUNT(*) FROM setup_tokens WHERE token_hash = $1 AND expires_at_ms > $2";
const DELETE_EXPIRED: &str = "DELETE FROM setup_tokens WHERE expires_at_ms <= $1";

pub(super) const STATEMENTS: &[&str] = &[INSERT, VALID, DELETE_EXPIRED];

impl SetupTokenStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Keeps a token by its hash, and forgets expired ones.
    pub async fn create(&self, token_hash: &str, expires_at_ms: i64) -> Result<(), StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE_EXPIRED).bind(now).execute(pool).await?;
            sqlx::query(INSERT)
                .bind(token_hash)
                .bind(now)
                .bind(expires_at_ms)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Whether the token would be accepted now. Changes nothing.
    pub async fn is_valid(&self, token_hash: &str) -> Result<bool, StoreError> {
        let now = self.base.clock.now_ms();
        let found: i64 = on_pool!(self.base.db.reader(), |pool| {
            sqlx::query_scalar(VALID).bind(token_hash).bind(now).fetch_one(pool).await?
        });
        Ok(found > 0)
    }
}
