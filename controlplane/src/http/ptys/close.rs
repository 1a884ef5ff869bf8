//! `DELETE /api/v1/workspaces/{id}/ptys/{pty}`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use bytes::Bytes;
use shared::ids::{PtyId, WorkspaceId};
use shared::protocol::pty::ClosePty;

use super::view::PtyView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

const GRACE_MS: u64 = 1_000;

/// Closes a PTY: hang-up, grace, kill of everything in it. Answers when it is gone; its output can
/// still be read. One that has ended is answered as it is.
#[utoipa::path(delete, path = "/workspaces/{id}/ptys/{pty}", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,),
        ("grace_ms" = Option<u64>, Query, description = "Between the hang-up and the kill, 0 to 60,000; 1,000 by default")),
    responses((status = 200, body = PtyView)))]
pub async fn close_pty(
    State(app): State<App>,
    caller: Caller,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Json<PtyView>, Problem> {
    let grace_ms = query.parse("grace_ms", "a number of milliseconds")?.unwrap_or(GRACE_MS);
    query.finish()?;
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, &headers)?;
    let view =
        operate(&link, ids.id("close"), &ClosePty { pty_id, grace_ms }, Bytes::new()).await?;
    Ok(Json(view.into()))
}
