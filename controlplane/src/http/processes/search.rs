//! `GET /api/v1/workspaces/{id}/processes/{process}/output/search`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::ids::{ProcessId, WorkspaceId};
use shared::protocol::process::{OutputWindow, ViewOutput};
use utoipa::ToSchema;

use super::view::ProcessView;
use crate::app::App;
use crate::http::code::Code;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

const CONTEXT_MAX: u32 = 20;

/// Lines of output that match.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutputMatchesView {
    /// The process, read before the text.
    pub process: ProcessView,
    /// One line each: `number:offset: line`, lines of context with `-`. Gaps say their size.
    pub text: String,
    /// One past the last byte that was looked at.
    pub next_offset: u64,
    /// Lines that were cut for their length.
    pub lines_cut: u32,
}

/// Searches the output that is kept, line by line, with a regular expression.
#[utoipa::path(get, path = "/workspaces/{id}/processes/{process}/output/search", tag = "processes",
    params(("id" = String, Path,), ("process" = String, Path,),
        ("q" = String, Query, description = "A regular expression, at most 4,096 bytes"),
        ("context" = Option<u32>, Query, description = "Lines around each match, 0 to 20"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000 matches; 200 by default")),
    responses((status = 200, body = OutputMatchesView)))]
pub async fn search_output(
    State(app): State<App>,
    Path((id, process_id)): Path<(WorkspaceId, ProcessId)>,
    mut query: Query,
) -> Result<Json<OutputMatchesView>, Problem> {
    let pattern = query.required("q")?;
    let context = query.parse("context", "a number of lines")?.unwrap_or(0);
    let limit = query.limit(200, 1_000)?;
    query.finish()?;
    if context > CONTEXT_MAX {
        let detail = format!("context takes a number from 0 to {CONTEXT_MAX}");
        return Err(Problem::new(Code::InvalidQuery, detail));
    }
    let window = OutputWindow::Grep { pattern, context, limit };
    let link = link(&app, id).await?;
    let found = link.read(&ViewOutput { process_id, window }, READ_DEADLINE).await?;
    Ok(Json(OutputMatchesView {
        process: found.process.into(),
        text: found.text,
        next_offset: found.next_offset,
        lines_cut: found.lines_cut,
    }))
}
