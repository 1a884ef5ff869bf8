//! `GET /api/v1/workspaces/{id}/ptys/{pty}/output`.

use axum::extract::State;
use axum::response::Response;
use shared::ids::{PtyId, WorkspaceId};
use shared::protocol::pty::ReadPtyOutput;

use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::processes::OutputRange;
use crate::http::query::{Path, Query};
use crate::http::raw;
use crate::http::workspaces::link;

/// One page of the raw bytes that the program wrote, escape sequences included. The headers are
/// those of a process's output.
#[utoipa::path(get, path = "/workspaces/{id}/ptys/{pty}/output", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,),
        ("offset" = Option<u64>, Query, description = "The first byte; 0 by default"),
        ("limit" = Option<u64>, Query, description = "At most so many bytes, 1 to 4 MiB"),
        ("tail" = Option<u64>, Query, description = "The last so many bytes, instead of an offset")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub async fn pty_output(
    State(app): State<App>,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
    query: Query,
) -> Result<Response, Problem> {
    let OutputRange { offset, limit_bytes, from_end } = OutputRange::of(query)?;
    let request = ReadPtyOutput { pty_id, offset, limit_bytes, from_end };
    let link = link(&app, id).await?;
    let (page, body) = link.read_raw(&request, READ_DEADLINE).await?;
    let extent = raw::Extent {
        offset: page.offset,
        len: page.len,
        total: page.pty.output_total,
        dropped_from: page.pty.dropped_from,
        dropped_to: page.pty.dropped_to,
    };
    Ok(extent.answer(body))
}
