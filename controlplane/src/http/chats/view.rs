//! What a chat looks like from outside.

use serde::Serialize;
use shared::ids::{ChatId, ModelId, UserId};
use utoipa::ToSchema;

use crate::app::App;
use crate::chat::actions;
use crate::chat::content::Effort;
use crate::chat::edit_check::EditCheck;
use crate::chat::event::{ActionView, ChatErrorView, ChatHead, QueuedView};
use crate::http::code::Code;
use crate::http::json::choice;
use crate::http::problem::Problem;
use crate::store::chats::{ChatRow, ChatSnapshot, QueuedRow};

choice! {
    /// What the agent may do.
    pub enum ModeBody {
        /// Everything that changes something is asked for first.
        Ask = "ask",
        /// Look and plan, change nothing.
        Plan = "plan",
        /// Change files, ask for the rest.
        Edit = "edit",
        /// Everything inside the workspace.
        Auto = "auto",
    }
}

choice! {
    /// How hard the model thinks.
    pub enum EffortBody {
        /// Not at all.
        None = "none",
        /// As little as the model can.
        Minimal = "minimal",
        /// A little.
        Low = "low",
        /// As it does by itself.
        Medium = "medium",
        /// Much.
        High = "high",
        /// Very much.
        Xhigh = "xhigh",
        /// As much as the model can.
        Max = "max",
    }
}

impl EffortBody {
    pub(super) const fn effort(self) -> Effort {
        match self {
            Self::None => Effort::None,
            Self::Minimal => Effort::Minimal,
            Self::Low => Effort::Low,
            Self::Medium => Effort::Medium,
            Self::High => Effort::High,
            Self::Xhigh => Effort::Xhigh,
            Self::Max => Effort::Max,
        }
    }
}

/// A chat.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChatView {
    #[serde(flatten)]
    head: ChatHead,
    /// The chat of which this one was a copy.
    #[schema(value_type = Option<String>)]
    forked_from: Option<ChatId>,
    /// Whose it is.
    #[schema(value_type = String)]
    owner_id: UserId,
    /// Messages that wait, in order.
    queue: Vec<QueuedView>,
    /// Why it stopped, while its status says so.
    last_error: Option<ChatErrorView>,
    /// What it waits for from a person or a client.
    actions: Vec<ActionView>,
    /// What is run after edits in this chat; none: what its workspace says.
    #[serde(skip_serializing_if = "Option::is_none")]
    edit_check: Option<EditCheck>,
}

impl ChatView {
    pub(super) fn new(row: &ChatRow, queue: Vec<QueuedView>, actions: Vec<ActionView>) -> Self {
        Self {
            head: row.head(),
            forked_from: row.forked_from,
            owner_id: row.owner_id,
            queue,
            last_error: row.last_error.clone(),
            actions,
            edit_check: None,
        }
    }
}

impl From<ChatSnapshot> for ChatView {
    fn from(snapshot: ChatSnapshot) -> Self {
        let queue = snapshot.queue.iter().map(QueuedRow::view).collect();
        Self::new(&snapshot.chat, queue, actions::views(&snapshot.operations))
    }
}

/// The chat as it is now, with its queue and without its messages.
pub(super) async fn now(app: &App, user: UserId, id: ChatId) -> Result<ChatView, Problem> {
    let view: ChatView = app.chats.snapshot(user, id, i64::MAX).await?.into();
    Ok(ChatView { edit_check: app.store.chats.own_edit_check(id).await?, ..view })
}

/// Refuses a model that is not there or is switched off.
pub(super) async fn check_model(app: &App, model: Option<ModelId>) -> Result<(), Problem> {
    let Some(id) = model else { return Ok(()) };
    match app.store.models.model(id).await? {
        Some(row) if row.enabled => Ok(()),
        Some(_) => {
            let detail = "the model is switched off";
            Err(Problem::of_field(Code::InvalidValue, "/model_id", detail))
        }
        None => {
            let detail = "there is no such model";
            Err(Problem::of_field(Code::InvalidValue, "/model_id", detail))
        }
    }
}
