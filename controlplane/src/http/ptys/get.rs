//! `GET /api/v1/workspaces/{id}/ptys/{pty}`.

use axum::Json;
use axum::extract::State;
use shared::ids::{PtyId, WorkspaceId};
use shared::protocol::pty::GetPty;

use super::view::PtyView;
use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

/// One PTY.
#[utoipa::path(get, path = "/workspaces/{id}/ptys/{pty}", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,)),
    responses((status = 200, body = PtyView)))]
pub async fn get_pty(
    State(app): State<App>,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
) -> Result<Json<PtyView>, Problem> {
    let link = link(&app, id).await?;
    let view = link.read(&GetPty { pty_id }, READ_DEADLINE).await?;
    Ok(Json(view.into()))
}
