//! `PUT /api/v1/workspaces/{id}/files`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::ids::WorkspaceId;
use shared::limits::WRITE_BYTES_MAX;
use shared::protocol::files::{FilePath, WriteFile};
use utoipa::ToSchema;

use super::view::{PathView, etag, expectation};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::json::read_body;
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

/// A file that was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct WrittenView {
    /// From the root.
    #[serde(flatten)]
    pub path: PathView,
    /// Whether the file is new.
    pub created: bool,
    /// Of the content; also the `ETag`.
    pub hash: String,
    /// Bytes.
    pub size: u64,
}

/// Writes a whole file, at most 16 MiB: the body's raw bytes. The old file is there until the new one
/// is complete.
///
/// `If-Match: "hash"` writes only over that content, `If-None-Match: *` only a new file; otherwise
/// 412 `file_changed` or 409 `already_exists`.
#[utoipa::path(put, path = "/workspaces/{id}/files", tag = "files",
    params(("id" = String, Path,), ("path" = String, Query, description = "From the root"),
        ("If-Match" = Option<String>, Header,), ("If-None-Match" = Option<String>, Header,)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = WrittenView), (status = 201, body = WrittenView)))]
pub async fn write_file(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let path = query.required("path")?;
    query.finish()?;
    let expect = expectation(request.headers())?;
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, request.headers())?;
    let body = read_body(request, WRITE_BYTES_MAX, app.http.options.read_timeout).await?;
    let path = FilePath::from(path.as_str());
    let request = WriteFile { path, len: body.len() as u64, expect, mode: None };
    let done = operate(&link, ids.id("write"), &request, body).await?;

    let status = if done.created { StatusCode::CREATED } else { StatusCode::OK };
    let tag = etag(&done.hash);
    let view = WrittenView {
        path: done.path.into(),
        created: done.created,
        hash: done.hash,
        size: done.size,
    };
    let mut response = (status, Json(view)).into_response();
    response.headers_mut().extend(tag);
    Ok(response)
}
