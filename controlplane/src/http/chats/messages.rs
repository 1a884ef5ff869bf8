//! `GET /api/v1/chats/{id}/messages`.

use axum::Json;
use axum::extract::State;
use shared::ids::ChatId;

use crate::app::App;
use crate::chat::event::MessageView;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::page::Page;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::store::chats::{MessageRow, PageOf};

/// One page of a chat's history, oldest first: the newest messages, those before a `seq`, or those
/// after one.
///
/// `next_cursor` is the `seq` to pass as `before` (or as `after`, if `after` was asked for).
#[utoipa::path(get, path = "/chats/{id}/messages", tag = "chats",
    params(("id" = String, Path,), ("before" = Option<i64>, Query, description = "Messages with a smaller seq"),
        ("after" = Option<i64>, Query, description = "Messages with a larger seq"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 by default")),
    responses((status = 200, body = Page<MessageView>)))]
pub async fn list_messages(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    mut query: Query,
) -> Result<Json<Page<MessageView>>, Problem> {
    let seq = "the seq of a message";
    let before = query.parse::<i64>("before", seq)?;
    let after = query.parse::<i64>("after", seq)?;
    let limit = query.limit(50, 200)?;
    query.finish()?;
    let of = match (before, after) {
        (None, None) => PageOf::Newest,
        (Some(seq), None) => PageOf::Before(seq),
        (None, Some(seq)) => PageOf::After(seq),
        (Some(_), Some(_)) => {
            return Err(Problem::new(Code::InvalidQuery, "either before or after, not both"));
        }
    };
    let page = app.chats.messages(caller.user_id, id, of, limit).await?;
    let last = match of {
        PageOf::After(_) => page.items.last(),
        PageOf::Newest | PageOf::Before(_) => page.items.first(),
    };
    let next_cursor = last.filter(|_| page.more).map(|row| row.seq.to_string());
    Ok(Json(Page { items: page.items.iter().map(MessageRow::view).collect(), next_cursor }))
}
