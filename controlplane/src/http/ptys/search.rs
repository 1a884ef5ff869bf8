//! `GET /api/v1/workspaces/{id}/ptys/{pty}/search`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::ids::{PtyId, WorkspaceId};
use shared::protocol::pty::{PtyMatch, SearchPty};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::code::Code;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

const CONTEXT_MAX: u32 = 20;

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct PtyMatchesView {
    /// In the order of the output.
    pub matches: Vec<PtyMatchView>,
    /// Matching lines in all that is kept.
    pub total: u64,
    /// Bytes that were dropped and could not be searched.
    pub dropped_bytes: u64,
    /// Every byte before this one was searched.
    pub searched_to: u64,
}

/// One matching line.
#[derive(Debug, Serialize, ToSchema)]
pub struct PtyMatchView {
    /// Of the line's first byte.
    pub offset: u64,
    /// Lines before it that are kept.
    pub line: u64,
    /// Its text, at most 2,048 bytes.
    pub text: String,
    /// Where it matches: bytes of `text`, `[from, to)`.
    pub ranges: Vec<[u32; 2]>,
    /// Lines before it.
    pub before: Vec<String>,
    /// Lines after it.
    pub after: Vec<String>,
}

/// Searches the lines that the program has written, in all that is kept. The last matches come
/// first: `before` pages backwards, with the offset of the first match that one has.
#[utoipa::path(get, path = "/workspaces/{id}/ptys/{pty}/search", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,),
        ("q" = String, Query, description = "A regular expression, at most 4,096 bytes"),
        ("ignore_case" = Option<bool>, Query,),
        ("context" = Option<u32>, Query, description = "Lines around each match, 0 to 20"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000 matches; 100 by default"),
        ("before" = Option<u64>, Query, description = "Only lines that begin before this offset")),
    responses((status = 200, body = PtyMatchesView)))]
pub async fn search_pty(
    State(app): State<App>,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
    mut query: Query,
) -> Result<Json<PtyMatchesView>, Problem> {
    let pattern = query.required("q")?;
    let ignore_case = query.parse("ignore_case", "true or false")?.unwrap_or(false);
    let context = query.parse("context", "a number of lines")?.unwrap_or(0);
    let limit = query.limit(100, 1_000)?;
    let before = query.parse("before", "a number of bytes")?;
    query.finish()?;
    if context > CONTEXT_MAX {
        let detail = format!("context takes a number from 0 to {CONTEXT_MAX}");
        return Err(Problem::new(Code::InvalidQuery, detail));
    }
    let request = SearchPty { pty_id, pattern, ignore_case, context, limit, before };
    let link = link(&app, id).await?;
    let found = link.read(&request, READ_DEADLINE).await?;
    Ok(Json(PtyMatchesView {
        matches: found.matches.into_iter().map(PtyMatchView::from).collect(),
        total: found.total,
        dropped_bytes: found.dropped_bytes,
        searched_to: found.searched_to,
    }))
}

impl From<PtyMatch> for PtyMatchView {
    fn from(wire: PtyMatch) -> Self {
        let PtyMatch { offset, line, text, ranges, before, after } = wire;
        let ranges = ranges.into_iter().map(|(from, to)| [from, to]).collect();
        Self { offset, line, text, ranges, before, after }
    }
}
