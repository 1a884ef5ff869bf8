//! `GET /api/v1/chats`.

use axum::Json;
use axum::extract::State;
use shared::ids::WorkspaceId;

use crate::app::App;
use crate::chat::event::ChatHead;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::page::{Page, cursor, read_cursor};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::store::chats::{ChatFilter, ChatListCursor, ChatRow};

const LIST: &str = "chats";

/// The caller's chats, newest change first; archived ones only if asked for. Agents of other chats
/// stand in it while they work; `GET /chats/{id}/agents` has all of a chat.
#[utoipa::path(get, path = "/chats", tag = "chats",
    params(("cursor" = Option<String>, Query,), ("limit" = Option<u32>, Query, description = "1 to 200; 50 by default"),
        ("archived" = Option<bool>, Query, description = "Only archived ones, or only others; others by default"),
        ("workspace_id" = Option<String>, Query, description = "Only those of this workspace")),
    responses((status = 200, body = Page<ChatHead>)))]
pub async fn list_chats(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<ChatHead>>, Problem> {
    let limit = query.limit(50, 200)?;
    let after = query.text("cursor")?.map(|text| after(&text)).transpose()?;
    let archived = query.parse::<bool>("archived", "true or false")?.unwrap_or(false);
    let workspace_id = query.parse::<WorkspaceId>("workspace_id", "a workspace's id")?;
    query.finish()?;
    let filter = ChatFilter { archived: Some(archived), workspace_id };
    let mut rows = app.chats.list(caller.user_id, &filter, after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows
        .last()
        .filter(|_| more)
        .map(|row| cursor(LIST, &[&row.updated_at_ms.to_string(), &row.id.to_string()]));
    Ok(Json(Page { items: rows.iter().map(ChatRow::head).collect(), next_cursor }))
}

fn after(text: &str) -> Result<ChatListCursor, Problem> {
    let [updated_at_ms, id] = read_cursor::<2>(LIST, text)?;
    let damaged = || Problem::new(Code::InvalidCursor, "the cursor is damaged");
    Ok(ChatListCursor {
        updated_at_ms: updated_at_ms.parse().map_err(|_| damaged())?,
        id: id.parse().map_err(|_| damaged())?,
    })
}
