//! What users do to a chat.

use shared::ids::{ChatId, MessageId, QueueId, ReplicaId};

use super::ChatStore;
use super::actions::Acted;
use super::agents::{hold_parent, stop_descendants};
use super::asked::{ChatPatch, Created, Delivery, Edited, NewChat, SendMessage, Sent};
use super::entries::QueuedRow;
use super::guard::{Held, chat_columns};
use super::rows::{Acquired, ChatRow};
use crate::chat::event::ChatErrorView;
use crate::chat::family::Outcome;
use crate::chat::machine::{Event, UserMessage};
use crate::store::db::{in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::text::{clean, json};

pub(super) const INSERT: &str = concat!(
    "INSERT INTO chats (id, owner_id, workspace_id, parent_id, model_id, mode, title, \
     title_source, status, archived, snapshot_version, history_version, queue_version, attempt, \
     epoch, steps_in_turn, queue_length, steered_length, unanswered, last_seq, created_at_ms, \
     updated_at_ms, client_tools, forked_from, budget) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
     'running', FALSE, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, $9, $9, $10, $11, $12) RETURNING ",
    chat_columns!()
);
const PATCH: &str = "UPDATE chats SET title = $2, title_source = $3, label = $4, model_id = $5, \
     mode = $6, workspace_id = $7, fallback_model_id = $8, fallback = $9 WHERE id = $1";

pub(super) const STATEMENTS: &[&str] = &[INSERT, PATCH];

impl ChatStore {
    /// Makes a chat with its first message. It is running at once.
    ///
    /// Errors: [`StoreError::Conflict`] if the owner, the workspace or the parent does not exist.
    pub async fn create(&self, new: &NewChat) -> Result<Created, StoreError> {
        let id: ChatId = self.base.ids.id();
        let now_ms = self.base.clock.now_ms();
        in_write_tx!(&self.base.db, |tx| {
            let chat = on_pool!(tx.conn(), |conn| {
                let row = sqlx::query(INSERT)
                    .bind(id.to_string())
                    .bind(new.owner_id.to_string())
                    .bind(new.workspace_id.map(|id| id.to_string()))
                    .bind(new.parent_id.map(|id| id.to_string()))
                    .bind(new.message.model_id.map(|id| id.to_string()))
                    .bind(&new.mode)
                    .bind(clean(&new.title))
                    .bind(new.title_source.as_str())
                    .bind(now_ms)
                    .bind((!new.client_tools.is_empty()).then(|| json(&new.client_tools)))
                    .bind(None::<String>)
                    .bind(new.budget.as_ref().map(json))
                    .fetch_one(conn)
                    .await?;
                ChatRow::read(&row)?
            });
            let mut held = Held::born(tx, &self.base, chat, now_ms);
            held.attach(&new.message).await?;
            held.apply(Event::Create(new.message.clone()), None).await?;
            claim(&mut held, new.claim).await?;
            held.save().await?;
            let message = held.written.messages.pop().ok_or(StoreError::NotFound)?;
            if let Some(key) = &new.key {
                key.note(held.tx, &id.to_string()).await?;
            }
            Created { acquired: acquired(&held), chat: held.chat, message }
        })
    }

