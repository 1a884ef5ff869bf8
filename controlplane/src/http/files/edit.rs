//! `POST /api/v1/workspaces/{id}/files/edit`.

use axum::extract::State;
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use shared::ids::WorkspaceId;
use shared::limits::{EDIT_FILES_MAX, EDITS_PER_FILE_MAX};
use shared::protocol::files::{Edit, EditFiles, FileEdits, FilePath};
use utoipa::ToSchema;

use super::view::PathView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{Json, body};
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

body! {
    /// Edits of several files: all of them or none.
    pub struct EditBody {
        /// 1 to 64, each file once.
        pub files: Vec<FileEditsBody>,
    }
}

body! {
    /// The edits of one file.
    pub struct FileEditsBody {
        /// From the root; it must exist.
        pub path: String,
        /// 1 to 256, each searched in the original content.
        pub edits: Vec<EditTextBody>,
        /// Refuse if the content is another.
        pub expect_hash: Option<String>,
    }
}

body! {
    /// One replacement.
    pub struct EditTextBody {
        /// What stands there now.
        pub old_text: String,
        /// What stands there afterwards.
        pub new_text: String,
        /// Every occurrence; otherwise it must be unique.
        pub replace_all: Option<bool>,
    }
}

/// The files after the edits.
#[derive(Debug, Serialize, ToSchema)]
pub struct EditedView {
    /// In the order of the request.
    pub files: Vec<EditedFileView>,
}

/// One file after its edits.
#[derive(Debug, Serialize, ToSchema)]
pub struct EditedFileView {
    /// From the root.
    #[serde(flatten)]
    pub path: PathView,
    /// Of the new content.
    pub hash: String,
    /// Unified diff, cut at 64 KiB.
    pub diff: String,
    /// Lines added.
    pub added: u64,
    /// Lines removed.
    pub removed: u64,
}

/// Edits several files: all of them or none.
#[utoipa::path(post, path = "/workspaces/{id}/files/edit", tag = "files", params(("id" = String, Path,)),
    request_body = EditBody, responses((status = 200, body = EditedView)))]
pub async fn edit_files(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
    headers: HeaderMap,
    Json(body): Json<EditBody>,
) -> Result<axum::Json<EditedView>, Problem> {
    let many = body.files.iter().any(|file| file.edits.len() > EDITS_PER_FILE_MAX);
    if body.files.len() > EDIT_FILES_MAX || many {
        let detail = format!("at most {EDIT_FILES_MAX} files with {EDITS_PER_FILE_MAX} edits each");
        return Err(Problem::of_field(Code::TooManyItems, "/files", detail));
    }
    let files = body.files.into_iter().map(|file| FileEdits {
        path: FilePath::from(file.path.as_str()),
        expect_hash: file.expect_hash,
        edits: file
            .edits
            .into_iter()
            .map(|edit| Edit {
                old_text: edit.old_text,
                new_text: edit.new_text,
                replace_all: edit.replace_all.unwrap_or(false),
            })
            .collect(),
    });
    let request = EditFiles { files: files.collect() };
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, &headers)?;
    let done = operate(&link, ids.id("edit"), &request, Bytes::new()).await?;
    let files = done.files.into_iter().map(|file| EditedFileView {
        path: file.path.into(),
        hash: file.hash,
        diff: file.diff,
        added: file.added,
        removed: file.removed,
    });
    Ok(axum::Json(EditedView { files: files.collect() }))
}
