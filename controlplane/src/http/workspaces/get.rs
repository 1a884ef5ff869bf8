//! `GET /api/v1/workspaces/{id}`.

use axum::Json;
use axum::extract::State;
use shared::ids::WorkspaceId;

use super::view::WorkspaceView;
use crate::app::App;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// One workspace, with what its link says now.
#[utoipa::path(get, path = "/workspaces/{id}", tag = "workspaces", params(("id" = String, Path,)),
    responses((status = 200, body = WorkspaceView)))]
pub async fn get_workspace(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
) -> Result<Json<WorkspaceView>, Problem> {
    let row = app.store.workspaces.workspace(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(WorkspaceView::of(&app, row)))
}
