//! The one transaction in which an upload becomes an attachment.

use bytes::Bytes;
use shared::ids::{AttachmentId, BlobId, ChatId, UserId};
use shared::limits::ATTACHMENTS_PER_CHAT;

use super::bytes::{INSERT as INSERT_BLOB, INSERT_CHUNK};
use super::{AttachmentRow, AttachmentStore, columns, read};
use crate::chat::machine::Refusal;
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::row::{Columns, Reader};
use crate::store::text::clean;

/// Tries against another upload of the same bytes at the same moment.
const TRIES: u32 = 4;

// The rows that are counted below are counted by one transaction at a time.
const HOLD_CHAT: &str = "UPDATE chats SET snapshot_version = snapshot_version \
     WHERE id = $1 AND owner_id = $2";
const HOLD_OWNER: &str = "UPDATE users SET role = role WHERE id = $1";
const SAME_IN_CHAT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM attachments WHERE chat_id = $1 AND hash = $2 AND name = $3 ORDER BY id LIMIT 1"
);
const SAME_WAITING: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM attachments WHERE owner_id = $1 AND chat_id IS NULL AND hash = $2 AND name = $3 \
     ORDER BY id LIMIT 1"
);
const COUNT_CHAT: &str = "SELECT COUNT(*) AS files FROM attachments WHERE chat_id = $1";
const COUNT_WAITING: &str =
    "SELECT COUNT(*) AS files FROM attachments WHERE owner_id = $1 AND chat_id IS NULL";
// Taken by a write, so that the sweep and this wait for each other.
const KNOWN: &str =
    "UPDATE blobs SET used_at_ms = $3 WHERE owner_id = $1 AND hash = $2 RETURNING id";
const NAME_BLOB: &str = "UPDATE blobs SET hash = $2, size_bytes = $3, used_at_ms = $4 \
     WHERE id = $1 AND hash IS NULL";
const DROP_BLOB: &str = "DELETE FROM blobs WHERE id = $1 AND hash IS NULL";
const INSERT: &str = concat!(
    "INSERT INTO attachments (id, owner_id, chat_id, blob_id, name, media_type, size_bytes, \
     hash, width, height, created_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
     RETURNING ",
    columns!()
);

pub(super) const STATEMENTS: &[&str] = &[
    HOLD_CHAT,
    HOLD_OWNER,
    SAME_IN_CHAT,
    SAME_WAITING,
    COUNT_CHAT,
    COUNT_WAITING,
    KNOWN,
    NAME_BLOB,
    DROP_BLOB,
    INSERT,
];

/// An upload whose last byte is there.
#[derive(Clone, Debug)]
pub struct NewAttachment {
    /// Whose it is.
    pub owner: UserId,
    /// The chat, which is the owner's; none: for a chat that does not exist yet.
    pub chat: Option<ChatId>,
    /// Its name, checked.
    pub name: String,
    /// What the bytes are.
    pub media_type: String,
    /// SHA-256 of all of it, in hexadecimal.
    pub hash: String,
    /// Bytes of all of it.
    pub size: u64,
    /// Pixels of an image: width and height.
    pub pixels: Option<(u32, u32)>,
    /// The blob and the number of its rows so far; none: `tail` is all of it.
    pub begun: Option<(BlobId, i64)>,
    /// The bytes behind the rows that were written.
    pub tail: Bytes,
}

/// What an upload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A new attachment.
    New(AttachmentRow),
    /// The same bytes under the same name were there.
    Again(AttachmentRow),
}

impl Kept {
    /// The attachment.
    #[must_use]
    pub fn row(&self) -> &AttachmentRow {
        match self {
            Self::New(row) | Self::Again(row) => row,
        }
    }
}

impl AttachmentStore {
    /// Makes an attachment of what was uploaded, or answers the one that is the same. Idempotent by
    /// place, name and bytes.
    ///
    /// Errors: [`StoreError::NotFound`]: no such chat, or not the owner's. Refused: too many.
    pub async fn keep(&self, new: &NewAttachment) -> Result<Kept, StoreError> {
        shared::fault::pass("k3 keep").await;
        let mut tries = 1;
        let kept = loop {
            match self.try_keep(new).await {
                // Another upload of the same bytes was first, or the sweep was.
                Err(StoreError::Conflict) if tries < TRIES => tries += 1,
                kept => break kept?,
            }
        };
        shared::fault::pass("k4 kept").await;
        Ok(kept)
    }

