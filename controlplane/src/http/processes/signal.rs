//! `POST /api/v1/workspaces/{id}/processes/{process}/signal`.

use axum::extract::State;
use axum::http::HeaderMap;
use bytes::Bytes;
use shared::ids::{ProcessId, WorkspaceId};
use shared::protocol::process::SignalProcess;

use super::view::ProcessView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::json::{Json, body};
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

body! {
    /// A signal for the process's whole group.
    pub struct SignalBody {
        /// `TERM`, `KILL`, `INT`, `HUP`, `QUIT`, `USR1`, `USR2`, `STOP`, `CONT`, or a number from 1 to 64.
        pub signal: String,
    }
}

/// Sends a signal to the process's group.
#[utoipa::path(post, path = "/workspaces/{id}/processes/{process}/signal", tag = "processes",
    params(("id" = String, Path,), ("process" = String, Path,)), request_body = SignalBody,
    responses((status = 200, body = ProcessView)))]
pub async fn signal_process(
    State(app): State<App>,
    caller: Caller,
    Path((id, process_id)): Path<(WorkspaceId, ProcessId)>,
    headers: HeaderMap,
    Json(body): Json<SignalBody>,
) -> Result<axum::Json<ProcessView>, Problem> {
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, &headers)?;
    let request = SignalProcess { process_id, signal: body.signal };
    let view = operate(&link, ids.id("signal"), &request, Bytes::new()).await?;
    Ok(axum::Json(view.into()))
}
