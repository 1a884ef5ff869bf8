//! `GET /api/v1/chats/{id}/attachments/{attachment}`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shared::ids::{AttachmentId, ChatId};

use crate::app::App;
use crate::chat::content::FileRef;
use crate::chat::content::kind;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Whoever opens the address in a tab gets a document that can do nothing.
const SANDBOX: &str = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";
/// An id always means the same bytes; asked again now and then, since the right to them may end.
const CACHED: &str = "private, max-age=300, immutable";

/// The bytes of a file. Images (PNG, JPEG, GIF, WebP) may be shown in a page; everything else is
/// saved. `ETag` is the SHA-256.
#[utoipa::path(get, path = "/chats/{id}/attachments/{attachment}", tag = "attachments",
    params(("id" = String, Path,), ("attachment" = String, Path,)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 304)))]
pub async fn download_attachment(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path((id, attachment)): Path<(ChatId, AttachmentId)>,
) -> Result<Response, Problem> {
    let row = app.attachments.find(caller.user_id, id, attachment).await?;
    let tag =
        HeaderValue::from_str(&format!("\"{}\"", row.file.hash)).map_err(Problem::internal)?;
    let fixed = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static(CACHED)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static(served_type(&row.file))),
        (header::CONTENT_DISPOSITION, disposition(&row.file)),
        (header::CONTENT_LENGTH, HeaderValue::from(row.file.size)),
    ];
    // A client that counts sees that something is missing where the database went away.
    let bytes = app.attachments.bytes(row.blob_id);
    Ok((fixed, about, Body::from_stream(bytes)).into_response())
}

/// One of a closed list, whatever is stored.
fn served_type(file: &FileRef) -> &'static str {
    match file.media_type.as_str() {
        "image/png" => "image/png",
        "image/jpeg" => "image/jpeg",
        "image/gif" => "image/gif",
        "image/webp" => "image/webp",
        kind::PDF => kind::PDF,
        kind::TEXT => "text/plain; charset=utf-8",
        _ => kind::BYTES,
    }
}

/// With the name twice: for clients that read only ASCII, and whole (RFC 6266).
fn disposition(file: &FileRef) -> HeaderValue {
    let how = if kind::is_image(&file.media_type) { "inline" } else { "attachment" };
    let plain: String = file
        .name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | ';') { c } else { '_' })
        .collect();
    let mut whole = String::with_capacity(file.name.len());
    for byte in file.name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            whole.push(char::from(byte));
        } else {
            whole.push_str(&format!("%{byte:02X}"));
        }
    }
    let text = format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{whole}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("attachment"))
}
