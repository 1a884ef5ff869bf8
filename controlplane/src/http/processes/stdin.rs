//! `POST /api/v1/workspaces/{id}/processes/{process}/stdin`.

use axum::Json;
use axum::extract::{Request, State};
use bytes::Bytes;
use serde::Serialize;
use shared::ids::{ProcessId, WorkspaceId};
use shared::limits::STDIN_WRITE_MAX_BYTES;
use shared::protocol::process::WriteStdin;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::json::read_body;
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

/// What the process's standard input took.
#[derive(Debug, Serialize, ToSchema)]
pub struct StdinView {
    /// Bytes.
    pub written: u64,
}

/// Writes the body's raw bytes to standard input, at most 1 MiB, and closes it if asked to.
#[utoipa::path(post, path = "/workspaces/{id}/processes/{process}/stdin", tag = "processes",
    params(("id" = String, Path,), ("process" = String, Path,), ("close" = Option<bool>, Query,)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = StdinView)))]
pub async fn write_stdin(
    State(app): State<App>,
    caller: Caller,
    Path((id, process_id)): Path<(WorkspaceId, ProcessId)>,
    mut query: Query,
    request: Request,
) -> Result<Json<StdinView>, Problem> {
    let close = query.parse::<bool>("close", "true or false")?.unwrap_or(false);
    query.finish()?;
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, request.headers())?;
    let timeout = app.http.options.read_timeout;
    let data = read_body(request, STDIN_WRITE_MAX_BYTES, timeout).await?.to_vec();
    let request = WriteStdin { process_id, data, close };
    let done = operate(&link, ids.id("stdin"), &request, Bytes::new()).await?;
    Ok(Json(StdinView { written: done.written }))
}
