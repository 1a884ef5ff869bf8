//! `GET /api/v1/chats/{id}/attachments`.

use axum::extract::State;
use serde::Serialize;
use shared::ids::ChatId;
use utoipa::ToSchema;

use super::view::AttachmentView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// The files of a chat.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttachmentsView {
    /// Oldest first; at most 50.
    items: Vec<AttachmentView>,
}

/// The files of a chat, those that wait to be sent included.
#[utoipa::path(get, path = "/chats/{id}/attachments", tag = "attachments",
    params(("id" = String, Path,)), responses((status = 200, body = AttachmentsView)))]
pub async fn list_attachments(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<axum::Json<AttachmentsView>, Problem> {
    let rows = app.attachments.list(caller.user_id, id).await?;
    Ok(axum::Json(AttachmentsView { items: rows.iter().map(AttachmentView::from).collect() }))
}
