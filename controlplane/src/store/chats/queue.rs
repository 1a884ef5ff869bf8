//! The queue of a chat: at most twenty messages, those that steer before those that do not.

use shared::ids::QueueId;

use super::entries::QueuedRow;
use super::guard::Held;
use crate::chat::content::Effort;
use crate::chat::machine::{Queued, UserMessage};
use crate::store::attachments;
use crate::store::db::on_pool;
use crate::store::error::StoreError;
use crate::store::row::Columns;
use crate::store::text::json;

macro_rules! queued_columns {
    () => {
        "id, chat_id, position, steer, content, model_id, effort, created_at_ms"
    };
}

const FIND: &str =
    concat!("SELECT ", queued_columns!(), " FROM queued_messages WHERE id = $1 AND chat_id = $2");
pub(super) const IN_ORDER: &str = concat!(
    "SELECT ",
    queued_columns!(),
    " FROM queued_messages WHERE chat_id = $1 ORDER BY steer DESC, position"
);
const STEERED: &str = concat!(
    "SELECT ",
    queued_columns!(),
    " FROM queued_messages WHERE chat_id = $1 AND steer = TRUE ORDER BY position"
);
// The chat's row is held, so nobody else takes the same position.
const INSERT: &str = concat!(
    "INSERT INTO queued_messages \
     (id, chat_id, position, steer, content, model_id, created_at_ms, effort) VALUES ($1, $2, \
     (SELECT COALESCE(MAX(position), 0) + 1 FROM queued_messages WHERE chat_id = $2), \
     $3, $4, $5, $6, $7) RETURNING ",
    queued_columns!()
);
const DELETE: &str = "DELETE FROM queued_messages WHERE id = $1 AND chat_id = $2";
const MOVE_TO_HEAD: &str = "UPDATE queued_messages SET steer = TRUE, position = \
     (SELECT COALESCE(MIN(position), 0) - 1 FROM queued_messages WHERE chat_id = $2) \
     WHERE id = $1 AND chat_id = $2";
const REWRITE: &str = concat!(
    "UPDATE queued_messages SET content = $3, model_id = COALESCE($4, model_id), \
     effort = COALESCE($5, effort) \
     WHERE id = $1 AND chat_id = $2 RETURNING ",
    queued_columns!()
);
const POP_HEAD: &str = concat!(
    "DELETE FROM queued_messages WHERE id = (SELECT id FROM queued_messages \
     WHERE chat_id = $1 ORDER BY steer DESC, position LIMIT 1) RETURNING ",
    queued_columns!()
);
const PLACE: &str = "UPDATE queued_messages SET position = $3 WHERE id = $1 AND chat_id = $2";
const DELETE_STEERED: &str = "DELETE FROM queued_messages WHERE chat_id = $1 AND steer = TRUE";

pub(super) const STATEMENTS: &[&str] = &[
    FIND,
    IN_ORDER,
    STEERED,
    INSERT,
    DELETE,
    MOVE_TO_HEAD,
    PLACE,
    REWRITE,
    POP_HEAD,
    DELETE_STEERED,
];

