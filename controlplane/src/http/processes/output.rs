//! `GET /api/v1/workspaces/{id}/processes/{process}/output`.

use axum::extract::State;
use axum::response::Response;
use shared::ids::{ProcessId, WorkspaceId};
use shared::limits::OUTPUT_PAGE_MAX_BYTES;
use shared::protocol::process::ReadOutput;

use crate::app::App;
use crate::http::code::Code;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::raw;
use crate::http::workspaces::link;

const DEFAULT_BYTES: u64 = 1024 * 1024;

/// Which page of an output is asked for: `offset`, `limit`, `tail`.
pub struct OutputRange {
    /// Of the first byte, or how many from the end.
    pub offset: u64,
    /// 1 to 4 MiB.
    pub limit_bytes: u64,
    /// The offset is counted from the end.
    pub from_end: bool,
}

impl OutputRange {
    /// Reads the whole query.
    ///
    /// # Errors
    ///
    /// `invalid_query` or `invalid_limit`.
    pub fn of(mut query: Query) -> Result<Self, Problem> {
        let offset = query.parse::<u64>("offset", "a number of bytes")?;
        let tail = query.parse::<u64>("tail", "a number of bytes")?;
        let limit = query.parse::<u64>("limit", "a number of bytes")?.unwrap_or(DEFAULT_BYTES);
        query.finish()?;
        if !(1..=OUTPUT_PAGE_MAX_BYTES).contains(&limit) {
            let detail = format!("limit takes a number from 1 to {OUTPUT_PAGE_MAX_BYTES}");
            return Err(Problem::new(Code::InvalidLimit, detail));
        }
        match (offset, tail) {
            (Some(_), Some(_)) => {
                Err(Problem::new(Code::InvalidQuery, "either offset or tail, not both"))
            }
            (_, Some(tail)) => Ok(Self { offset: tail, limit_bytes: limit, from_end: true }),
            (offset, None) => {
                Ok(Self { offset: offset.unwrap_or(0), limit_bytes: limit, from_end: false })
            }
        }
    }
}

/// One page of raw output, both streams in the order they were written.
///
/// The headers say where the page stands: `Holdfast-Offset`, `Holdfast-Next-Offset`, `Holdfast-Total`, and
/// `Holdfast-Dropped-From` and `-To` for what is no longer there.
#[utoipa::path(get, path = "/workspaces/{id}/processes/{process}/output", tag = "processes",
    params(("id" = String, Path,), ("process" = String, Path,),
        ("offset" = Option<u64>, Query, description = "The first byte; 0 by default"),
        ("limit" = Option<u64>, Query, description = "At most so many bytes, 1 to 4 MiB"),
        ("tail" = Option<u64>, Query, description = "The last so many bytes, instead of an offset")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
pub async fn process_output(
    State(app): State<App>,
    Path((id, process_id)): Path<(WorkspaceId, ProcessId)>,
    query: Query,
) -> Result<Response, Problem> {
    let OutputRange { offset, limit_bytes, from_end } = OutputRange::of(query)?;
    let request = ReadOutput { process_id, offset, limit_bytes, from_end };
    let link = link(&app, id).await?;
    let (page, body) = link.read_raw(&request, READ_DEADLINE).await?;
    let extent = raw::Extent {
        offset: page.offset,
        len: page.len,
        total: page.process.output_total,
        dropped_from: page.process.dropped_from,
        dropped_to: page.process.dropped_to,
    };
    Ok(extent.answer(body))
}
