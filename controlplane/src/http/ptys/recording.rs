//! `GET /api/v1/workspaces/{id}/ptys/{pty}/recording`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use shared::ids::{PtyId, WorkspaceId};
use shared::protocol::pty::{RecordPty, RecordingFormat};

use crate::app::App;
use crate::http::code::Code;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::workspaces::link;

/// The PTY as an asciicast that plays with the times at which things were written.
#[utoipa::path(get, path = "/workspaces/{id}/ptys/{pty}/recording", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,),
        ("format" = Option<String>, Query, description = "`asciicast_v2`, the default, or `asciicast_v3`"),
        ("offset" = Option<u64>, Query, description = "Begin here, with a screen of what was before")),
    responses((status = 200, body = String, content_type = "application/x-asciicast")))]
pub async fn pty_recording(
    State(app): State<App>,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
    mut query: Query,
) -> Result<Response, Problem> {
    let format = match query.text("format")?.as_deref() {
        None | Some("asciicast_v2") => RecordingFormat::AsciicastV2,
        Some("asciicast_v3") => RecordingFormat::AsciicastV3,
        Some(_) => {
            let detail = "format takes asciicast_v2 or asciicast_v3";
            return Err(Problem::new(Code::InvalidQuery, detail));
        }
    };
    let offset = query.parse("offset", "a number of bytes")?;
    query.finish()?;
    let link = link(&app, id).await?;
    let request = RecordPty { pty_id, format, offset };
    let (head, body) = link.record(&request, READ_DEADLINE).await?;
    // A link that is lost in the middle ends the connection without the last chunk, so that a
    // client sees that something is missing.
    let bytes = unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(body))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    // The daemon's own word for the type is not trusted in a header of ours.
    let kind = match head.media_type.as_str() {
        "application/x-asciicast" => "application/x-asciicast",
        _ => "application/octet-stream",
    };
    let name = format!("attachment; filename=\"{pty_id}.cast\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(Problem::internal)?),
    ];
    Ok((headers, Body::from_stream(bytes)).into_response())
}
