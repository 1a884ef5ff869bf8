//! Reading chats: nothing here takes a lock.

use shared::ids::{ChatId, OpId, ReplicaId, UserId, WorkspaceId};

use super::ChatStore;
use super::asked::{ChatFilter, ChatListCursor, ChatSnapshot, MessagePage, PageOf};
use super::effects::{OPEN_BATCH, read_operations};
use super::entries::{MessageRow, OperationRow};
use super::guard::chat_columns;
use super::queue::{IN_ORDER, read_queued};
use super::rows::ChatRow;
use crate::chat::edit_check::EditCheck;
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::row::{Columns, Reader};
use crate::store::text::json;

macro_rules! message_columns {
    () => {
        "id, chat_id, seq, revision, role, content, raw_kind, model, usage, removed, \
         parent_id, fork_id, variant, variants, label, created_at_ms"
    };
}
pub(super) use message_columns;

const HEAD: &str = concat!("SELECT ", chat_columns!(), " FROM chats WHERE id = $1");
const CHANGED: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE chat_id = $1 AND revision > $2 ORDER BY seq"
);
pub(super) const HISTORY: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE chat_id = $1 AND removed = FALSE ORDER BY seq"
);
const PAGE_AFTER: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE chat_id = $1 AND removed = FALSE AND seq > $2 ORDER BY seq LIMIT $3"
);
const PAGE_BEFORE: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM messages WHERE chat_id = $1 AND removed = FALSE AND seq < $2 \
     ORDER BY seq DESC LIMIT $3"
);
const LIST: &str = concat!(
    "SELECT ",
    chat_columns!(),
    " FROM chats WHERE owner_id = $1 AND (updated_at_ms, id) < ($2, $3) \
     AND archived = COALESCE($4, archived) \
     AND (CAST($5 AS TEXT) IS NULL OR workspace_id = $5) \
     AND (parent_id IS NULL OR status NOT IN ('waiting', 'error')) \
     ORDER BY updated_at_ms DESC, id DESC LIMIT $6"
);
const EDIT_CHECK: &str = "SELECT chats.edit_check AS own, workspaces.edit_check AS common \
     FROM chats LEFT JOIN workspaces ON workspaces.id = $2 WHERE chats.id = $1";
const SET_EDIT_CHECK: &str = "UPDATE chats SET edit_check = $2 WHERE id = $1";
const WORKER: &str = "SELECT worker_id FROM chats WHERE id = $1";
const ACKNOWLEDGE: &str = "UPDATE operations SET acknowledged = TRUE WHERE op_id = $1";
const UNACKNOWLEDGED: &str = "SELECT op_id FROM operations \
     WHERE workspace_id = $1 AND acknowledged = FALSE AND state = 'done' ORDER BY op_id LIMIT $2";

const COUNT_BY_STATUS: &str = "SELECT status, COUNT(*) AS chats FROM chats \
     WHERE archived = FALSE GROUP BY status ORDER BY status";

pub(super) const STATEMENTS: &[&str] = &[
    HEAD,
    CHANGED,
    HISTORY,
    PAGE_AFTER,
    PAGE_BEFORE,
    LIST,
    EDIT_CHECK,
    SET_EDIT_CHECK,
    WORKER,
    ACKNOWLEDGE,
    UNACKNOWLEDGED,
    COUNT_BY_STATUS,
];

/// Which messages of a snapshot.
#[derive(Clone, Copy)]
enum Window {
    /// Those that changed after this revision, removed ones included.
    Since(i64),
    /// So many of the newest that are shown.
    Newest(u32),
}

