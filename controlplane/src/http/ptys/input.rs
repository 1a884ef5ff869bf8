//! `POST /api/v1/workspaces/{id}/ptys/{pty}/input`.

use axum::Json;
use axum::extract::{Request, State};
use bytes::Bytes;
use shared::ids::{PtyId, WorkspaceId};
use shared::limits::PTY_INPUT_MAX_BYTES;
use shared::protocol::pty::WritePty;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::json::read_body;
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::processes::StdinView;
use crate::http::query::Path;
use crate::http::workspaces::link;

/// Types the body's raw bytes, at most 64 KiB, for programs that are not attached. Refused
/// `read_only` while a viewer writes.
#[utoipa::path(post, path = "/workspaces/{id}/ptys/{pty}/input", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = StdinView)))]
pub async fn write_pty(
    State(app): State<App>,
    caller: Caller,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
    request: Request,
) -> Result<Json<StdinView>, Problem> {
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, request.headers())?;
    let timeout = app.http.options.read_timeout;
    let data = read_body(request, PTY_INPUT_MAX_BYTES, timeout).await?.to_vec();
    let done = operate(&link, ids.id("input"), &WritePty { pty_id, data }, Bytes::new()).await?;
    Ok(Json(StdinView { written: done.written }))
}
