//! Checkpoints of previews: what was seen of a running episode survives a crash.
//!
//! A checkpoint is no part of the history and raises no version; only the newest of a chat is kept.

use shared::ids::ChatId;

use super::ChatStore;
use super::asked::Checkpoint;
use super::rows::WorkerFence;
use crate::store::db::on_pool;
use crate::store::error::StoreError;
use crate::store::row::Reader;
use crate::store::text::json;

// The fence is in the SELECT: a stale worker inserts nothing.
const SAVE: &str = "INSERT INTO episodes \
     (chat_id, history_version, attempt, seq, parts, updated_at_ms) \
     SELECT id, history_version, attempt, $7, $8, $9 FROM chats \
     WHERE id = $1 AND worker_id = $2 AND runner_id = $3 AND epoch = $4 AND history_version = $5 \
     AND attempt = $6 ON CONFLICT (chat_id) DO UPDATE SET \
     history_version = excluded.history_version, attempt = excluded.attempt, \
     seq = excluded.seq, parts = excluded.parts, updated_at_ms = excluded.updated_at_ms";
const LOAD: &str =
    "SELECT chat_id, history_version, attempt, seq, parts FROM episodes WHERE chat_id = $1";

pub(super) const STATEMENTS: &[&str] = &[SAVE, LOAD];

impl ChatStore {
    /// Keeps the preview of the worker's episode up to `seq`. Errors: [`StoreError::Fenced`].
    pub async fn save_checkpoint(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        seq: i64,
        parts: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let now = self.base.clock.now_ms();
        let saved = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(SAVE)
                .bind(id.to_string())
                .bind(fence.worker_id.to_string())
                .bind(fence.runner_id.to_string())
                .bind(fence.epoch)
                .bind(fence.history_version)
                .bind(fence.attempt)
                .bind(seq)
                .bind(json(parts))
                .bind(now)
                .execute(pool)
                .await?
                .rows_affected()
        });
        if saved == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }

    /// The newest checkpoint of a chat, of whatever episode; the caller compares.
    pub async fn load_checkpoint(&self, id: ChatId) -> Result<Option<Checkpoint>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(LOAD).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref()
                .map(|row| {
                    let row = Reader::of(row, "episodes", "chat_id");
                    Ok(Checkpoint {
                        history_version: row.int("history_version")?,
                        attempt: row.int("attempt")?,
                        seq: row.int("seq")?,
                        parts: row.json("parts")?,
                    })
                })
                .transpose()
        })
    }
}
