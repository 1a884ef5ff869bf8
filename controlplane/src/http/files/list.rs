//! `GET /api/v1/workspaces/{id}/files/list`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::ids::WorkspaceId;
use shared::protocol::files::{FilePath, ListDirectory};
use utoipa::ToSchema;

use super::view::PathView;
use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;
use crate::time::Timestamp;

/// One page of a directory.
#[derive(Debug, Serialize, ToSchema)]
pub struct DirectoryView {
    /// The directory, from the root.
    #[serde(flatten)]
    pub path: PathView,
    /// By name, in byte order.
    pub items: Vec<EntryView>,
    /// Whether there is more; pass the last name as `after`.
    pub more: bool,
}

/// One entry of a directory.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryView {
    /// Its name.
    pub name: PathView,
    /// `file`, `directory`, `symlink`, `fifo`, `socket`, `device`.
    pub kind: String,
    /// Bytes, for a file.
    pub size: u64,
    /// When it last changed.
    pub modified_at: Timestamp,
    /// Where a link points, for people.
    pub target: Option<String>,
}

/// Lists a directory.
#[utoipa::path(get, path = "/workspaces/{id}/files/list", tag = "files",
    params(("id" = String, Path,), ("path" = Option<String>, Query, description = "From the root; none: the root"),
        ("after" = Option<String>, Query, description = "Go on after this name"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000")),
    responses((status = 200, body = DirectoryView)))]
pub async fn list_directory(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    mut query: Query,
) -> Result<Json<DirectoryView>, Problem> {
    let path = query.text("path")?.unwrap_or_else(|| ".".to_owned());
    let after = query.text("after")?;
    let limit = query.limit(1_000, 1_000)?;
    query.finish()?;
    let link = link(&app, id).await?;
    let request = ListDirectory {
        path: FilePath::from(path.as_str()),
        after: after.as_deref().map(FilePath::from),
        limit: Some(limit),
    };
    let page = link.read(&request, READ_DEADLINE).await?;
    let items = page.entries.into_iter().map(|entry| EntryView {
        name: entry.name.into(),
        kind: entry.kind,
        size: entry.size,
        modified_at: Timestamp(entry.modified_at_ms),
        target: entry.target,
    });
    let items = items.collect();
    Ok(Json(DirectoryView { path: page.path.into(), items, more: page.more }))
}
