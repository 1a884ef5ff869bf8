//! `GET /api/v1/workspaces/{id}/ptys/{pty}/screen`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::ids::{PtyId, WorkspaceId};
use shared::protocol::pty::{PtyScreenText, ReadPtyScreen};
use utoipa::ToSchema;

use super::view::PtyView;
use crate::app::App;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

/// The screen as text.
#[derive(Debug, Serialize, ToSchema)]
pub struct PtyScreenView {
    /// The PTY at that moment.
    pub pty: PtyView,
    /// Every byte before this one is in it.
    pub offset: u64,
    /// One for each row, without blanks at the end.
    pub lines: Vec<String>,
    /// From 0.
    pub cursor_row: u16,
    /// From 0.
    pub cursor_col: u16,
    /// Whether it is shown.
    pub cursor_visible: bool,
    /// Whether a full-screen program has the alternate screen.
    pub alternate: bool,
}

/// What the terminal shows now, as text.
#[utoipa::path(get, path = "/workspaces/{id}/ptys/{pty}/screen", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,)),
    responses((status = 200, body = PtyScreenView)))]
pub async fn pty_screen(
    State(app): State<App>,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
) -> Result<Json<PtyScreenView>, Problem> {
    let link = link(&app, id).await?;
    let screen = link.read(&ReadPtyScreen { pty_id }, READ_DEADLINE).await?;
    let PtyScreenText { pty, offset, rows, cursor_row, cursor_col, cursor_visible, alternate } =
        screen;
    let pty = PtyView::from(pty);
    Ok(Json(PtyScreenView {
        pty,
        offset,
        lines: rows,
        cursor_row,
        cursor_col,
        cursor_visible,
        alternate,
    }))
}