impl ChatStore {
    /// One chat.
    pub async fn head(&self, id: ChatId) -> Result<Option<ChatRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(HEAD).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref().map(ChatRow::read).transpose()
        })
    }

    /// What is run after edits in this chat; none: nothing.
    pub async fn edit_check(
        &self,
        id: ChatId,
        workspace: WorkspaceId,
    ) -> Result<Option<EditCheck>, StoreError> {
        let (own, common) = self.edit_checks(id, Some(workspace)).await?;
        Ok(EditCheck::of(own, common))
    }

    /// The chat's own check after edits; none: that of its workspace holds.
    pub async fn own_edit_check(&self, id: ChatId) -> Result<Option<EditCheck>, StoreError> {
        Ok(self.edit_checks(id, None).await?.0)
    }

    async fn edit_checks(
        &self,
        id: ChatId,
        workspace: Option<WorkspaceId>,
    ) -> Result<(Option<EditCheck>, Option<EditCheck>), StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let found = sqlx::query(EDIT_CHECK)
                .bind(id.to_string())
                .bind(workspace.map(|id| id.to_string()))
                .fetch_optional(pool)
                .await?;
            let Some(row) = found else { return Ok((None, None)) };
            let row = Reader::of(&row, "chats", "edit_check");
            Ok((row.json_or_null("own")?, row.json_or_null("common")?))
        })
    }

    /// Sets the chat's own check after edits; none: that of its workspace holds. No version is
    /// raised: nobody is shown it.
    pub async fn set_edit_check(
        &self,
        id: ChatId,
        check: Option<&EditCheck>,
    ) -> Result<(), StoreError> {
        let changed = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(SET_EDIT_CHECK)
                .bind(id.to_string())
                .bind(check.map(json))
                .execute(pool)
                .await?
                .rows_affected()
        });
        if changed == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// One chat, with its place in the queue.
    pub async fn head_in_queue(&self, id: ChatId) -> Result<Option<ChatRow>, StoreError> {
        let mut row = self.head(id).await?;
        if let Some(row) = &mut row {
            self.fill_places(std::slice::from_mut(row)).await?;
        }
        Ok(row)
    }

    /// The replica that drives the chat; none: nobody does, or there is no such chat. Its lease may
    /// have ended.
    pub async fn worker_of(&self, id: ChatId) -> Result<Option<ReplicaId>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(WORKER).bind(id.to_string()).fetch_optional(pool).await?;
            let worker = row.map(|row| Reader::of(&row, "chats", "id").parsed_or_null("worker_id"));
            Ok(worker.transpose()?.flatten())
        })
    }

    /// How many chats that are not archived stand where; none are left out.
    pub async fn count_by_status(&self) -> Result<Vec<(String, i64)>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            Ok(sqlx::query_as(COUNT_BY_STATUS).fetch_all(pool).await?)
        })
    }

    /// Everything a viewer needs, of one moment: messages with a revision over `since_revision`
    /// (zero: all), the queue, the open batch.
    pub async fn snapshot(
        &self,
        id: ChatId,
        since_revision: i64,
    ) -> Result<Option<ChatSnapshot>, StoreError> {
        self.snapshot_of(id, Window::Since(since_revision)).await
    }

    /// Everything a viewer needs, of one moment, with the newest `limit` messages of the branch that
    /// is shown: as much work for a long chat as for a short one.
    pub async fn snapshot_of_newest(
        &self,
        id: ChatId,
        limit: u32,
    ) -> Result<Option<ChatSnapshot>, StoreError> {
        self.snapshot_of(id, Window::Newest(limit)).await
    }

    async fn snapshot_of(
        &self,
        id: ChatId,
        window: Window,
    ) -> Result<Option<ChatSnapshot>, StoreError> {
        let key = id.to_string();
        let mut tx = Tx::begin_read(&self.base.db).await?;
        let chat: Option<ChatRow> = on_pool!(tx.conn(), |conn| {
            let row = sqlx::query(HEAD).bind(&key).fetch_optional(conn).await?;
            row.as_ref().map(ChatRow::read).transpose()?
        });
        let Some(chat) = chat else {
            tx.roll_back().await?;
            return Ok(None);
        };
        let mut snapshot =
            ChatSnapshot { chat, messages: vec![], queue: vec![], operations: vec![] };
        match window {
            Window::Since(revision) if snapshot.chat.messages_changed() <= revision => {}
            Window::Since(revision) => {
                snapshot.messages = on_pool!(tx.conn(), |conn| {
                    let query = sqlx::query(CHANGED).bind(&key).bind(revision);
                    read_messages(&query.fetch_all(conn).await?)?
                });
            }
            Window::Newest(limit) => {
                snapshot.messages = on_pool!(tx.conn(), |conn| {
                    let query = sqlx::query(PAGE_BEFORE).bind(&key).bind(i64::MAX);
                    read_messages(&query.bind(i64::from(limit)).fetch_all(conn).await?)?
                });
                snapshot.messages.reverse();
            }
        }
        if snapshot.chat.queue_length > 0 {
            snapshot.queue = on_pool!(tx.conn(), |conn| {
                read_queued(&sqlx::query(IN_ORDER).bind(&key).fetch_all(conn).await?)?
            });
        }
        if snapshot.chat.unanswered > 0 {
            snapshot.operations = on_pool!(tx.conn(), |conn| {
                read_operations(&sqlx::query(OPEN_BATCH).bind(&key).fetch_all(conn).await?)?
            });
        }
        tx.roll_back().await?;
        self.fill_places(std::slice::from_mut(&mut snapshot.chat)).await?;
        Ok(Some(snapshot))
    }

    /// One page of the history, at most `limit` messages, by `seq` ascending.
    pub async fn messages_page(
        &self,
        id: ChatId,
        of: PageOf,
        limit: u32,
    ) -> Result<MessagePage, StoreError> {
        let (sql, seq) = match of {
            PageOf::Newest => (PAGE_BEFORE, i64::MAX),
            PageOf::Before(seq) => (PAGE_BEFORE, seq),
            PageOf::After(seq) => (PAGE_AFTER, seq),
        };
        let mut items: Vec<MessageRow> = on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(sql)
                .bind(id.to_string())
                .bind(seq)
                .bind(i64::from(limit) + 1)
                .fetch_all(pool)
                .await?;
            read_messages(&rows)?
        });
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        if sql == PAGE_BEFORE {
            items.reverse();
        }
        Ok(MessagePage { items, more })
    }

    /// The whole history, by `seq`, for prompts.
    pub async fn history(&self, id: ChatId) -> Result<Vec<MessageRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            read_messages(&sqlx::query(HISTORY).bind(id.to_string()).fetch_all(pool).await?)
        })
    }

    /// The open batch, in order of the calls, answers included; empty: none is open.
    pub async fn open_operations(&self, id: ChatId) -> Result<Vec<OperationRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            read_operations(&sqlx::query(OPEN_BATCH).bind(id.to_string()).fetch_all(pool).await?)
        })
    }

    /// The chats of a person after `after`, newest change first, at most `limit`; of agents only
    /// those that work.
    pub async fn list(
        &self,
        owner: UserId,
        filter: &ChatFilter,
        after: Option<ChatListCursor>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, StoreError> {
        let (at_ms, id) = match after {
            Some(after) => (after.updated_at_ms, after.id.to_string()),
            None => (i64::MAX, String::new()), // no row changed at that time, so no id matters
        };
        let mut listed: Vec<ChatRow> = on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(LIST)
                .bind(owner.to_string())
                .bind(at_ms)
                .bind(id)
                .bind(filter.archived)
                .bind(filter.workspace_id.map(|id| id.to_string()))
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
            rows.iter().map(ChatRow::read).collect::<Result<_, StoreError>>()?
        });
        self.fill_places(&mut listed).await?;
        Ok(listed)
    }

    /// Notes that the daemon was told that these answers are stored. Idempotent. One transaction;
    /// no chat changes, so no version is raised.
    pub async fn acknowledged(&self, op_ids: &[OpId]) -> Result<(), StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            for op_id in op_ids {
                on_pool!(tx.conn(), |conn| {
                    sqlx::query(ACKNOWLEDGE).bind(op_id.to_string()).execute(conn).await?;
                });
            }
        })
    }

    /// Stored answers of which the daemon does not know that, oldest first, at most `limit`.
    pub async fn unacknowledged(
        &self,
        workspace: WorkspaceId,
        limit: u32,
    ) -> Result<Vec<OpId>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(UNACKNOWLEDGED)
                .bind(workspace.to_string())
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
            rows.iter().map(|row| Reader::of(row, "operations", "op_id").parsed("op_id")).collect()
        })
    }
}

pub(super) fn read_messages<R: Columns>(rows: &[R]) -> Result<Vec<MessageRow>, StoreError> {
    rows.iter().map(MessageRow::read).collect()
}
