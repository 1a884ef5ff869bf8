//! `POST /api/v1/workspaces/{id}/processes/{process}/stop`.

use axum::extract::State;
use axum::http::HeaderMap;
use bytes::Bytes;
use shared::ids::{ProcessId, WorkspaceId};
use shared::protocol::process::StopProcess;

use super::view::ProcessView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::json::{Json, body};
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

const GRACE_MS: u64 = 2_000;

body! {
    /// How a process is to be stopped.
    pub struct StopBody {
        /// Milliseconds between the polite signal and the kill, 0 to 60,000; 2,000 by default.
        pub grace_ms: Option<u64>,
    }
}

/// Ends the process and everything it started: polite signal, grace, kill. Answers when it is gone.
#[utoipa::path(post, path = "/workspaces/{id}/processes/{process}/stop", tag = "processes",
    params(("id" = String, Path,), ("process" = String, Path,)), request_body = StopBody,
    responses((status = 200, body = ProcessView)))]
pub async fn stop_process(
    State(app): State<App>,
    caller: Caller,
    Path((id, process_id)): Path<(WorkspaceId, ProcessId)>,
    headers: HeaderMap,
    Json(body): Json<StopBody>,
) -> Result<axum::Json<ProcessView>, Problem> {
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, &headers)?;
    let request = StopProcess { process_id, grace_ms: body.grace_ms.unwrap_or(GRACE_MS) };
    let view = operate(&link, ids.id("stop"), &request, Bytes::new()).await?;
    Ok(axum::Json(view.into()))
}
