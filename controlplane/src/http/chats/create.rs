//! `POST /api/v1/chats`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use shared::ids::{ChatId, ModelId, UserId, WorkspaceId};
use utoipa::ToSchema;

use super::budget::BudgetBody;
use super::content::{PartBody, parts};
use super::tool_results::{ClientToolBody, client_tools};
use super::view::{ChatView, EffortBody, ModeBody, check_model};
use crate::app::App;
use crate::chat::event::MessageView;
use crate::chat::service::BeginChat;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::idempotency::Earlier;
use crate::http::json::{Json, Name, body};
use crate::http::problem::Problem;
use crate::store::StoreError;
use crate::store::chats::PageOf;

body! {
    /// A chat to be begun.
    pub struct ChatBody {
        /// Where its tools work; none: it has no tools.
        #[schema(value_type = Option<String>)]
        pub workspace_id: Option<WorkspaceId>,
        /// Who answers; none: the default model.
        #[schema(value_type = Option<String>)]
        pub model_id: Option<ModelId>,
        /// The first message.
        pub content: Vec<PartBody>,
        /// What the agent may do; none: `auto`.
        pub mode: Option<ModeBody>,
        /// How hard the model thinks; none: as its settings say.
        pub effort: Option<EffortBody>,
        /// Tools that the client runs itself, at most 250: each call waits five minutes for its
        /// result at `POST …/tool-results`.
        pub tools: Option<Vec<ClientToolBody>>,
        /// How much it may use; none: 200 steps a turn.
        pub budget: Option<BudgetBody>,
        /// None: the first words of the message.
        #[schema(value_type = Option<String>)]
        pub title: Option<Name>,
    }
}

/// A chat that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub struct BegunView {
    /// The chat; it is running.
    pub chat: ChatView,
    /// Its first message.
    pub message: MessageView,
}

/// Begins a chat. It is running when the answer comes.
#[utoipa::path(post, path = "/chats", tag = "chats", request_body = ChatBody,
    responses((status = 201, body = BegunView)))]
pub async fn create_chat(
    State(app): State<App>,
    caller: Caller,
    earlier: Earlier,
    Json(body): Json<ChatBody>,
) -> Result<(StatusCode, axum::Json<BegunView>), Problem> {
    if let Some(id) = earlier.made.as_deref().and_then(|made| made.parse().ok()) {
        return begun_before(&app, caller.user_id, id).await;
    }
    let content = parts(&app, (caller.user_id, None), body.content).await?;
    check_model(&app, body.model_id).await?;
    if body.model_id.is_none() && app.store.models.default_model().await?.is_none() {
        return Err(Problem::new(Code::NoModel, "no model is set up")
            .hint("add a provider and a model in the settings"));
    }
    if let Some(id) = body.workspace_id
        && app.store.workspaces.workspace(id).await?.is_none()
    {
        return Err(no_workspace());
    }
    let begin = BeginChat {
        owner: caller.user_id,
        workspace_id: body.workspace_id,
        model_id: body.model_id,
        mode: body.mode.unwrap_or(ModeBody::Auto).as_str().to_owned(),
        title: body.title.map(Name::into_inner),
        content,
        effort: body.effort.map(EffortBody::effort),
        client_tools: client_tools(body.tools.unwrap_or_default())?,
        budget: body.budget.map(|budget| budget.budget("/budget")).transpose()?,
        key: earlier.key,
    };
    let (chat, message) = match app.chats.create(begin).await {
        Ok(begun) => begun,
        // It went between the check and the insert.
        Err(StoreError::Conflict) => return Err(no_workspace()),
        Err(error) => return Err(error.into()),
    };
    let chat = ChatView::new(&chat, Vec::new(), Vec::new());
    Ok((StatusCode::CREATED, axum::Json(BegunView { chat, message: message.view() })))
}

/// The answer of an earlier try, from what it made.
async fn begun_before(
    app: &App,
    user: UserId,
    id: ChatId,
) -> Result<(StatusCode, axum::Json<BegunView>), Problem> {
    let chat = app.chats.head(user, id).await?;
    let oldest = app.chats.messages(user, id, PageOf::After(0), 1).await?;
    let message = oldest.items.into_iter().next().ok_or(StoreError::NotFound)?;
    let chat = ChatView::new(&chat, Vec::new(), Vec::new());
    Ok((StatusCode::CREATED, axum::Json(BegunView { chat, message: message.view() })))
}

fn no_workspace() -> Problem {
    Problem::of_field(Code::InvalidValue, "/workspace_id", "there is no such workspace")
}
