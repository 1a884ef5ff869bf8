//! `GET /api/v1/workspaces/{id}/files/search`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::ids::WorkspaceId;
use shared::protocol::files::{FilePath, SearchFiles};
use utoipa::ToSchema;

use super::view::PathView;
use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

/// Lines that match.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchView {
    /// Grouped by file, in path order.
    pub items: Vec<FileMatchesView>,
    /// Matches in all.
    pub matches: u64,
    /// Files looked at.
    pub files_searched: u64,
    /// More matched, or the time budget ended the walk.
    pub truncated: bool,
}

/// Matches in one file.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileMatchesView {
    /// From the root.
    #[serde(flatten)]
    pub path: PathView,
    /// In order.
    pub lines: Vec<MatchLineView>,
}

/// One line of a result.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchLineView {
    /// 1-based.
    pub line: u64,
    /// Cut at 1,024 bytes around the match.
    pub text: String,
    /// Whether it matches, or is context.
    pub is_match: bool,
}

/// Searches file contents by a regular expression in linear time, honouring ignore files.
#[utoipa::path(get, path = "/workspaces/{id}/files/search", tag = "files",
    params(("id" = String, Path,), ("pattern" = String, Query,),
        ("literal" = Option<bool>, Query, description = "Take the pattern as plain text"),
        ("ignore_case" = Option<bool>, Query,),
        ("path" = Option<String>, Query, description = "A file or a directory; none: the root"),
        ("glob" = Option<String>, Query, description = "Only files that match"),
        ("context" = Option<u32>, Query, description = "Lines around each match, 0 to 20"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 by default")),
    responses((status = 200, body = SearchView)))]
pub async fn search_files(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    mut query: Query,
) -> Result<Json<SearchView>, Problem> {
    let is = "true or false";
    let path = query.text("path")?;
    let request = SearchFiles {
        pattern: query.required("pattern")?,
        literal: query.parse("literal", is)?.unwrap_or(false),
        ignore_case: query.parse("ignore_case", is)?.unwrap_or(false),
        path: path.as_deref().map(FilePath::from),
        glob: query.text("glob")?,
        context: query.parse("context", "a number from 0 to 20")?.unwrap_or(0),
        limit: Some(query.limit(100, 1_000)?),
    };
    query.finish()?;
    let link = link(&app, id).await?;
    let found = link.read(&request, READ_DEADLINE).await?;
    let items = found.files.into_iter().map(|file| FileMatchesView {
        path: file.path.into(),
        lines: file
            .lines
            .into_iter()
            .map(|line| MatchLineView { line: line.line, text: line.text, is_match: line.is_match })
            .collect(),
    });
    Ok(Json(SearchView {
        items: items.collect(),
        matches: found.matches,
        files_searched: found.files_searched,
        truncated: found.truncated,
    }))
}
