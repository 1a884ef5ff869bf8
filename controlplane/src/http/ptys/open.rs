//! `POST /api/v1/workspaces/{id}/ptys`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use shared::ids::WorkspaceId;
use shared::protocol::process::Program;
use shared::protocol::pty::{OpenPty, PtySize};

use super::view::PtyView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{Json, body};
use crate::http::operate::{RequestIds, operate};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::link;

body! {
    /// A PTY to be opened: the login shell, a command line for the shell, or a program.
    pub struct OpenBody {
        /// For `sh -c`.
        pub command: Option<String>,
        /// Without a shell; the first is looked up in `PATH`.
        pub argv: Option<Vec<String>>,
        /// Relative to the workspace's root, or absolute inside it; none: the root.
        pub cwd: Option<String>,
        /// Added to the environment. `TERM` is `xterm-256color` unless another is given.
        pub env: Option<BTreeMap<String, String>>,
        /// 80 by default; brought into 1 to 1,000.
        pub cols: Option<i64>,
        /// 24 by default; brought into 1 to 1,000.
        pub rows: Option<i64>,
    }
}

/// Opens a PTY. Answers when its program runs, or could not be started.
///
/// With an `Idempotency-Key` a repeated request never opens a second one.
#[utoipa::path(post, path = "/workspaces/{id}/ptys", tag = "ptys",
    params(("id" = String, Path,)), request_body = OpenBody,
    responses((status = 201, body = PtyView)))]
pub async fn open_pty(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
    headers: HeaderMap,
    Json(body): Json<OpenBody>,
) -> Result<(StatusCode, axum::Json<PtyView>), Problem> {
    let program = match (body.command, body.argv) {
        (None, None) => None,
        (Some(command), None) => Some(Program::Shell { command }),
        (None, Some(argv)) if !argv.is_empty() => Some(Program::Argv { argv }),
        (None, Some(_)) => {
            return Err(Problem::of_field(Code::InvalidValue, "/argv", "the program is missing"));
        }
        (Some(_), Some(_)) => {
            let detail = "command, argv or neither, but not both";
            return Err(Problem::of_field(Code::InvalidValue, "", detail));
        }
    };
    let usual = PtySize::default();
    let cols = body.cols.unwrap_or_else(|| usual.cols().into());
    let rows = body.rows.unwrap_or_else(|| usual.rows().into());
    let link = link(&app, id).await?;
    let ids = RequestIds::new(&app, &caller, &headers)?;
    let request = OpenPty {
        pty_id: ids.id("pty"),
        program,
        cwd: body.cwd,
        env: body.env.unwrap_or_default(),
        size: PtySize::clamped(cols, rows),
        chat_id: None,
        output_kept_bytes: None,
    };
    let view = operate(&link, ids.id("open"), &request, Bytes::new()).await?;
    Ok((StatusCode::CREATED, axum::Json(view.into())))
}
