//! The bytes: rows of at most a megabyte, written and read one by one.

use bytes::Bytes;
use shared::ids::{BlobId, UserId};

use super::AttachmentStore;
use crate::store::db::on_pool;
use crate::store::error::StoreError;
use crate::store::row::Columns;

pub(super) const INSERT: &str = "INSERT INTO blobs (id, owner_id, hash, size_bytes, used_at_ms) \
     VALUES ($1, $2, NULL, 0, $3)";
pub(super) const INSERT_CHUNK: &str =
    "INSERT INTO blob_chunks (blob_id, ordinal, data) VALUES ($1, $2, $3)";
const CHUNK: &str = "SELECT data FROM blob_chunks WHERE blob_id = $1 AND ordinal = $2";
/// Only what was never kept.
const ABANDON: &str = "DELETE FROM blobs WHERE id = $1 AND hash IS NULL";

pub(super) const STATEMENTS: &[&str] = &[INSERT, INSERT_CHUNK, CHUNK, ABANDON];

impl AttachmentStore {
    /// Begins a blob that takes more than one row. Nobody sees it before
    /// [`keep`](AttachmentStore::keep); one that is never kept is swept.
    pub async fn begin(&self, owner: UserId) -> Result<BlobId, StoreError> {
        let id: BlobId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(owner.to_string())
                .bind(now)
                .execute(pool)
                .await?;
        });
        shared::fault::pass("k1 begun").await;
        Ok(id)
    }

    /// Writes row `ordinal` (from 0) of a blob that was begun; at most
    /// [`CHUNK_BYTES`](super::CHUNK_BYTES).
    ///
    /// Errors: [`StoreError::Conflict`] if the blob was swept meanwhile.
    pub async fn append(&self, blob: BlobId, ordinal: i64, data: &[u8]) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(INSERT_CHUNK)
                .bind(blob.to_string())
                .bind(ordinal)
                .bind(data)
                .execute(pool)
                .await?;
        });
        shared::fault::pass("k2 appended").await;
        Ok(())
    }

    /// Row `ordinal` (from 0) of a blob; none: it has no more.
    pub async fn chunk(&self, blob: BlobId, ordinal: i64) -> Result<Option<Bytes>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(CHUNK)
                .bind(blob.to_string())
                .bind(ordinal)
                .fetch_optional(pool)
                .await?;
            let data = row.map(|row| row.raw_bytes("data")).transpose()?.flatten();
            Ok(data.map(Bytes::from))
        })
    }

    /// Forgets a blob that was begun and will not be kept. Idempotent.
    pub async fn abandon(&self, blob: BlobId) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(ABANDON).bind(blob.to_string()).execute(pool).await?;
        });
        Ok(())
    }
}
