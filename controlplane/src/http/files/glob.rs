//! `GET /api/v1/workspaces/{id}/files/glob`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::ids::WorkspaceId;
use shared::protocol::files::{FilePath, GlobFiles};
use utoipa::ToSchema;

use super::view::PathView;
use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

/// Paths that match.
#[derive(Debug, Serialize, ToSchema)]
pub struct GlobView {
    /// Newest first.
    pub items: Vec<PathView>,
    /// More matched, or the time budget ended the walk.
    pub truncated: bool,
}

/// Finds files by pattern, such as `**/*.rs`, newest first, honouring ignore files.
#[utoipa::path(get, path = "/workspaces/{id}/files/glob", tag = "files",
    params(("id" = String, Path,), ("pattern" = String, Query,),
        ("path" = Option<String>, Query, description = "Where to look; none: the root"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 200 by default")),
    responses((status = 200, body = GlobView)))]
pub async fn glob_files(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    mut query: Query,
) -> Result<Json<GlobView>, Problem> {
    let pattern = query.required("pattern")?;
    let path = query.text("path")?;
    let limit = query.limit(200, 1_000)?;
    query.finish()?;
    let link = link(&app, id).await?;
    let path = path.as_deref().map(FilePath::from);
    let request = GlobFiles { pattern, path, limit: Some(limit) };
    let found = link.read(&request, READ_DEADLINE).await?;
    let items = found.paths.into_iter().map(PathView::from).collect();
    Ok(Json(GlobView { items, truncated: found.truncated }))
}
