//! What people and programs may do with chats. HTTP calls this and nothing else of the engine.
//!
//! Every method checks that the chat is the caller's (otherwise it is `NotFound`), commits once,
//! and then sends the hints. A change runs in a task of its own: a client that hangs up in the
//! middle cannot leave a commit without its hints, or a claimed chat without its runner.
//!
//! A message that begins a turn is committed together with this replica's claim on the chat and
//! its first attempt, so that the model is called after one commit.

use std::future::Future;

use shared::ids::{ChatId, ModelId, QueueId, UserId, WorkspaceId};
use shared::lifecycle::Lifecycle;
use tokio::sync::oneshot;

use super::content::{ClientTool, Effort, Part};
use super::context::is_compactable;
use super::context::marks::COMPACT_REQUEST;
use super::event::{Cursor, InvalidCursor};
use super::family::Budget;
use super::hints::Hints;
use super::machine::{Busy, UserMessage};
use super::stream::{Streams, Subscription, Window};
use super::title;
use super::worker::WorkerHandle;
use crate::store::chats::{
    Acquired, ChatFilter, ChatListCursor, ChatPatch, ChatRow, ChatSnapshot, ChatStore, Created,
    Delivery, MessagePage, MessageRow, NewChat, PageOf, SendMessage, TitleSource,
};
use crate::store::{ClaimedKey, StoreError};

/// A chat to be begun. The caller has checked the parts, the model and the workspace.
#[derive(Clone, Debug)]
pub struct BeginChat {
    /// Whose it is.
    pub owner: UserId,
    /// The workspace; none: no tools.
    pub workspace_id: Option<WorkspaceId>,
    /// The model; none: the default one.
    pub model_id: Option<ModelId>,
    /// `ask`, `plan`, `edit` or `auto`.
    pub mode: String,
    /// None: the first words of the message.
    pub title: Option<String>,
    /// The first message, at least one part.
    pub content: Vec<Part>,
    /// How hard the model thinks; none: as its settings say.
    pub effort: Option<Effort>,
    /// Tools that the client runs itself. The caller has checked names and schemas.
    pub client_tools: Vec<ClientTool>,
    /// How much it may use until somebody lets it go on; none: 200 steps a turn.
    pub budget: Option<Budget>,
    /// The request's idempotency key.
    pub key: Option<ClaimedKey>,
}

/// Something to say in a chat.
#[derive(Clone, Debug)]
pub struct Say {
    /// At least one part.
    pub content: Vec<Part>,
    /// The model to answer this and what follows; none: the chat's.
    pub model_id: Option<ModelId>,
    /// How hard it thinks about this and what follows; none: as before.
    pub effort: Option<Effort>,
    /// What to do while a turn is in progress.
    pub busy: Busy,
    /// The request's idempotency key.
    pub key: Option<ClaimedKey>,
}

/// The chats. Cheap to clone.
#[derive(Clone)]
pub struct ChatService {
    pub(super) store: ChatStore,
    pub(super) hints: Hints,
    pub(super) streams: Streams,
    pub(super) worker: WorkerHandle,
    pub(super) lifecycle: Lifecycle,
}

impl ChatService {
    pub(super) fn new(
        store: ChatStore,
        hints: Hints,
        streams: Streams,
        worker: WorkerHandle,
        lifecycle: Lifecycle,
    ) -> Self {
        Self { store, hints, streams, worker, lifecycle }
    }

    /// Begins a chat: it is running when this returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: the workspace or the model is gone.
    pub async fn create(&self, begin: BeginChat) -> Result<(ChatRow, MessageRow), StoreError> {
        let this = self.clone();
        self.to_the_end(async move {
            shared::fault::pass("w0 asked").await;
            let seat = this.worker.seat(begin.workspace_id);
            let (title, title_source) = match begin.title {
                Some(title) => (title, TitleSource::User),
                None => (title::from_first_words(&begin.content), TitleSource::FirstWords),
            };
            let new = NewChat {
                owner_id: begin.owner,
                workspace_id: begin.workspace_id,
                parent_id: None,
                mode: begin.mode,
                title,
                title_source,
                message: said(begin.content, begin.model_id, begin.effort),
                client_tools: begin.client_tools,
                budget: begin.budget,
                claim: seat.as_ref().map(|seat| seat.replica()),
                key: begin.key,
            };
            let Created { chat, message, acquired } = this.store.create(&new).await?;
            if let (Some(seat), Some(acquired)) = (seat, acquired) {
                seat.take(acquired, Some(vec![message.clone()]));
            }
            this.changed(&chat);
            Ok((chat, message))
        })
        .await
    }