impl Held<'_> {
    /// A queued message, for the machine.
    pub(super) async fn queued(&mut self, id: QueueId) -> Result<Option<Queued>, StoreError> {
        let found: Option<QueuedRow> = on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(FIND)
                .bind(id.to_string())
                .bind(self.chat.id.to_string())
                .fetch_optional(conn)
                .await?;
            row.as_ref().map(QueuedRow::read).transpose()?
        });
        Ok(found.map(|queued| Queued { steer: queued.steer }))
    }

    /// Takes the files that a person's message names, so that they stay; see
    /// [`attachments::send`].
    pub(super) async fn attach(&mut self, message: &UserMessage) -> Result<(), StoreError> {
        let place = (self.chat.id, self.chat.owner_id);
        attachments::send(self.tx, place, &message.content, self.now_ms).await
    }

    pub(super) async fn enqueue(
        &mut self,
        message: UserMessage,
        steer: bool,
    ) -> Result<(), StoreError> {
        self.chat.queue_version = self.chat.snapshot_version;
        let id: QueueId = self.base.ids.id();
        let queued = on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(self.chat.id.to_string())
                .bind(steer)
                .bind(json(&message.content))
                .bind(message.model_id.map(|id| id.to_string()))
                .bind(self.now_ms)
                .bind(message.effort.map(Effort::as_str))
                .fetch_one(conn)
                .await?;
            QueuedRow::read(&row)?
        });
        self.written.queued = Some(queued);
        Ok(())
    }

    pub(super) async fn dequeue(&mut self, id: QueueId) -> Result<(), StoreError> {
        self.change_one(DELETE, id).await
    }

    pub(super) async fn move_to_head(&mut self, id: QueueId) -> Result<(), StoreError> {
        self.change_one(MOVE_TO_HEAD, id).await
    }

    /// Moves a message to place `to` among those of its kind; over their number: to the end.
    pub(super) async fn move_in_queue(&mut self, id: QueueId, to: u32) -> Result<(), StoreError> {
        self.chat.queue_version = self.chat.snapshot_version;
        let chat = self.chat.id.to_string();
        let mut rows: Vec<QueuedRow> = on_pool!(self.tx.conn(), |conn| {
            read_queued(&sqlx::query(IN_ORDER).bind(&chat).fetch_all(conn).await?)?
        });
        let steer = rows.iter().find(|row| row.id == id).is_some_and(|row| row.steer);
        rows.retain(|row| row.steer == steer);
        let Some(at) = rows.iter().position(|row| row.id == id) else { return Ok(()) };
        let moved = rows.remove(at);
        let to = rows.len().min(usize::try_from(to).unwrap_or(usize::MAX));
        rows.insert(to, moved);
        for (position, row) in (1_i64..).zip(&rows) {
            on_pool!(self.tx.conn(), |conn| {
                sqlx::query(PLACE)
                    .bind(row.id.to_string())
                    .bind(&chat)
                    .bind(position)
                    .execute(conn)
                    .await?;
            });
        }
        self.written.queued = rows.into_iter().nth(to);
        Ok(())
    }

    async fn change_one(&mut self, sql: &'static str, id: QueueId) -> Result<(), StoreError> {
        self.chat.queue_version = self.chat.snapshot_version;
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(sql)
                .bind(id.to_string())
                .bind(self.chat.id.to_string())
                .execute(conn)
                .await?;
        });
        Ok(())
    }

    pub(super) async fn rewrite(
        &mut self,
        id: QueueId,
        message: &UserMessage,
    ) -> Result<(), StoreError> {
        self.chat.queue_version = self.chat.snapshot_version;
        let queued = on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(REWRITE)
                .bind(id.to_string())
                .bind(self.chat.id.to_string())
                .bind(json(&message.content))
                .bind(message.model_id.map(|id| id.to_string()))
                .bind(message.effort.map(Effort::as_str))
                .fetch_one(conn)
                .await?;
            QueuedRow::read(&row)?
        });
        self.written.queued = Some(queued);
        Ok(())
    }

    /// The head becomes part of the history, and a new turn begins.
    pub(super) async fn promote_head(&mut self) -> Result<(), StoreError> {
        self.chat.queue_version = self.chat.snapshot_version;
        let head = on_pool!(self.tx.conn(), |conn| {
            let row =
                sqlx::query(POP_HEAD).bind(self.chat.id.to_string()).fetch_optional(conn).await?;
            row.as_ref().map(QueuedRow::read).transpose()?
        });
        let head = head.ok_or_else(|| StoreError::Corrupt {
            table: "chats",
            column: "queue_length",
            id: self.chat.id.to_string(),
        })?;
        if self.written.queued.as_ref().is_some_and(|queued| queued.id == head.id) {
            self.written.queued = None; // it was delivered in the transaction that queued it
        }
        self.insert_user(said(head), true, None).await
    }

    /// Every message that steers becomes part of the history, in order; the turn goes on.
    pub(super) async fn promote_steered(&mut self) -> Result<(), StoreError> {
        self.chat.queue_version = self.chat.snapshot_version;
        let id = self.chat.id.to_string();
        let steered = on_pool!(self.tx.conn(), |conn| {
            read_queued(&sqlx::query(STEERED).bind(&id).fetch_all(conn).await?)?
        });
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(DELETE_STEERED).bind(&id).execute(conn).await?;
        });
        for queued in steered {
            self.insert_user(said(queued), false, None).await?;
        }
        Ok(())
    }
}

pub(super) fn read_queued<R: Columns>(rows: &[R]) -> Result<Vec<QueuedRow>, StoreError> {
    rows.iter().map(QueuedRow::read).collect()
}

fn said(queued: QueuedRow) -> UserMessage {
    UserMessage { content: queued.content, model_id: queued.model_id, effort: queued.effort }
}
