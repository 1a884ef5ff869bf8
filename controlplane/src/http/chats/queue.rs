//! `DELETE` and `PATCH /api/v1/chats/{id}/queue/{item}`, `POST …/promote`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::{ChatId, ModelId, QueueId};

use super::content::{PartBody, parts};
use super::view::{ChatView, check_model, now};
use crate::app::App;
use crate::chat::event::QueuedView;
use crate::http::auth::Caller;
use crate::http::json::{Json, body};
use crate::http::problem::Problem;
use crate::http::query::Path;

body! {
    /// A queued message, anew.
    pub struct QueuedBody {
        /// What will be said.
        pub content: Vec<PartBody>,
        /// Who answers; none: the chat's model.
        #[schema(value_type = Option<String>)]
        pub model_id: Option<ModelId>,
    }
}

/// Takes a queued message back. 404 when it was delivered in the meantime.
#[utoipa::path(delete, path = "/chats/{id}/queue/{item}", tag = "chats",
    params(("id" = String, Path,), ("item" = String, Path,)), responses((status = 204)))]
pub async fn delete_queued(
    State(app): State<App>,
    caller: Caller,
    Path((id, item)): Path<(ChatId, QueueId)>,
) -> Result<StatusCode, Problem> {
    app.chats.delete_queued(caller.user_id, id, item).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers a queued message now: stops what runs, or begins a turn.
#[utoipa::path(post, path = "/chats/{id}/queue/{item}/promote", tag = "chats",
    params(("id" = String, Path,), ("item" = String, Path,)),
    responses((status = 200, body = ChatView)))]
pub async fn promote_queued(
    State(app): State<App>,
    caller: Caller,
    Path((id, item)): Path<(ChatId, QueueId)>,
) -> Result<axum::Json<ChatView>, Problem> {
    app.chats.promote_queued(caller.user_id, id, item).await?;
    Ok(axum::Json(now(&app, caller.user_id, id).await?))
}

/// Rewrites a queued message.
#[utoipa::path(patch, path = "/chats/{id}/queue/{item}", tag = "chats",
    params(("id" = String, Path,), ("item" = String, Path,)), request_body = QueuedBody,
    responses((status = 200, body = QueuedView)))]
pub async fn edit_queued(
    State(app): State<App>,
    caller: Caller,
    Path((id, item)): Path<(ChatId, QueueId)>,
    Json(body): Json<QueuedBody>,
) -> Result<axum::Json<QueuedView>, Problem> {
    let content = parts(body.content)?;
    check_model(&app, body.model_id).await?;
    let edited = app.chats.edit_queued(caller.user_id, id, item, content, body.model_id).await?;
    Ok(axum::Json(edited.view()))
}
