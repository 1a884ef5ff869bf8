//! `GET /api/v1/chats/{id}/agents`.

use axum::Json;
use axum::extract::State;
use shared::ids::ChatId;

use crate::app::App;
use crate::chat::event::ChatHead;
use crate::http::auth::Caller;
use crate::http::page::Page;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::chats::ChatRow;

/// The agents that a chat began, newest first, at most 50. Each is a chat: read it, speak to it, stop
/// it like any other.
#[utoipa::path(get, path = "/chats/{id}/agents", tag = "chats", params(("id" = String, Path,)),
    responses((status = 200, body = Page<ChatHead>)))]
pub async fn list_agents(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<Json<Page<ChatHead>>, Problem> {
    let rows = app.chats.agents(caller.user_id, id).await?;
    Ok(Json(Page { items: rows.iter().map(ChatRow::head).collect(), next_cursor: None }))
}
