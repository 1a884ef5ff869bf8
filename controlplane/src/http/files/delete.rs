//! `DELETE /api/v1/workspaces/{id}/files`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use shared::ids::WorkspaceId;
use shared::protocol::files::{DeleteFile, FilePath};

use super::view::expectation;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

/// Removes a file, a link or an empty directory. `If-Match` as for writes.
#[utoipa::path(delete, path = "/workspaces/{id}/files", tag = "files",
    params(("id" = String, Path,), ("path" = String, Query, description = "From the root"),
        ("If-Match" = Option<String>, Header,)),
    responses((status = 204)))]
pub async fn delete_file(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<StatusCode, Problem> {
    let path = query.required("path")?;
    query.finish()?;
    let expect = expectation(&headers)?;
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, &headers)?;
    let request = DeleteFile { path: FilePath::from(path.as_str()), expect };
    operate(&link, ids.id("delete"), &request, Bytes::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}