    async fn try_keep(&self, new: &NewAttachment) -> Result<Kept, StoreError> {
        let id: AttachmentId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        in_write_tx!(&self.base.db, |tx| {
            hold(tx, new).await?;
            match same(tx, new).await? {
                Some(row) => {
                    if let Some((blob, _)) = new.begun {
                        drop_blob(tx, blob).await?;
                    }
                    Kept::Again(row)
                }
                None => {
                    let blob = self.blob(tx, new, now).await?;
                    let pixel = |of: fn((u32, u32)) -> u32| new.pixels.map(|p| i64::from(of(p)));
                    let row = on_pool!(tx.conn(), |conn| {
                        let row = sqlx::query(INSERT)
                            .bind(id.to_string())
                            .bind(new.owner.to_string())
                            .bind(new.chat.map(|chat| chat.to_string()))
                            .bind(blob.to_string())
                            .bind(clean(&new.name))
                            .bind(&new.media_type)
                            .bind(i64::try_from(new.size).unwrap_or(i64::MAX))
                            .bind(&new.hash)
                            .bind(pixel(|(width, _)| width))
                            .bind(pixel(|(_, height)| height))
                            .bind(now)
                            .fetch_one(conn)
                            .await?;
                        read(&row)?
                    });
                    Kept::New(row)
                }
            }
        })
    }

    /// The blob that holds the bytes: the owner's own one of the same hash, or this upload's.
    async fn blob(&self, tx: &mut Tx, new: &NewAttachment, now: i64) -> Result<BlobId, StoreError> {
        let known: Option<BlobId> = on_pool!(tx.conn(), |conn| {
            let row = sqlx::query(KNOWN)
                .bind(new.owner.to_string())
                .bind(&new.hash)
                .bind(now)
                .fetch_optional(conn)
                .await?;
            row.map(|row| Reader::of(&row, "blobs", "id").parsed("id")).transpose()?
        });
        if let Some(known) = known {
            if let Some((blob, _)) = new.begun {
                drop_blob(tx, blob).await?;
            }
            return Ok(known);
        }
        let (blob, ordinal) = match new.begun {
            Some(begun) => begun,
            None => {
                let blob: BlobId = self.base.ids.id();
                on_pool!(tx.conn(), |conn| {
                    sqlx::query(INSERT_BLOB)
                        .bind(blob.to_string())
                        .bind(new.owner.to_string())
                        .bind(now)
                        .execute(conn)
                        .await?;
                });
                (blob, 0)
            }
        };
        if !new.tail.is_empty() {
            on_pool!(tx.conn(), |conn| {
                sqlx::query(INSERT_CHUNK)
                    .bind(blob.to_string())
                    .bind(ordinal)
                    .bind(new.tail.as_ref())
                    .execute(conn)
                    .await?;
            });
        }
        let named = on_pool!(tx.conn(), |conn| {
            sqlx::query(NAME_BLOB)
                .bind(blob.to_string())
                .bind(&new.hash)
                .bind(i64::try_from(new.size).unwrap_or(i64::MAX))
                .bind(now)
                .execute(conn)
                .await?
                .rows_affected()
        });
        // Swept while it was uploaded: its first rows are gone.
        if named == 1 { Ok(blob) } else { Err(StoreError::Conflict) }
    }
}

/// Takes the row whose attachments are counted.
async fn hold(tx: &mut Tx, new: &NewAttachment) -> Result<(), StoreError> {
    let held = on_pool!(tx.conn(), |conn| {
        match new.chat {
            Some(chat) => sqlx::query(HOLD_CHAT).bind(chat.to_string()).bind(new.owner.to_string()),
            None => sqlx::query(HOLD_OWNER).bind(new.owner.to_string()),
        }
        .execute(conn)
        .await?
        .rows_affected()
    });
    if held == 1 { Ok(()) } else { Err(StoreError::NotFound) }
}

/// The attachment that this upload would repeat. Errors: refused if there is no room for another.
async fn same(tx: &mut Tx, new: &NewAttachment) -> Result<Option<AttachmentRow>, StoreError> {
    let (place, same, count) = match new.chat {
        Some(chat) => (chat.to_string(), SAME_IN_CHAT, COUNT_CHAT),
        None => (new.owner.to_string(), SAME_WAITING, COUNT_WAITING),
    };
    let found = on_pool!(tx.conn(), |conn| {
        let query = sqlx::query(same).bind(&place).bind(&new.hash).bind(clean(&new.name));
        query.fetch_optional(conn).await?.as_ref().map(read).transpose()?
    });
    if found.is_some() {
        return Ok(found);
    }
    let files = on_pool!(tx.conn(), |conn| {
        let row = sqlx::query(count).bind(&place).fetch_one(conn).await?;
        row.raw_int("files")?.unwrap_or_default()
    });
    if files >= i64::from(ATTACHMENTS_PER_CHAT) {
        return Err(Refusal::TooManyAttachments { max: ATTACHMENTS_PER_CHAT }.into());
    }
    Ok(None)
}

async fn drop_blob(tx: &mut Tx, blob: BlobId) -> Result<(), StoreError> {
    on_pool!(tx.conn(), |conn| {
        sqlx::query(DROP_BLOB).bind(blob.to_string()).execute(conn).await?;
    });
    Ok(())
}
