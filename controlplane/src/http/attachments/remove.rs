//! `DELETE /api/v1/chats/{id}/attachments/{attachment}` and `DELETE /api/v1/attachments/{attachment}`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::{AttachmentId, ChatId};

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Removes a file that no message names. 409 `in_use` when one does: it goes with the chat.
#[utoipa::path(delete, path = "/chats/{id}/attachments/{attachment}", tag = "attachments",
    params(("id" = String, Path,), ("attachment" = String, Path,)),
    responses((status = 204)))]
pub async fn remove_attachment(
    State(app): State<App>,
    caller: Caller,
    Path((id, attachment)): Path<(ChatId, AttachmentId)>,
) -> Result<StatusCode, Problem> {
    app.attachments.remove((caller.user_id, Some(id)), attachment).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a file that was uploaded and is in no chat yet.
#[utoipa::path(delete, path = "/attachments/{attachment}", tag = "attachments",
    params(("attachment" = String, Path,)), responses((status = 204)))]
pub async fn remove_waiting_attachment(
    State(app): State<App>,
    caller: Caller,
    Path(attachment): Path<AttachmentId>,
) -> Result<StatusCode, Problem> {
    app.attachments.remove((caller.user_id, None), attachment).await?;
    Ok(StatusCode::NO_CONTENT)
}
