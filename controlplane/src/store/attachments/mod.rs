//! Files that people attach to chats.
//!
//! ```text
//! append … append ─► keep (one transaction) ─► waits ──a message names it──► sent ──► goes with its chat
//!   │ died: a blob without a hash                │ removed, or a day old: gone
//!   └──────────────── sweep ◄────────────────────┘
//! ```
//!
//! The bytes are rows of a megabyte each in a table that nothing else reads, so that every replica
//! has them, a backup holds them and a transaction decides whether they are there
//! (`docs/design/025-attachments.md`). They are kept once per person and hash; what people see is an
//! attachment, which names them. One that waits belongs to a chat, or to nobody's chat yet.
//!
//! Invariants: an attachment's bytes are whole from the moment it can be seen; a message names only
//! attachments of its chat, and those stay as long as the chat does.

mod bytes;
mod keep;
mod sweep;

use shared::ids::{AttachmentId, BlobId, ChatId, UserId};

use super::Base;
use super::db::{Tx, in_write_tx, on_pool};
use super::error::StoreError;
use super::row::{Columns, Reader};
use crate::chat::content::{FileRef, Part, StoredPart};
use crate::chat::machine::Refusal;

pub use keep::{Kept, NewAttachment};

/// Most bytes of one row of a blob.
pub const CHUNK_BYTES: usize = 1024 * 1024;

macro_rules! columns {
    () => {
        "id, owner_id, chat_id, blob_id, name, media_type, size_bytes, hash, width, height, \
         created_at_ms, sent_at_ms"
    };
}
use columns;

const FIND: &str = concat!("SELECT ", columns!(), " FROM attachments WHERE id = $1");
const OF_CHAT: &str =
    concat!("SELECT ", columns!(), " FROM attachments WHERE chat_id = $1 ORDER BY id");
/// Whoever asks may have it: it is the chat's, or the person's and in no chat yet.
const SEND: &str = "UPDATE attachments SET chat_id = $2, sent_at_ms = COALESCE(sent_at_ms, $4) \
     WHERE id = $1 AND (chat_id = $2 OR (chat_id IS NULL AND owner_id = $3))";
const COUNT: &str = "SELECT COUNT(*) AS files FROM attachments WHERE chat_id = $1";
const REMOVE: &str = "DELETE FROM attachments WHERE id = $1 AND sent_at_ms IS NULL";
const COPY: &str = "INSERT INTO attachments (id, owner_id, chat_id, blob_id, name, media_type, \
     size_bytes, hash, width, height, created_at_ms, sent_at_ms) \
     SELECT $1, owner_id, $2, blob_id, name, media_type, size_bytes, hash, width, height, $4, $4 \
     FROM attachments WHERE id = $3";

pub(super) const STATEMENTS: &[&[&str]] = &[
    &[FIND, OF_CHAT, SEND, COUNT, REMOVE, COPY],
    bytes::STATEMENTS,
    keep::STATEMENTS,
    sweep::STATEMENTS,
];

/// A file that is there whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentRow {
    /// Who uploaded it.
    pub owner_id: UserId,
    /// Its chat; none: it was uploaded for a chat that does not exist yet.
    pub chat_id: Option<ChatId>,
    /// Its bytes.
    pub blob_id: BlobId,
    /// What messages say of it.
    pub file: FileRef,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// When a message first named it, in unix milliseconds; none: it waits.
    pub sent_at_ms: Option<i64>,
}

/// The attachments. Cheap to clone.
#[derive(Clone)]
pub struct AttachmentStore {
    base: Base,
}

