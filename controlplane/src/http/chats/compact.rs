//! `POST /api/v1/chats/{id}/compact`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::ChatId;

use super::view::{ChatView, now};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{Json, body};
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Longest wish, in bytes.
const INSTRUCTIONS_MAX_BYTES: usize = 4 * 1024;

body! {
    /// What a summary should keep.
    pub struct CompactBody {
        /// For the model that writes the summary, such as "keep every path".
        pub instructions: Option<String>,
    }
}

/// Has the history summarised for the model, at once or after the running tools. The messages stay
/// as they are; a mark in the history says what was done.
///
/// The body may be left out. 202: it is asked for, and a message with a `compaction` part follows.
/// 409 `nothing_to_compact`: the model has said nothing since the last time. 409 `queue_full`;
/// 409 `chat_archived`.
#[utoipa::path(post, path = "/chats/{id}/compact", tag = "chats", params(("id" = String, Path,)),
    request_body = Option<CompactBody>, responses((status = 202, body = ChatView)))]
pub async fn compact_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    body: Option<Json<CompactBody>>,
) -> Result<(StatusCode, axum::Json<ChatView>), Problem> {
    let instructions = body.and_then(|Json(body)| body.instructions).unwrap_or_default();
    if instructions.len() > INSTRUCTIONS_MAX_BYTES {
        let detail = format!("at most {INSTRUCTIONS_MAX_BYTES} bytes");
        return Err(Problem::of_field(Code::InvalidValue, "/instructions", detail));
    }
    if !app.chats.compact(caller.user_id, id, instructions).await? {
        let detail = "the model has said nothing since the history was last made shorter";
        return Err(Problem::new(Code::NothingToCompact, detail));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(now(&app, caller.user_id, id).await?)))
}