    /// Says something: begins a turn, or waits in the queue, or stops what runs.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: archived, or the queue is full.
    pub async fn send(
        &self,
        user: UserId,
        chat: ChatId,
        say: Say,
    ) -> Result<(ChatRow, Delivery), StoreError> {
        let near = self.own(user, chat).await?.workspace_id;
        let this = self.clone();
        self.to_the_end(async move {
            let seat = this.worker.seat(near);
            let send = SendMessage {
                message: said(say.content, say.model_id, say.effort),
                busy: say.busy,
                claim: seat.as_ref().map(|seat| seat.replica()),
                key: say.key,
            };
            let sent = this.store.send(chat, &send).await?;
            this.seated(seat, sent.acquired);
            this.changed(&sent.chat);
            Ok((sent.chat, sent.delivery))
        })
        .await
    }

    /// Takes a queued message back.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: it was delivered, or never was.
    pub async fn delete_queued(
        &self,
        user: UserId,
        chat: ChatId,
        item: QueueId,
    ) -> Result<ChatRow, StoreError> {
        self.own(user, chat).await?;
        self.change(move |store| async move { store.delete_queued(chat, item).await }).await
    }

    /// Answers a queued message now: stops what runs, or begins a turn.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: it was delivered, or never was.
    pub async fn promote_queued(
        &self,
        user: UserId,
        chat: ChatId,
        item: QueueId,
    ) -> Result<ChatRow, StoreError> {
        let near = self.own(user, chat).await?.workspace_id;
        let this = self.clone();
        self.to_the_end(async move {
            let seat = this.worker.seat(near);
            let claim = seat.as_ref().map(|seat| seat.replica());
            let (row, acquired) = this.store.promote_queued(chat, item, claim).await?;
            this.seated(seat, acquired);
            this.changed(&row);
            Ok(row)
        })
        .await
    }

    /// Stops the turn, and those of all agents below it. A second stop is no error.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: nothing runs.
    pub async fn interrupt(&self, user: UserId, chat: ChatId) -> Result<ChatRow, StoreError> {
        self.own(user, chat).await?;
        let this = self.clone();
        self.to_the_end(async move {
            let family = this.store.interrupt(chat).await?;
            family.iter().for_each(|row| this.changed(row));
            family.into_iter().next().ok_or(StoreError::NotFound)
        })
        .await
    }

    /// Asks for a shorter history: at once, or after the running tools. False: there is nothing to
    /// make shorter.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: archived, or the queue is full.
    pub async fn compact(
        &self,
        user: UserId,
        chat: ChatId,
        wish: String,
    ) -> Result<bool, StoreError> {
        self.own(user, chat).await?;
        if !is_compactable(&self.store.history(chat).await?) {
            return Ok(false);
        }
        let asked = Part::Notice { code: COMPACT_REQUEST.to_owned(), text: wish };
        let say = Say {
            content: vec![asked],
            model_id: None,
            effort: None,
            busy: Busy::Steer,
            key: None,
        };
        self.send(user, chat, say).await?;
        Ok(true)
    }

    /// Changes title, label, model, mode or workspace.
    pub async fn patch(
        &self,
        user: UserId,
        chat: ChatId,
        patch: ChatPatch,
    ) -> Result<ChatRow, StoreError> {
        self.own(user, chat).await?;
        self.change(move |store| async move { store.patch(chat, &patch).await }).await
    }

    /// The chat.
    pub async fn head(&self, user: UserId, chat: ChatId) -> Result<ChatRow, StoreError> {
        self.own(user, chat).await
    }

