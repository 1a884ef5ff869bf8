//! `GET /api/v1/chats/{id}`.

use axum::Json;
use axum::extract::State;
use shared::ids::ChatId;

use super::view::{ChatView, now};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// One chat with its queue. 404 for a chat that is not there and for one of somebody else.
#[utoipa::path(get, path = "/chats/{id}", tag = "chats", params(("id" = String, Path,)),
    responses((status = 200, body = ChatView)))]
pub async fn get_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<Json<ChatView>, Problem> {
    Ok(Json(now(&app, caller.user_id, id).await?))
}
