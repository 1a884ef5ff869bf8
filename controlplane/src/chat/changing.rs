//! What people do to a chat beyond speaking in it: edit, branch, copy, go on, archive, repair, and
//! put the queue in order.

use shared::ids::{ChatId, MessageId, ModelId, QueueId, UserId};

use super::content::{Effort, Part};
use super::event::ChatErrorView;
use super::machine::UserMessage;
use super::service::{ChatService, said};
use crate::store::StoreError;
use crate::store::chats::{ChatRow, MessageRow, QueuedRow};

/// What a message says from now on.
#[derive(Clone, Debug)]
pub struct Rewording {
    /// At least one part.
    pub content: Vec<Part>,
    /// The model to answer this and what follows; none: as before.
    pub model_id: Option<ModelId>,
    /// How hard it thinks; none: as before.
    pub effort: Option<Effort>,
}

impl Rewording {
    fn message(self) -> UserMessage {
        said(self.content, self.model_id, self.effort)
    }
}

/// What to change of a queued message; none: leave it.
#[derive(Clone, Debug, Default)]
pub struct QueueChange {
    /// What it says.
    pub rewording: Option<Rewording>,
    /// Its place from 0, among those of its kind.
    pub position: Option<u32>,
}

impl ChatService {
    /// Replaces a message by another text and runs again from there, whatever the chat does now.
    /// The branch with the former text stays.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: archived, no such message in the branch that is shown, or not a
    /// user's.
    pub async fn edit_message(
        &self,
        user: UserId,
        chat: ChatId,
        message: MessageId,
        rewording: Rewording,
    ) -> Result<(ChatRow, MessageRow), StoreError> {
        let near = self.own(user, chat).await?.workspace_id;
        let this = self.clone();
        self.to_the_end(async move {
            let seat = this.worker.seat(near);
            let claim = seat.as_ref().map(|seat| seat.replica());
            let edited =
                this.store.edit_message(chat, message, &rewording.message(), claim).await?;
            shared::fault::pass("a1 edited").await;
            this.seated(seat, edited.acquired);
            this.changed(&edited.chat);
            edited.stopped.iter().for_each(|row| this.changed(row));
            Ok((edited.chat, edited.message))
        })
        .await
    }

    /// Every text of a message that was edited, in the order of the edits.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: no such message in the chat.
    pub async fn variants(
        &self,
        user: UserId,
        chat: ChatId,
        message: MessageId,
    ) -> Result<Vec<MessageRow>, StoreError> {
        self.own(user, chat).await?;
        self.store.variants(chat, message).await?.ok_or(StoreError::NotFound)
    }

    /// Shows the newest branch with this text of an edited message.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: the chat runs, or there is no such message of a user.
    pub async fn show_branch(
        &self,
        user: UserId,
        chat: ChatId,
        message: MessageId,
    ) -> Result<ChatRow, StoreError> {
        self.own(user, chat).await?;
        self.change(move |store| async move { store.show_branch(chat, message).await }).await
    }

    /// Lets a turn go on that was stopped by an error or by its step cap.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: it was not.
    pub async fn continue_turn(&self, user: UserId, chat: ChatId) -> Result<ChatRow, StoreError> {
        let near = self.own(user, chat).await?.workspace_id;
        let this = self.clone();
        self.to_the_end(async move {
            let seat = this.worker.seat(near);
            let claim = seat.as_ref().map(|seat| seat.replica());
            let acted = this.store.continue_turn(chat, claim).await?;
            this.seated(seat, acted.acquired);
            this.changed(&acted.chat);
            Ok(acted.chat)
        })
        .await
    }

    /// Makes a chat with the history of this one, up to and with a message (none: all of it).
    ///
    /// # Errors
    /// [`StoreError::Refused`]: no such message in the branch that is shown.
    pub async fn copy(
        &self,
        user: UserId,
        chat: ChatId,
        up_to: Option<MessageId>,
        title: Option<String>,
    ) -> Result<ChatRow, StoreError> {
        let row = self.own(user, chat).await?;
        self.change(move |store| async move {
            let title = title.unwrap_or(row.title);
            store.copy(chat, up_to, &title).await
        })
        .await
    }

    /// Rewrites or moves a queued message.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: it was delivered, or never was.
    pub async fn change_queued(
        &self,
        user: UserId,
        chat: ChatId,
        item: QueueId,
        change: QueueChange,
    ) -> Result<QueuedRow, StoreError> {
        let row = self.own(user, chat).await?;
        let this = self.clone();
        self.to_the_end(async move {
            let mut changed = None;
            if let Some(rewording) = change.rewording {
                let message = rewording.message();
                changed = Some(this.store.edit_queued(chat, item, &message).await?);
            }
            if let Some(position) = change.position {
                changed = Some(this.store.move_queued(chat, item, position).await?);
            }
            this.changed(&row);
            changed.ok_or(StoreError::NotFound)
        })
        .await
    }

    /// Archives the chat and all that descend from it, or takes them back.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: one of them runs, it is so already, or it belongs to another chat.
    pub async fn set_archived(
        &self,
        user: UserId,
        chat: ChatId,
        archived: bool,
    ) -> Result<(), StoreError> {
        self.own(user, chat).await?;
        let this = self.clone();
        self.to_the_end(async move {
            for row in this.store.set_archived(chat, archived).await? {
                this.changed(&row);
            }
            Ok(())
        })
        .await
    }

    /// Repairs a chat whose stored state contradicts itself.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: it does not.
    pub async fn reconcile(&self, user: UserId, chat: ChatId) -> Result<ChatRow, StoreError> {
        self.own(user, chat).await?;
        let error = ChatErrorView {
            code: "reconciled".to_owned(),
            message: "The chat's stored state contradicted itself and was repaired. \
                Look at what was done, then continue."
                .to_owned(),
            retryable: true,
            provider: None,
            status_code: None,
            request_id: None,
        };
        self.change(move |store| async move { store.reconcile(chat, &error).await }).await
    }
}
