//! `GET /api/v1/workspaces/{id}/files`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shared::ids::WorkspaceId;
use shared::limits::READ_RAW_BYTES_MAX;
use shared::protocol::files::{FilePath, ReadBytes};

use super::view::etag;
use crate::app::App;
use crate::http::code::Code;
use crate::http::operate::READ_DEADLINE;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::raw;
use crate::http::workspaces::link;

const DEFAULT_BYTES: u64 = 1024 * 1024;

/// Raw bytes of a file. `ETag` is the hash of the whole content; `Holdfast-Total` its size.
///
/// A page that is not the whole file says where it goes on in `Holdfast-Next-Offset`.
#[utoipa::path(get, path = "/workspaces/{id}/files", tag = "files",
    params(("id" = String, Path,), ("path" = String, Query, description = "From the root"),
        ("offset" = Option<u64>, Query,), ("limit" = Option<u64>, Query, description = "1 to 4 MiB; 1 MiB by default")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 304)))]
pub async fn read_file(
    State(app): State<App>,
    Path(id): Path<WorkspaceId>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let path = query.required("path")?;
    let offset = query.parse::<u64>("offset", "a number of bytes")?.unwrap_or(0);
    let limit = query.parse::<u64>("limit", "a number of bytes")?.unwrap_or(DEFAULT_BYTES);
    query.finish()?;
    if !(1..=READ_RAW_BYTES_MAX).contains(&limit) {
        let detail = format!("limit takes a number from 1 to {READ_RAW_BYTES_MAX}");
        return Err(Problem::new(Code::InvalidLimit, detail));
    }
    let request = ReadBytes { path: FilePath::from(path.as_str()), offset, limit_bytes: limit };
    let link = link(&app, id).await?;
    let (page, body) = link.read_raw(&request, READ_DEADLINE).await?;

    let tag = page.hash.as_deref().and_then(etag);
    let has = headers.get(header::IF_NONE_MATCH);
    if let Some((name, tag)) = &tag
        && has == Some(tag)
    {
        return Ok((StatusCode::NOT_MODIFIED, [(name.clone(), tag.clone())]).into_response());
    }
    let number =
        |name: &'static str, value: u64| (HeaderName::from_static(name), HeaderValue::from(value));
    let sizes = [
        number("holdfast-offset", page.offset),
        number("holdfast-next-offset", page.offset + page.len),
        number("holdfast-total", page.size),
        (header::CONTENT_LENGTH, HeaderValue::from(page.len)),
        // Never as a page: the content is not ours, and a browser must not run it here.
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
    ];
    let mut response = (sizes, Body::from_stream(raw::stream(body))).into_response();
    response.headers_mut().extend(tag);
    Ok(response)
}