impl AttachmentStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// One attachment, whosever it is.
    pub async fn find(&self, id: AttachmentId) -> Result<Option<AttachmentRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(FIND).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// The attachments of a chat, oldest first; at most
    /// [`ATTACHMENTS_PER_CHAT`](shared::limits::ATTACHMENTS_PER_CHAT).
    pub async fn of_chat(&self, chat: ChatId) -> Result<Vec<AttachmentRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(OF_CHAT).bind(chat.to_string()).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// Removes an attachment that no message names. The caller has checked whose it is.
    ///
    /// Errors: refused if a message names it; [`StoreError::NotFound`].
    pub async fn remove(&self, id: AttachmentId) -> Result<(), StoreError> {
        shared::fault::pass("k0 remove").await;
        let removed = in_write_tx!(&self.base.db, |tx| {
            let removed = on_pool!(tx.conn(), |conn| {
                sqlx::query(REMOVE).bind(id.to_string()).execute(conn).await?.rows_affected()
            });
            let is_there = removed == 0
                && on_pool!(tx.conn(), |conn| {
                    sqlx::query(FIND).bind(id.to_string()).fetch_optional(conn).await?.is_some()
                });
            (removed, is_there)
        })?;
        match removed {
            (0, true) => Err(Refusal::AttachmentSent.into()),
            (0, false) => Err(StoreError::NotFound),
            _ => Ok(()),
        }
    }
}

/// Notes in the transaction of a message that it names these files, which are then the chat's and
/// stay. The transaction holds the chat's row.
///
/// Errors: refused if one is not the chat's to name, or the chat gets too many.
pub(super) async fn send(
    tx: &mut Tx,
    (chat, owner): (ChatId, UserId),
    content: &[StoredPart],
    now_ms: i64,
) -> Result<(), StoreError> {
    let mut ids: Vec<AttachmentId> = Vec::new();
    for stored in content {
        if let Part::File { file } = &stored.part {
            ids.push(file.attachment_id);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    for id in ids {
        let sent = on_pool!(tx.conn(), |conn| {
            sqlx::query(SEND)
                .bind(id.to_string())
                .bind(chat.to_string())
                .bind(owner.to_string())
                .bind(now_ms)
                .execute(conn)
                .await?
                .rows_affected()
        });
        if sent != 1 {
            return Err(Refusal::AttachmentNotFound.into());
        }
    }
    let max = shared::limits::ATTACHMENTS_PER_CHAT;
    let files = on_pool!(tx.conn(), |conn| {
        let row = sqlx::query(COUNT).bind(chat.to_string()).fetch_one(conn).await?;
        Reader::of(&row, "attachments", "files").int("files")?
    });
    if files > i64::from(max) {
        return Err(Refusal::TooManyAttachments { max }.into());
    }
    Ok(())
}

/// Gives the chat `to` attachments of its own for the files that `content` names, and names those.
pub(super) async fn copy(
    tx: &mut Tx,
    base: &Base,
    to: ChatId,
    content: &mut [StoredPart],
    now_ms: i64,
) -> Result<(), StoreError> {
    for stored in content {
        let Part::File { file } = &mut stored.part else { continue };
        let id: AttachmentId = base.ids.id();
        on_pool!(tx.conn(), |conn| {
            sqlx::query(COPY)
                .bind(id.to_string())
                .bind(to.to_string())
                .bind(file.attachment_id.to_string())
                .bind(now_ms)
                .execute(conn)
                .await?;
        });
        file.attachment_id = id;
    }
    Ok(())
}

fn read<R: Columns>(row: &R) -> Result<AttachmentRow, StoreError> {
    let row = Reader::of(row, "attachments", "id");
    let pixels = |column| {
        let value = row.int_or_null(column)?;
        Ok::<_, StoreError>(value.and_then(|value| u32::try_from(value).ok()))
    };
    Ok(AttachmentRow {
        owner_id: row.parsed("owner_id")?,
        chat_id: row.parsed_or_null("chat_id")?,
        blob_id: row.parsed("blob_id")?,
        file: FileRef {
            attachment_id: row.parsed("id")?,
            name: row.text("name")?,
            media_type: row.text("media_type")?,
            size: row.int("size_bytes")?.unsigned_abs(),
            hash: row.text("hash")?,
            width: pixels("width")?,
            height: pixels("height")?,
        },
        created_at_ms: row.int("created_at_ms")?,
        sent_at_ms: row.int_or_null("sent_at_ms")?,
    })
}
