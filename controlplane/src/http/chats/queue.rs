//! `DELETE` and `PATCH /api/v1/chats/{id}/queue/{item}`, `POST …/promote`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::{ChatId, ModelId, QueueId};

use super::content::{PartBody, parts};
use super::view::{ChatView, EffortBody, check_model, now};
use crate::app::App;
use crate::chat::changing::{QueueChange, Rewording};
use crate::chat::event::QueuedView;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{Json, body};
use crate::http::problem::Problem;
use crate::http::query::Path;

body! {
    /// What to change of a queued message; what is not there stays.
    pub struct QueuedBody {
        /// What will be said.
        pub content: Option<Vec<PartBody>>,
        /// Who answers; only with `content`.
        #[schema(value_type = Option<String>)]
        pub model_id: Option<ModelId>,
        /// How hard it thinks; only with `content`.
        pub effort: Option<EffortBody>,
        /// Its place from 0, among the messages that steer or among those that do not; over their
        /// number: the last.
        pub position: Option<u32>,
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

/// Rewrites or moves a queued message. 404 when it was delivered in the meantime.
#[utoipa::path(patch, path = "/chats/{id}/queue/{item}", tag = "chats",
    params(("id" = String, Path,), ("item" = String, Path,)), request_body = QueuedBody,
    responses((status = 200, body = QueuedView)))]
pub async fn edit_queued(
    State(app): State<App>,
    caller: Caller,
    Path((id, item)): Path<(ChatId, QueueId)>,
    Json(body): Json<QueuedBody>,
) -> Result<axum::Json<QueuedView>, Problem> {
    check_model(&app, body.model_id).await?;
    let (model_id, effort) = (body.model_id, body.effort.map(EffortBody::effort));
    let rewording = match body.content {
        Some(content) => {
            let content = parts(&app, (caller.user_id, Some(id)), content).await?;
            Some(Rewording { content, model_id, effort })
        }
        None if model_id.is_some() || effort.is_some() || body.position.is_none() => {
            let detail = "this field is required, unless the message is only moved";
            return Err(Problem::of_field(Code::MissingField, "/content", detail));
        }
        None => None,
    };
    let change = QueueChange { rewording, position: body.position };
    let changed = app.chats.change_queued(caller.user_id, id, item, change).await?;
    Ok(axum::Json(changed.view()))
}
