//! Files that people attach to chats: taken in and given out piece by piece.
//!
//! Nothing that a client says of a file is believed: its type follows from its bytes ([`kind`]), its
//! name is cut to a plain one ([`name`]), its size and its hash are counted here. At most
//! [`CHUNK_BYTES`] of one upload or one download are in memory. An upload that ends early leaves
//! nothing that anybody sees.

pub mod name;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use ring::digest;
use shared::ids::{AttachmentId, BlobId, ChatId, UserId};
use shared::limits::ATTACHMENT_MAX_BYTES;

use super::content::{FileRef, kind};
use crate::store::attachments::{AttachmentRow, AttachmentStore, CHUNK_BYTES, Kept, NewAttachment};
use crate::store::chats::ChatStore;
use crate::store::{Store, StoreError};

/// Why an upload was not kept. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UploadError<E> {
    /// It has no byte.
    #[error("the file is empty")]
    Empty,
    /// It is over the limit.
    #[error("the file is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// The bytes are not those that were announced.
    #[error("the file's SHA-256 is {found}, not the one that was announced")]
    Digest {
        /// Of what came, in hexadecimal.
        found: String,
    },
    /// The body ended with an error.
    #[error("the file did not arrive")]
    Body(E),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a client says of a file that it sends.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    /// As it came.
    pub name: String,
    /// SHA-256; none: it does not say.
    pub digest: Option<[u8; 32]>,
}

/// The attachments. Cheap to clone.
#[derive(Clone)]
pub struct Attachments {
    store: AttachmentStore,
    chats: ChatStore,
}

impl Attachments {
    /// Over the store.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { store: store.attachments.clone(), chats: store.chats.clone() }
    }

    /// Takes a file in for a chat of the user's, or for one that does not exist yet. The same bytes
    /// under the same name in the same place are answered with the file that is there.
    ///
    /// Not cancel-safe: what a dropped upload had written is swept later.
    pub async fn upload<E>(
        &self,
        (user, chat): (UserId, Option<ChatId>),
        announced: Announced,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Kept, UploadError<E>> {
        if let Some(chat) = chat {
            self.own(user, chat).await?;
        }
        let mut taking = Taking::new(&self.store, user);
        let taken = match taking.all(body).await {
            Ok(()) => taking.checked(&announced),
            Err(error) => Err(error),
        };
        let kept = match taken {
            Ok(new) => {
                let new = NewAttachment { chat, name: name::plain(&announced.name), ..new };
                self.store.keep(&new).await.map_err(UploadError::Store)
            }
            Err(error) => Err(error),
        };
        if let (Err(_), Some((blob, _))) = (&kept, taking.begun) {
            // If this fails too, the sweep does it.
            let _ = self.store.abandon(blob).await;
        }
        kept
    }

    /// A file of a chat of the user's.
    ///
    /// Errors: [`StoreError::NotFound`], the same whether the chat, the file or the right is missing.
    pub async fn find(
        &self,
        user: UserId,
        chat: ChatId,
        id: AttachmentId,
    ) -> Result<AttachmentRow, StoreError> {
        self.own(user, chat).await?;
        let row = self.store.find(id).await?;
        row.filter(|row| row.chat_id == Some(chat)).ok_or(StoreError::NotFound)
    }

    /// The files of a chat of the user's, oldest first.
    pub async fn list(&self, user: UserId, chat: ChatId) -> Result<Vec<AttachmentRow>, StoreError> {
        self.own(user, chat).await?;
        self.store.of_chat(chat).await
    }

    /// Removes a file that no message names, of a chat of the user's or (none) of no chat yet.
    ///
    /// Errors: refused if a message names it; [`StoreError::NotFound`].
    pub async fn remove(
        &self,
        (user, chat): (UserId, Option<ChatId>),
        id: AttachmentId,
    ) -> Result<(), StoreError> {
        match chat {
            Some(chat) => drop(self.find(user, chat, id).await?),
            None => {
                let row = self.store.find(id).await?;
                let own = |row: &AttachmentRow| row.owner_id == user && row.chat_id.is_none();
                row.filter(own).ok_or(StoreError::NotFound)?;
            }
        }
        self.store.remove(id).await
    }

    /// The files that a message may name: of the chat (none: of a new one) and of the user's that
    /// wait for one, in the order of `ids`.
    ///
    /// Errors: refused if one is neither.
    pub async fn named(
        &self,
        user: UserId,
        chat: Option<ChatId>,
        ids: &[AttachmentId],
    ) -> Result<Vec<FileRef>, StoreError> {
        if let Some(chat) = chat {
            self.own(user, chat).await?;
        }
        let mut files = Vec::with_capacity(ids.len());
        for id in ids {
            let row = self.store.find(*id).await?;
            let may = |row: &AttachmentRow| match row.chat_id {
                Some(of) => Some(of) == chat,
                None => row.owner_id == user,
            };
            let row = row.filter(may).ok_or(crate::chat::machine::Refusal::AttachmentNotFound)?;
            files.push(row.file);
        }
        Ok(files)
    }

    /// The bytes of a file, in pieces of at most [`CHUNK_BYTES`].
    pub fn bytes(&self, blob: BlobId) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let store = self.store.clone();
        stream::try_unfold(0_i64, move |ordinal| {
            let store = store.clone();
            async move {
                let chunk = store.chunk(blob, ordinal).await?;
                Ok(chunk.map(|bytes| (bytes, ordinal + 1)))
            }
        })
        .boxed()
    }

    async fn own(&self, user: UserId, chat: ChatId) -> Result<(), StoreError> {
        let row = self.chats.head(chat).await?;
        row.filter(|row| row.owner_id == user).map(drop).ok_or(StoreError::NotFound)
    }
}

