//! `POST /api/v1/chats/{id}/attachments` and `POST /api/v1/attachments`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use shared::ids::{ChatId, UserId};
use shared::limits::ATTACHMENT_MAX_BYTES;
use tokio::time::{Instant, timeout, timeout_at};

use super::view::AttachmentView;
use crate::app::App;
use crate::chat::attachments::{Announced, UploadError};
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::store::attachments::Kept;

/// Longest time that an upload may take as a whole, however it trickles.
const WHOLE_MAX: Duration = Duration::from_secs(600);

static DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Uploads a file to a chat: the body's raw bytes, at most 10 MiB. A message then names it with a
/// part `{"type": "file", "attachment_id": …}`.
///
/// 201 with the file; 200 when the same bytes are there under the same name. What it is follows
/// from its bytes. `Content-Digest: sha-256=:…:` has it checked (400 `digest_mismatch`). 409
/// `too_many_attachments`: a chat takes 50. A file that no message names is removed after a day.
#[utoipa::path(post, path = "/chats/{id}/attachments", tag = "attachments",
    params(("id" = String, Path,), ("name" = String, Query, description = "The file's name"),
        ("Content-Digest" = Option<String>, Header,)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = AttachmentView), (status = 201, body = AttachmentView)))]
pub async fn upload_attachment(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    upload(&app, (caller.user_id, Some(id)), query, request).await
}

/// Uploads a file for a chat that does not exist yet; the chat's first message names it. As for a
/// chat; at most 50 may wait.
#[utoipa::path(post, path = "/attachments", tag = "attachments",
    params(("name" = String, Query, description = "The file's name"),
        ("Content-Digest" = Option<String>, Header,)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = AttachmentView), (status = 201, body = AttachmentView)))]
pub async fn upload_waiting_attachment(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    upload(&app, (caller.user_id, None), query, request).await
}

async fn upload(
    app: &App,
    place: (UserId, Option<ChatId>),
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let name = query.required("name")?;
    query.finish()?;
    let announced = Announced { name, digest: checked(request.headers())? };
    let body = in_time(request, app.http.options.read_timeout);
    let kept = app.attachments.upload(place, announced, body).await?;
    let status = match &kept {
        Kept::New(_) => StatusCode::CREATED,
        Kept::Again(_) => StatusCode::OK,
    };
    Ok((status, Json(AttachmentView::from(kept.row()))).into_response())
}

/// What the headers say is looked at before a byte is read. The digest that they announce.
fn checked(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "send the file as it is, without Content-Encoding";
        return Err(Problem::new(Code::UnsupportedEncoding, detail).close());
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length > ATTACHMENT_MAX_BYTES) {
        return Err(too_large(ATTACHMENT_MAX_BYTES));
    }
    let Some(value) = headers.get(&DIGEST) else { return Ok(None) };
    let digest = value.to_str().ok().and_then(sha256);
    digest.map(Some).ok_or_else(|| {
        Problem::new(Code::InvalidHeader, "Content-Digest takes sha-256=:base64 of 32 bytes:")
    })
}

/// The SHA-256 of a `Content-Digest` (RFC 9530).
fn sha256(text: &str) -> Option<[u8; 32]> {
    let digests = text.split(',').map(str::trim);
    let value = digests.into_iter().find_map(|digest| digest.strip_prefix("sha-256="))?;
    let inner = value.strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(inner).ok()?.try_into().ok()
}

/// The body, which may neither fall silent nor take for ever.
fn in_time(
    request: Request,
    silence: Duration,
) -> impl Stream<Item = Result<Bytes, Problem>> + Send {
    let end = Instant::now() + WHOLE_MAX;
    stream::unfold(Some(request.into_body().into_data_stream()), move |body| async move {
        let mut body = body?;
        match timeout_at(end, timeout(silence, body.next())).await {
            Ok(Ok(Some(Ok(bytes)))) => Some((Ok(bytes), Some(body))),
            Ok(Ok(None)) => None,
            Ok(Ok(Some(Err(_)))) => {
                let detail = "the connection ended inside the file; nothing was kept";
                Some((Err(Problem::new(Code::TruncatedBody, detail).close()), None))
            }
            Ok(Err(_)) | Err(_) => {
                let detail = "the file did not arrive in time; nothing was kept";
                Some((Err(Problem::new(Code::RequestTimeout, detail).close()), None))
            }
        }
    })
}

fn too_large(limit: u64) -> Problem {
    Problem::new(Code::AttachmentTooLarge, format!("a file may have {limit} bytes at most"))
        .with("limit", limit)
        .hint("files in the workspace are read page by page, whatever their size")
        .close()
}

impl From<UploadError<Self>> for Problem {
    fn from(error: UploadError<Self>) -> Self {
        match error {
            UploadError::Empty => Self::new(Code::EmptyAttachment, "the file has no byte"),
            UploadError::TooLarge { limit } => too_large(limit),
            UploadError::Digest { found } => Self::new(
                Code::DigestMismatch,
                "what arrived is not what Content-Digest announced; nothing was kept",
            )
            .with("sha256", found),
            UploadError::Body(problem) => problem,
            UploadError::Store(error) => error.into(),
        }
    }
}
