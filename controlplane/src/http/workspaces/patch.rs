//! `PATCH /api/v1/workspaces/{id}`.

use std::collections::BTreeMap;

use axum::extract::State;
use shared::ids::WorkspaceId;

use super::create::{check_labels, name_taken};
use super::edit_check::EditCheckBody;
use super::view::WorkspaceView;
use crate::app::App;
use crate::http::json::{Json, Name, Patch, body};
use crate::http::problem::Problem;
use crate::http::query::Path;

body! {
    /// What to change; what is not there stays.
    pub struct WorkspacePatch {
        /// Unique; 1 to 100 characters.
        #[schema(value_type = Option<String>)]
        pub name: Option<Name>,
        /// All of them, anew.
        pub labels: Option<BTreeMap<String, String>>,
        /// What is run after edits, unless a chat says otherwise; null: nothing.
        #[schema(value_type = Option<EditCheckBody>)]
        pub edit_check: Patch<EditCheckBody>,
    }
}

/// Renames a workspace, replaces its labels, or says what is run after edits.
#[utoipa::path(patch, path = "/workspaces/{id}", tag = "workspaces", params(("id" = String, Path,)),
    request_body = WorkspacePatch, responses((status = 200, body = WorkspaceView)))]
pub async fn patch_workspace(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    Json(body): Json<WorkspacePatch>,
) -> Result<axum::Json<WorkspaceView>, Problem> {
    body.labels.as_ref().map_or(Ok(()), check_labels)?;
    let given = body.edit_check.given();
    let check =
        given.map(|check| check.map(|it| it.check("/edit_check")).transpose()).transpose()?;
    let name = body.name.as_ref().map(Name::as_str);
    let row = app.store.workspaces.update(id, name, body.labels.as_ref()).await;
    let mut row = row.map_err(name_taken)?;
    if let Some(check) = check {
        row = app.store.workspaces.set_edit_check(id, check.as_ref()).await?;
    }
    app.workspace_changed(id);
    Ok(axum::Json(WorkspaceView::of(&app, row)))
}
