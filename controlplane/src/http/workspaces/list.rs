//! `GET /api/v1/workspaces`.

use axum::Json;
use axum::extract::State;

use super::view::WorkspaceView;
use crate::app::App;
use crate::http::code::Code;
use crate::http::page::{Page, cursor, read_cursor};
use crate::http::problem::Problem;
use crate::http::query::Query;

const LIST: &str = "workspaces";

/// The workspaces, oldest first.
#[utoipa::path(get, path = "/workspaces", tag = "workspaces",
    params(("cursor" = Option<String>, Query,), ("limit" = Option<u32>, Query, description = "1 to 500; 200 by default")),
    responses((status = 200, body = Page<WorkspaceView>)))]
pub async fn list_workspaces(
    State(app): State<App>,
    mut query: Query,
) -> Result<Json<Page<WorkspaceView>>, Problem> {
    let limit = query.limit(200, 500)?;
    let after = query.text("cursor")?;
    query.finish()?;
    let after = match after {
        Some(text) => {
            let [id] = read_cursor::<1>(LIST, &text)?;
            let invalid = |_| Problem::new(Code::InvalidCursor, "the cursor is damaged");
            Some(id.parse().map_err(invalid)?)
        }
        None => None,
    };
    let mut rows = app.store.workspaces.list(after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|row| cursor(LIST, &[&row.id.to_string()]));
    let items = rows.into_iter().map(|row| WorkspaceView::of(&app, row)).collect();
    Ok(Json(Page { items, next_cursor }))
}
