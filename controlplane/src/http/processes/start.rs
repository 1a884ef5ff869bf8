//! `POST /api/v1/workspaces/{id}/processes`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use shared::ids::WorkspaceId;
use shared::protocol::process::{Program, StartProcess, Stdin};

use super::view::ProcessView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{Json, body};
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

body! {
    /// A process to be started: a command line for the shell, or a program with its arguments.
    pub struct StartBody {
        /// For `sh -c`.
        pub command: Option<String>,
        /// Without a shell; the first is looked up in `PATH`.
        pub argv: Option<Vec<String>>,
        /// Relative to the workspace's root, or absolute inside it; none: the root.
        pub cwd: Option<String>,
        /// Added to the environment.
        pub env: Option<BTreeMap<String, String>>,
        /// What it reads; none: nothing. See `keep_stdin_open`.
        pub stdin: Option<String>,
        /// Keep standard input open for `POST …/stdin`.
        pub keep_stdin_open: Option<bool>,
    }
}

/// Starts a process. Answers when it runs, or could not be started.
///
/// With an `Idempotency-Key` a repeated request never starts a second one.
#[utoipa::path(post, path = "/workspaces/{id}/processes", tag = "processes",
    params(("id" = String, Path,)), request_body = StartBody,
    responses((status = 201, body = ProcessView)))]
pub async fn start_process(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
    headers: HeaderMap,
    Json(body): Json<StartBody>,
) -> Result<(StatusCode, axum::Json<ProcessView>), Problem> {
    let program = match (body.command, body.argv) {
        (Some(command), None) => Program::Shell { command },
        (None, Some(argv)) if !argv.is_empty() => Program::Argv { argv },
        (None, Some(_)) => {
            return Err(Problem::of_field(Code::InvalidValue, "/argv", "the program is missing"));
        }
        _ => {
            let detail = "either command or argv is due, and only one of them";
            return Err(Problem::of_field(Code::InvalidValue, "", detail));
        }
    };
    let stdin = match (body.stdin, body.keep_stdin_open.unwrap_or(false)) {
        (Some(text), false) => Stdin::Bytes { data: text.into_bytes() },
        (None, true) => Stdin::Open,
        (None, false) => Stdin::Closed,
        (Some(_), true) => {
            let detail = "with keep_stdin_open, send the text to …/stdin";
            return Err(Problem::of_field(Code::InvalidValue, "/stdin", detail));
        }
    };
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, &headers)?;
    let request = StartProcess {
        process_id: ids.id("process"),
        program,
        cwd: body.cwd,
        env: body.env.unwrap_or_default(),
        stdin,
        chat_id: None,
        output_kept_bytes: None,
    };
    let view = operate(&link, ids.id("start"), &request, Bytes::new()).await?;
    Ok((StatusCode::CREATED, axum::Json(view.into())))
}