    /// The chat with its queue and the messages that changed after `revision` (0: all).
    pub async fn snapshot(
        &self,
        user: UserId,
        chat: ChatId,
        revision: i64,
    ) -> Result<ChatSnapshot, StoreError> {
        let found = self.store.snapshot(chat, revision).await?;
        found.filter(|found| found.chat.owner_id == user).ok_or(StoreError::NotFound)
    }

    /// One page of the history.
    pub async fn messages(
        &self,
        user: UserId,
        chat: ChatId,
        of: PageOf,
        limit: u32,
    ) -> Result<MessagePage, StoreError> {
        self.own(user, chat).await?;
        self.store.messages_page(chat, of, limit).await
    }

    /// The user's chats, newest change first.
    pub async fn list(
        &self,
        user: UserId,
        filter: &ChatFilter,
        after: Option<ChatListCursor>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, StoreError> {
        self.store.list(user, filter, after, limit).await
    }

    /// Sets how much a chat and its agents may use; all of it is unused then.
    pub async fn set_budget(
        &self,
        user: UserId,
        chat: ChatId,
        budget: Option<Budget>,
    ) -> Result<ChatRow, StoreError> {
        self.own(user, chat).await?;
        self.change(move |store| async move { store.set_budget(chat, budget).await }).await
    }

    /// The agents that a chat began, newest first.
    pub async fn agents(&self, user: UserId, chat: ChatId) -> Result<Vec<ChatRow>, StoreError> {
        self.own(user, chat).await?;
        self.store.agents(chat).await
    }

    /// Follows the chat from `cursor`; see [`Streams::subscribe`].
    pub async fn subscribe(
        &self,
        user: UserId,
        chat: ChatId,
        cursor: Option<Result<Cursor, InvalidCursor>>,
    ) -> Result<Subscription, StoreError> {
        self.subscribe_to(user, chat, cursor, Window::default()).await
    }

    /// Follows a window of the chat; see [`Streams::subscribe_to`].
    pub async fn subscribe_to(
        &self,
        user: UserId,
        chat: ChatId,
        cursor: Option<Result<Cursor, InvalidCursor>>,
        window: Window,
    ) -> Result<Subscription, StoreError> {
        self.own(user, chat).await?;
        Ok(self.streams.subscribe_to(chat, cursor, window))
    }

    pub(super) async fn own(&self, user: UserId, chat: ChatId) -> Result<ChatRow, StoreError> {
        let row = self.store.head(chat).await?;
        row.filter(|row| row.owner_id == user).ok_or(StoreError::NotFound)
    }

    /// One commit and its hints.
    pub(super) async fn change<F>(
        &self,
        commit: impl FnOnce(ChatStore) -> F + Send + 'static,
    ) -> Result<ChatRow, StoreError>
    where
        F: Future<Output = Result<ChatRow, StoreError>> + Send + 'static,
    {
        let this = self.clone();
        self.to_the_end(async move {
            let row = commit(this.store.clone()).await?;
            this.changed(&row);
            Ok(row)
        })
        .await
    }

    pub(super) fn seated(&self, seat: Option<super::worker::Seat>, acquired: Option<Acquired>) {
        if let (Some(seat), Some(acquired)) = (seat, acquired) {
            seat.take(acquired, None);
        }
    }

    pub(super) fn changed(&self, row: &ChatRow) {
        self.hints.chat_changed(row.id);
        self.hints.chat_asked(row.id);
        self.hints.list_changed(row.owner_id, row.id);
        if row.worker_id.is_none() && row.state().is_runnable() {
            self.hints.runnable();
        }
    }

    /// Runs `work` to its end even if the caller goes away.
    pub(super) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        self.lifecycle.spawn_serving("chat change", async move {
            // Nobody listens any more: the work is done all the same.
            let _ = tell.send(work.await);
        });
        // Dropped untold only by a hard stop or a panic; the latter is logged with its place.
        told.await.unwrap_or(Err(StoreError::cut_off()))
    }
}

pub(super) fn said(
    content: Vec<Part>,
    model_id: Option<ModelId>,
    effort: Option<Effort>,
) -> UserMessage {
    UserMessage { content: content.into_iter().map(Into::into).collect(), model_id, effort }
}