    /// Says something in a chat. At rest or after an error it begins a turn; during one it is
    /// queued, and `busy` says what happens to the turn.
    pub async fn send(&self, id: ChatId, send: &SendMessage) -> Result<Sent, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            held.attach(&send.message).await?;
            let event = Event::Send { message: send.message.clone(), busy: send.busy };
            held.apply(event, None).await?;
            claim(&mut held, send.claim).await?;
            held.save().await?;
            let delivery = match held.written.queued.take() {
                Some(queued) => Delivery::Queued(queued),
                None => Delivery::Message(held.written.messages.pop().ok_or(StoreError::NotFound)?),
            };
            if let Some(key) = &send.key {
                key.note(held.tx, &delivery.id()).await?;
            }
            Sent { acquired: acquired(&held), chat: held.chat, delivery }
        })
    }

    /// Takes a queued message back.
    pub async fn delete_queued(&self, id: ChatId, item: QueueId) -> Result<ChatRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let found = held.queued(item).await?;
            held.apply(Event::DeleteQueued { id: item, found }, None).await?;
            held.save().await?;
            held.chat
        })
    }

    /// Has a queued message answered now: a running turn is stopped first. `claim` as in
    /// [`NewChat::claim`].
    pub async fn promote_queued(
        &self,
        id: ChatId,
        item: QueueId,
        claimant: Option<ReplicaId>,
    ) -> Result<(ChatRow, Option<Acquired>), StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let found = held.queued(item).await?;
            held.apply(Event::Promote { id: item, found }, None).await?;
            claim(&mut held, claimant).await?;
            held.save().await?;
            let acquired = acquired(&held);
            (held.chat, acquired)
        })
    }

    /// Rewrites a queued message; without a model it keeps the one it was sent for.
    pub async fn edit_queued(
        &self,
        id: ChatId,
        item: QueueId,
        message: &UserMessage,
    ) -> Result<QueuedRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let found = held.queued(item).await?;
            held.attach(message).await?;
            let event = Event::EditQueued { id: item, found, message: message.clone() };
            held.apply(event, None).await?;
            held.save().await?;
            held.written.queued.take().ok_or(StoreError::NotFound)?
        })
    }

    /// Moves a queued message to place `to` (from 0) among those of its kind.
    pub async fn move_queued(
        &self,
        id: ChatId,
        item: QueueId,
        to: u32,
    ) -> Result<QueuedRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let found = held.queued(item).await?;
            held.apply(Event::MoveQueued { id: item, found, to }, None).await?;
            held.save().await?;
            held.written.queued.take().ok_or(StoreError::NotFound)?
        })
    }

    /// Replaces a user's message by another text and runs again from there; the branch with the
    /// former text stays. `claim` as in [`NewChat::claim`].
    pub async fn edit_message(
        &self,
        id: ChatId,
        message_id: MessageId,
        message: &UserMessage,
        claimant: Option<ReplicaId>,
    ) -> Result<Edited, StoreError> {
        shared::fault::pass("a0 edit").await;
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let found = held.target(message_id, false).await?;
            held.attach(message).await?;
            let event = Event::EditMessage { id: message_id, found, message: message.clone() };
            held.apply(event, None).await?;
            claim_if_runnable(&mut held, claimant).await?;
            held.save().await?;
            let message = held.written.messages.pop().ok_or(StoreError::NotFound)?;
            let acquired = acquired(&held);
            let chat = held.chat.clone();
            // They worked for the branch that was left.
            let stopped = stop_descendants(tx, &self.base, id).await?;
            Edited { acquired, chat, message, stopped }
        })
    }

    /// Shows the newest branch with this text of an edited message.
    pub async fn show_branch(
        &self,
        id: ChatId,
        message_id: MessageId,
    ) -> Result<ChatRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let found = held.target(message_id, true).await?;
            held.apply(Event::SwitchBranch { id: message_id, found }, None).await?;
            held.save().await?;
            held.chat
        })
    }

    /// Lets a turn go on that was stopped by an error, with a new allowance of steps.
    pub async fn continue_turn(
        &self,
        id: ChatId,
        claimant: Option<ReplicaId>,
    ) -> Result<Acted, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            held.apply(Event::Continue, None).await?;
            // An agent's work is not over yet, whatever its parent was told.
            held.chat.reports = held.chat.parent_id.is_some();
            claim_if_runnable(&mut held, claimant).await?;
            held.save().await?;
            Acted { acquired: acquired(&held), chat: held.chat }
        })
    }

    /// Stops the turn, and those of all agents below it. A second stop changes nothing. The chat
    /// itself comes first, then the others that changed.
    pub async fn interrupt(&self, id: ChatId) -> Result<Vec<ChatRow>, StoreError> {
        shared::fault::point("f2 stop family");
        in_write_tx!(&self.base.db, |tx| {
            hold_parent(tx, id).await?;
            let mut held = Held::take(tx, &self.base, id).await?;
            held.apply(Event::Interrupt, None).await?;
            let due = held.comes_to_rest(Outcome::Interrupted);
            held.save().await?;
            let parent = held.come_home(due).await?;
            let mut changed = vec![held.chat.clone()];
            changed.extend(stop_descendants(tx, &self.base, id).await?);
            changed.extend(parent);
            changed
        })
    }

    /// Repairs a chat whose columns contradict each other: it ends in error, with its queue.
    pub async fn reconcile(
        &self,
        id: ChatId,
        error: &ChatErrorView,
    ) -> Result<ChatRow, StoreError> {
        self.simple(id, &Event::Reconcile(error.clone())).await
    }

    async fn simple(&self, id: ChatId, event: &Event) -> Result<ChatRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            held.apply(event.clone(), None).await?;
            held.save().await?;
            held.chat
        })
    }

    /// Changes title, label, model, mode or workspace, in any state.
    pub async fn patch(&self, id: ChatId, patch: &ChatPatch) -> Result<ChatRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            let chat = &mut held.chat;
            if let Some((title, source)) = &patch.title
                && source.rank() <= chat.title_source.rank()
            {
                chat.title = clean(title).into_owned();
                chat.title_source = *source;
            }
            if let Some(label) = &patch.label {
                chat.label = Some(clean(label).into_owned());
            }
            if patch.model_id.is_some() {
                // What is chosen now is asked now.
                (chat.model_id, chat.fallback) = (patch.model_id, None);
            }
            chat.fallback_model_id = patch.fallback_model_id.unwrap_or(chat.fallback_model_id);
            chat.mode = patch.mode.clone().unwrap_or_else(|| chat.mode.clone());
            chat.workspace_id = chat.workspace_id.or(patch.workspace_id);
            on_pool!(held.tx.conn(), |conn| {
                sqlx::query(PATCH)
                    .bind(chat.id.to_string())
                    .bind(&chat.title)
                    .bind(chat.title_source.as_str())
                    .bind(chat.label.as_deref())
                    .bind(chat.model_id.map(|id| id.to_string()))
                    .bind(&chat.mode)
                    .bind(chat.workspace_id.map(|id| id.to_string()))
                    .bind(chat.fallback_model_id.map(|id| id.to_string()))
                    .bind(chat.fallback.as_ref().map(json))
                    .execute(conn)
                    .await?;
            });
            held.chat
        })
    }
}

/// Takes a chat for a replica in the transaction that made it runnable.
async fn claim(held: &mut Held<'_>, replica: Option<ReplicaId>) -> Result<(), StoreError> {
    let begins = held.chat.worker_id.is_none() && !held.written.messages.is_empty();
    match replica {
        Some(replica) if begins => held.apply(Event::Acquire, Some(replica)).await,
        _ => Ok(()),
    }
}

/// Takes a chat for a replica in the transaction that gave it work again.
pub(super) async fn claim_if_runnable(
    held: &mut Held<'_>,
    replica: Option<ReplicaId>,
) -> Result<(), StoreError> {
    match replica {
        Some(replica) if held.chat.worker_id.is_none() && held.state().is_runnable() => {
            held.apply(Event::Acquire, Some(replica)).await
        }
        _ => Ok(()),
    }
}

/// The claim of a chat that was free before this transaction.
pub(super) fn acquired(held: &Held<'_>) -> Option<Acquired> {
    if !held.written.owned {
        return None;
    }
    let attempt_begun = held.written.attempt_begun;
    Some(Acquired { fence: held.chat.fence()?, chat: held.chat.clone(), attempt_begun })
}
