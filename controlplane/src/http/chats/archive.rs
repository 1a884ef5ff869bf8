//! `POST /api/v1/chats/{id}/archive` and `…/unarchive`.

use axum::Json;
use axum::extract::State;
use shared::ids::{ChatId, UserId};

use super::view::{ChatView, now};
use crate::app::App;
use crate::chat::machine::Refusal;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::StoreError;

/// Hides a chat from the list; its messages stay.
///
/// Answers 200 with the chat, also when it was archived before. 409 `chat_running` while it runs.
#[utoipa::path(post, path = "/chats/{id}/archive", tag = "chats", params(("id" = String, Path,)),
    responses((status = 200, body = ChatView)))]
pub async fn archive_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<Json<ChatView>, Problem> {
    set(&app, caller.user_id, id, true).await
}

/// Takes a chat back from the archive. Answers 200 with the chat, also when it was not there.
#[utoipa::path(post, path = "/chats/{id}/unarchive", tag = "chats", params(("id" = String, Path,)),
    responses((status = 200, body = ChatView)))]
pub async fn unarchive_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<Json<ChatView>, Problem> {
    set(&app, caller.user_id, id, false).await
}

async fn set(
    app: &App,
    user: UserId,
    id: ChatId,
    archived: bool,
) -> Result<Json<ChatView>, Problem> {
    match app.chats.set_archived(user, id, archived).await {
        Ok(_) | Err(StoreError::Refused(Refusal::AlreadyArchived | Refusal::NotArchived)) => {
            Ok(Json(now(app, user, id).await?))
        }
        Err(error) => Err(error.into()),
    }
}
