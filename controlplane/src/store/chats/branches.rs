//! Branches of a history: an edited message begins one, and every branch stays.
//!
//! ```text
//!   first ◄─ answer ◄─ second, as it was ◄─ answer        (removed: not shown)
//!                 ▲
//!                 └─── second, edited ◄─ answer           (shown; its last message is the leaf)
//! ```
//!
//! Each message knows the one before it. A branch is the way from its leaf to the first message;
//! `removed` marks what is not on the way of the branch that is shown, so that everything that
//! reads a history reads one branch. `seq` ascends along each of them. A change of branch gives
//! every message that comes or goes a new revision, so that viewers are told.

use shared::ids::MessageId;

use super::ChatStore;
use super::effects::Variant;
use super::entries::MessageRow;
use super::guard::Held;
use super::read::{message_columns, read_messages};
use crate::chat::content::Role;
use crate::chat::machine::{Target, UserMessage};
use crate::store::db::on_pool;
use crate::store::error::StoreError;
use crate::store::row::Reader;

const FIND: &str =
    concat!("SELECT ", message_columns!(), " FROM messages WHERE id = $1 AND chat_id = $2");
const COUNT: &str = "SELECT COUNT(*) AS variants FROM messages \
     WHERE chat_id = $2 AND (fork_id = $1 OR id = $1)";
const LEAVE: &str = "UPDATE messages SET removed = TRUE, revision = $2 \
     WHERE chat_id = $1 AND removed = FALSE AND seq >= $3";
const NUMBER: &str = "UPDATE messages SET fork_id = $2, variants = $3 \
     WHERE chat_id = $1 AND (fork_id = $2 OR id = $2)";
const LEAF: &str = "WITH RECURSIVE below (id, seq) AS ( \
     SELECT id, seq FROM messages WHERE id = $1 \
     UNION ALL SELECT messages.id, messages.seq FROM messages \
     JOIN below ON messages.parent_id = below.id) \
     SELECT id FROM below ORDER BY seq DESC LIMIT 1";
macro_rules! way {
    () => {
        "(WITH RECURSIVE way (id, parent_id) AS ( \
         SELECT id, parent_id FROM messages WHERE id = $3 \
         UNION ALL SELECT messages.id, messages.parent_id FROM messages \
         JOIN way ON messages.id = way.parent_id) SELECT id FROM way)"
    };
}
const HIDE: &str = concat!(
    "UPDATE messages SET removed = TRUE, revision = $2 \
     WHERE chat_id = $1 AND removed = FALSE AND id NOT IN ",
    way!()
);
const SHOW: &str = concat!(
    "UPDATE messages SET removed = FALSE, revision = $2 \
     WHERE chat_id = $1 AND removed = TRUE AND id IN ",
    way!()
);
const VARIANTS: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE chat_id = $1 AND (fork_id = $2 OR id = $2) ORDER BY variant"
);

pub(super) const STATEMENTS: &[&str] = &[FIND, COUNT, LEAVE, NUMBER, LEAF, HIDE, SHOW, VARIANTS];

impl Held<'_> {
    async fn message(&mut self, id: MessageId) -> Result<Option<MessageRow>, StoreError> {
        on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(FIND)
                .bind(id.to_string())
                .bind(self.chat.id.to_string())
                .fetch_optional(conn)
                .await?;
            row.as_ref().map(MessageRow::read).transpose()
        })
    }

    /// A message that is to be edited, or (`any_branch`) whose branch is to be shown.
    pub(super) async fn target(
        &mut self,
        id: MessageId,
        any_branch: bool,
    ) -> Result<Target, StoreError> {
        Ok(match self.message(id).await? {
            None => Target::Missing,
            Some(row) if row.removed && !any_branch => Target::Missing,
            Some(row) if row.role != Role::User => Target::NotUser,
            Some(_) => Target::User,
        })
    }

    /// Leaves the branch from `id` on and begins another with `message`.
    pub(super) async fn fork(
        &mut self,
        id: MessageId,
        message: UserMessage,
    ) -> Result<(), StoreError> {
        let old = self.message(id).await?.ok_or(StoreError::NotFound)?;
        let fork_id = old.fork_id.unwrap_or(old.id);
        let (chat, fork) = (self.chat.id.to_string(), fork_id.to_string());
        let variants: i64 = on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(COUNT).bind(&fork).bind(&chat).fetch_one(conn).await?;
            Reader::of(&row, "messages", "id").int("variants")?
        });
        let number = variants + 1;
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(LEAVE)
                .bind(&chat)
                .bind(self.chat.snapshot_version)
                .bind(old.seq)
                .execute(conn)
                .await?;
        });
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(NUMBER).bind(&chat).bind(&fork).bind(number).execute(conn).await?;
        });
        self.chat.leaf_id = old.parent_id;
        self.written.messages.clear(); // what was answered in the branch that is left
        self.insert_user(message, true, Some(Variant { fork_id, number })).await
    }

    /// Shows the newest branch with message `id`.
    pub(super) async fn show_branch(&mut self, id: MessageId) -> Result<(), StoreError> {
        let leaf: MessageId = on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(LEAF).bind(id.to_string()).fetch_one(conn).await?;
            Reader::of(&row, "messages", "id").parsed("id")?
        });
        for sql in [HIDE, SHOW] {
            on_pool!(self.tx.conn(), |conn| {
                sqlx::query(sql)
                    .bind(self.chat.id.to_string())
                    .bind(self.chat.snapshot_version)
                    .bind(leaf.to_string())
                    .execute(conn)
                    .await?;
            });
        }
        self.history_changed();
        self.chat.leaf_id = Some(leaf);
        Ok(())
    }
}

impl ChatStore {
    /// Every text of a message that was edited, in the order of the edits; the message alone if it
    /// never was. None: there is no such message in the chat.
    pub async fn variants(
        &self,
        chat: shared::ids::ChatId,
        id: MessageId,
    ) -> Result<Option<Vec<MessageRow>>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(FIND)
                .bind(id.to_string())
                .bind(chat.to_string())
                .fetch_optional(pool)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let found = MessageRow::read(&row)?;
            let fork = found.fork_id.unwrap_or(found.id);
            let rows = sqlx::query(VARIANTS)
                .bind(chat.to_string())
                .bind(fork.to_string())
                .fetch_all(pool)
                .await?;
            read_messages(&rows).map(Some)
        })
    }
}