/// An upload under way.
struct Taking<'a> {
    store: &'a AttachmentStore,
    owner: UserId,
    /// The blob and the number of its rows; none: all of it is in `rest`.
    begun: Option<(BlobId, i64)>,
    rest: BytesMut,
    hasher: digest::Context,
    size: u64,
    looking: kind::Looking,
}

impl<'a> Taking<'a> {
    fn new(store: &'a AttachmentStore, owner: UserId) -> Self {
        Self {
            store,
            owner,
            begun: None,
            rest: BytesMut::new(),
            hasher: digest::Context::new(&digest::SHA256),
            size: 0,
            looking: kind::Looking::default(),
        }
    }

    async fn all<E>(
        &mut self,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), UploadError<E>> {
        let mut body = std::pin::pin!(body);
        while let Some(piece) = body.next().await {
            let mut piece = piece.map_err(UploadError::Body)?;
            self.size += piece.len() as u64;
            if self.size > ATTACHMENT_MAX_BYTES {
                return Err(UploadError::TooLarge { limit: ATTACHMENT_MAX_BYTES });
            }
            self.hasher.update(&piece);
            self.looking.look(&piece);
            while !piece.is_empty() {
                // A row is written when something comes behind it, so that the last one is written
                // together with the attachment.
                if self.rest.len() == CHUNK_BYTES {
                    self.write().await?;
                }
                let room = CHUNK_BYTES - self.rest.len();
                self.rest.extend_from_slice(&piece.split_to(room.min(piece.len())));
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let (blob, ordinal) = match self.begun {
            Some(begun) => begun,
            None => (self.store.begin(self.owner).await?, 0),
        };
        self.begun = Some((blob, ordinal));
        self.store.append(blob, ordinal, &self.rest).await?;
        self.begun = Some((blob, ordinal + 1));
        self.rest.clear();
        Ok(())
    }

    /// The upload as it is kept, without its place and its name.
    fn checked<E>(&mut self, announced: &Announced) -> Result<NewAttachment, UploadError<E>> {
        if self.size == 0 {
            return Err(UploadError::Empty);
        }
        let found = self.hasher.clone().finish();
        let found = found.as_ref();
        if announced.digest.is_some_and(|digest| digest[..] != *found) {
            return Err(UploadError::Digest { found: hex::encode(found) });
        }
        let kind = std::mem::take(&mut self.looking).kind();
        Ok(NewAttachment {
            owner: self.owner,
            chat: None,
            name: String::new(),
            media_type: kind.media_type.to_owned(),
            hash: hex::encode(found),
            size: self.size,
            pixels: kind.pixels,
            begun: self.begun,
            tail: std::mem::take(&mut self.rest).freeze(),
        })
    }
}
