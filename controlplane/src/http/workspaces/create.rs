//! `POST /api/v1/workspaces`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;

use super::view::WorkspaceView;
use crate::app::App;
use crate::http::code::Code;
use crate::http::json::{Json, Name, body};
use crate::http::problem::Problem;
use crate::store::{NewWorkspace, StoreError};

const LABELS_MAX: usize = 32;
const LABEL_MAX_CHARS: usize = 100;

body! {
    /// A workspace to be made.
    pub struct WorkspaceBody {
        /// Unique; 1 to 100 characters.
        #[schema(value_type = String)]
        pub name: Name,
        /// For people and rules; at most 32.
        pub labels: Option<BTreeMap<String, String>>,
    }
}

/// Makes a workspace. It is `pending` until a daemon joins with a token of it.
#[utoipa::path(post, path = "/workspaces", tag = "workspaces", request_body = WorkspaceBody,
    responses((status = 201, body = WorkspaceView)))]
pub async fn create_workspace(
    State(app): State<App>,
    Json(body): Json<WorkspaceBody>,
) -> Result<(StatusCode, axum::Json<WorkspaceView>), Problem> {
    let labels = body.labels.unwrap_or_default();
    check_labels(&labels)?;
    let name = body.name.into_inner();
    let row = app.store.workspaces.create(&NewWorkspace { name, labels }).await;
    let row = row.map_err(name_taken)?;
    app.workspace_changed(row.id);
    Ok((StatusCode::CREATED, axum::Json(WorkspaceView::of(&app, row))))
}

pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Problem> {
    let is_long = |text: &String| text.chars().count() > LABEL_MAX_CHARS;
    if labels.len() > LABELS_MAX || labels.iter().any(|(key, value)| is_long(key) || is_long(value))
    {
        let detail = format!("at most {LABELS_MAX} labels of {LABEL_MAX_CHARS} characters");
        return Err(Problem::of_field(Code::InvalidValue, "/labels", detail));
    }
    Ok(())
}

pub(super) fn name_taken(error: StoreError) -> Problem {
    match error {
        StoreError::Conflict => {
            Problem::new(Code::NameTaken, "another workspace has this name; choose another one")
        }
        other => other.into(),
    }
}
