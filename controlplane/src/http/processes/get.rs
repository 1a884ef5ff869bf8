//! `GET /api/v1/workspaces/{id}/processes/{process}`.

use axum::Json;
use axum::extract::State;
use shared::ids::{ProcessId, WorkspaceId};
use shared::protocol::process::GetProcess;

use super::view::ProcessView;
use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

/// One process.
#[utoipa::path(get, path = "/workspaces/{id}/processes/{process}", tag = "processes",
    params(("id" = String, Path,), ("process" = String, Path,)),
    responses((status = 200, body = ProcessView)))]
pub async fn get_process(
    State(app): State<App>,
    Path((id, process_id)): Path<(WorkspaceId, ProcessId)>,
) -> Result<Json<ProcessView>, Problem> {
    let link = link(&app, id).await?;
    let view = link.read(&GetProcess { process_id }, READ_DEADLINE).await?;
    Ok(Json(view.into()))
}
