//! Tokens with which a daemon joins a workspace: single use, short-lived, kept as a hash.

use shared::ids::{JoinTokenId, UserId, WorkspaceId};

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::row::{Columns, Reader};

/// One token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTokenRow {
    /// Its id.
    pub id: JoinTokenId,
    /// The workspace that may be joined.
    pub workspace_id: WorkspaceId,
    /// Unix milliseconds.
    pub expires_at_ms: i64,
    /// Unix milliseconds; none: not used yet.
    pub used_at_ms: Option<i64>,
}

/// A token to be kept.
pub struct NewJoinToken {
    /// The workspace that may be joined.
    pub workspace_id: WorkspaceId,
    /// Of the secret.
    pub secret_hash: String,
    /// Who asked for it; none: the program itself.
    pub created_by: Option<UserId>,
    /// Unix milliseconds.
    pub expires_at_ms: i64,
}

/// The tokens. Cheap to clone.
#[derive(Clone)]
pub struct JoinTokenStore {
    base: Base,
}

const INSERT: &str = "INSERT INTO join_tokens \
     (id, workspace_id, secret_hash, created_by, created_at_ms, expires_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6) RETURNING id, workspace_id, expires_at_ms, used_at_ms";
const USE: &str = "UPDATE join_tokens SET used_at_ms = $2 \
     WHERE secret_hash = $1 AND used_at_ms IS NULL AND expires_at_ms > $2 \
     RETURNING id, workspace_id, expires_at_ms, used_at_ms";
const BY_SECRET: &str = "SELECT id, workspace_id, expires_at_ms, used_at_ms FROM join_tokens \
     WHERE secret_hash = $1";
const DELETE_OLD: &str = "DELETE FROM join_tokens WHERE expires_at_ms < $1";

pub(super) const STATEMENTS: &[&str] = &[INSERT, USE, BY_SECRET, DELETE_OLD];

impl JoinTokenStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Keeps a token. Errors: [`StoreError::Conflict`] if there is no such workspace.
    pub async fn create(&self, new: &NewJoinToken) -> Result<JoinTokenRow, StoreError> {
        let id: JoinTokenId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(new.workspace_id.to_string())
                .bind(&new.secret_hash)
                .bind(new.created_by.map(|user| user.to_string()))
                .bind(now)
                .bind(new.expires_at_ms)
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// Uses a token up. None: it is unknown, used or expired; see
    /// [`by_secret_hash`](Self::by_secret_hash) for which. Of two that come at once, one gets it.
    pub async fn use_up(&self, secret_hash: &str) -> Result<Option<JoinTokenRow>, StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(USE).bind(secret_hash).bind(now).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// A token, used and expired ones included.
    pub async fn by_secret_hash(&self, hash: &str) -> Result<Option<JoinTokenRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_SECRET).bind(hash).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// Forgets tokens that expired before `before_ms`; answers how many.
    pub async fn delete_old(&self, before_ms: i64) -> Result<u64, StoreError> {
        Ok(on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE_OLD).bind(before_ms).execute(pool).await?.rows_affected()
        }))
    }
}

fn read<R: Columns>(row: &R) -> Result<JoinTokenRow, StoreError> {
    let row = Reader::of(row, "join_tokens", "id");
    Ok(JoinTokenRow {
        id: row.parsed("id")?,
        workspace_id: row.parsed("workspace_id")?,
        expires_at_ms: row.int("expires_at_ms")?,
        used_at_ms: row.int_or_null("used_at_ms")?,
    })
}
