//! Forgets uploads that died, files that nobody sent, and bytes that no file names any more.

use super::AttachmentStore;
use crate::store::db::on_pool;
use crate::store::error::StoreError;

/// Blobs that one statement drops, so that the writers of SQLite do not wait for long.
const AT_ONCE: i64 = 50;

const DROP_UNSENT: &str = "DELETE FROM attachments WHERE sent_at_ms IS NULL AND created_at_ms < $1";
// A blob that is named at the same moment is held by a foreign key, or by its own write.
const DROP_UNNAMED: &str = "DELETE FROM blobs WHERE id IN (SELECT id FROM blobs \
     WHERE used_at_ms < $1 AND NOT EXISTS \
     (SELECT 1 FROM attachments WHERE attachments.blob_id = blobs.id) LIMIT $2) \
     AND used_at_ms < $1";

pub(super) const STATEMENTS: &[&str] = &[DROP_UNSENT, DROP_UNNAMED];

impl AttachmentStore {
    /// Forgets files that were uploaded before `unsent_ms` and never sent, and bytes that no file
    /// names and that were last written or named before `unused_ms`; how many rows. Harmless twice
    /// and on several replicas at once.
    pub async fn sweep(&self, unsent_ms: i64, unused_ms: i64) -> Result<u64, StoreError> {
        let mut gone = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DROP_UNSENT).bind(unsent_ms).execute(pool).await?.rows_affected()
        });
        loop {
            let dropped = self.drop_unnamed(unused_ms).await?;
            gone += dropped;
            if dropped < AT_ONCE.unsigned_abs() {
                return Ok(gone);
            }
        }
    }

    async fn drop_unnamed(&self, unused_ms: i64) -> Result<u64, StoreError> {
        let dropped = async {
            Ok::<_, StoreError>(on_pool!(self.base.db.writer(), |pool| {
                sqlx::query(DROP_UNNAMED)
                    .bind(unused_ms)
                    .bind(AT_ONCE)
                    .execute(pool)
                    .await?
                    .rows_affected()
            }))
        };
        match dropped.await {
            // One of them was named meanwhile: the next sweep finds the others.
            Err(StoreError::Conflict) => Ok(0),
            dropped => dropped,
        }
    }
}
