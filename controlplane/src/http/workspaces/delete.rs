//! `DELETE /api/v1/workspaces/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::WorkspaceId;

use crate::app::App;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Forgets a workspace and revokes its daemon at once. Its chats stay, without a workspace; nothing
/// on the machine is touched.
#[utoipa::path(delete, path = "/workspaces/{id}", tag = "workspaces", params(("id" = String, Path,)),
    responses((status = 204)))]
pub async fn delete_workspace(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
) -> Result<StatusCode, Problem> {
    app.store.workspaces.delete(id).await?;
    app.fleet.forget(id);
    app.hints.link_changed(id);
    app.workspace_changed(id);
    Ok(StatusCode::NO_CONTENT)
}
