//! `POST /api/v1/chats/{id}/interrupt`.

use axum::Json;
use axum::extract::State;
use shared::ids::ChatId;

use super::view::{ChatView, now};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Stops the turn; what was seen of the answer is kept. A second stop is no error.
///
/// 409 `chat_not_running` when nothing runs.
#[utoipa::path(post, path = "/chats/{id}/interrupt", tag = "chats", params(("id" = String, Path,)),
    responses((status = 200, body = ChatView)))]
pub async fn interrupt_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<Json<ChatView>, Problem> {
    app.chats.interrupt(caller.user_id, id).await?;
    Ok(Json(now(&app, caller.user_id, id).await?))
}
