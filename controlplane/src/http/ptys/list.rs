//! `GET /api/v1/workspaces/{id}/ptys`.

use axum::Json;
use axum::extract::State;
use shared::ids::{ChatId, WorkspaceId};
use shared::protocol::pty::ListPtys;

use super::view::PtyView;
use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::page::Page;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

/// The workspace's PTYs: running ones first, then the newest.
#[utoipa::path(get, path = "/workspaces/{id}/ptys", tag = "ptys",
    params(("id" = String, Path,), ("chat_id" = Option<String>, Query, description = "Only those of this chat"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 by default")),
    responses((status = 200, body = Page<PtyView>)))]
pub async fn list_ptys(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    mut query: Query,
) -> Result<Json<Page<PtyView>>, Problem> {
    let limit = query.limit(100, 1_000)?;
    let chat_id = query.parse::<ChatId>("chat_id", "a chat's id")?.map(|id| id.to_string());
    query.finish()?;
    let link = link(&app, id).await?;
    let list = link.read(&ListPtys { chat_id, limit: Some(limit) }, READ_DEADLINE).await?;
    Ok(Json(Page::whole(list.items.into_iter().map(PtyView::from).collect())))
}
