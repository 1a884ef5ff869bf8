//! `PATCH /api/v1/chats/{id}/messages/{message}`, and the branches that edits leave.

use axum::extract::State;
use serde::Serialize;
use shared::ids::{ChatId, MessageId, ModelId};
use utoipa::ToSchema;

use super::content::{PartBody, parts};
use super::view::{ChatView, EffortBody, check_model, now};
use crate::app::App;
use crate::chat::changing::Rewording;
use crate::chat::event::MessageView;
use crate::http::auth::Caller;
use crate::http::json::{Json, body};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::chats::MessageRow;

body! {
    /// A message, anew.
    pub struct EditBody {
        /// What is said instead.
        pub content: Vec<PartBody>,
        /// Who answers this and what follows; none: the chat's model.
        #[schema(value_type = Option<String>)]
        pub model_id: Option<ModelId>,
        /// How hard it thinks; none: as before.
        pub effort: Option<EffortBody>,
    }
}

/// The texts of a message.
#[derive(Debug, Serialize, ToSchema)]
pub struct VariantsView {
    /// In the order of the edits; the one alone, if it was never edited.
    items: Vec<MessageView>,
}

/// Edits a message and runs again from there. What followed the former text is kept as a branch.
///
/// Also while the chat runs: the turn is given up. Messages in the queue stay. 404
/// `message_not_found`: not in the branch that is shown; 409 `message_not_editable`: not a user's.
#[utoipa::path(patch, path = "/chats/{id}/messages/{message}", tag = "chats",
    params(("id" = String, Path,), ("message" = String, Path,)), request_body = EditBody,
    responses((status = 200, body = MessageView)))]
pub async fn edit_message(
    State(app): State<App>,
    caller: Caller,
    Path((id, message)): Path<(ChatId, MessageId)>,
    Json(body): Json<EditBody>,
) -> Result<axum::Json<MessageView>, Problem> {
    let content = parts(&app, (caller.user_id, Some(id)), body.content).await?;
    check_model(&app, body.model_id).await?;
    let effort = body.effort.map(EffortBody::effort);
    let rewording = Rewording { content, model_id: body.model_id, effort };
    let (_, edited) = app.chats.edit_message(caller.user_id, id, message, rewording).await?;
    Ok(axum::Json(edited.view()))
}

/// Every text that a message has had, of which each begins a branch.
#[utoipa::path(get, path = "/chats/{id}/messages/{message}/variants", tag = "chats",
    params(("id" = String, Path,), ("message" = String, Path,)),
    responses((status = 200, body = VariantsView)))]
pub async fn list_variants(
    State(app): State<App>,
    caller: Caller,
    Path((id, message)): Path<(ChatId, MessageId)>,
) -> Result<axum::Json<VariantsView>, Problem> {
    let rows = app.chats.variants(caller.user_id, id, message).await?;
    Ok(axum::Json(VariantsView { items: rows.iter().map(MessageRow::view).collect() }))
}

/// Shows the newest branch with this text of an edited message; the other stays. 409
/// `chat_running` while the chat runs.
#[utoipa::path(post, path = "/chats/{id}/messages/{message}/show", tag = "chats",
    params(("id" = String, Path,), ("message" = String, Path,)),
    responses((status = 200, body = ChatView)))]
pub async fn show_branch(
    State(app): State<App>,
    caller: Caller,
    Path((id, message)): Path<(ChatId, MessageId)>,
) -> Result<axum::Json<ChatView>, Problem> {
    app.chats.show_branch(caller.user_id, id, message).await?;
    Ok(axum::Json(now(&app, caller.user_id, id).await?))
}
