//! The extractor: what a body must look like before it is even parsed.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::{FromJson, read};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::problem::Problem;

/// Largest body of somebody who has not shown who they are.
const STRANGER_BODY_MAX_BYTES: usize = 64 * 1024;

/// A JSON body, read strictly.
pub struct Json<T>(pub T);

impl<T: FromJson> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let options = &app.http.options;
        let is_known = request.extensions().get::<Caller>().is_some();
        let limit = if is_known { options.body_limit_bytes } else { STRANGER_BODY_MAX_BYTES };
        require_json(request.headers())?;
        let bytes = read_body(request, limit, options.read_timeout).await?;
        read(&bytes).map(Self)
    }
}

/// A body that may be left out altogether; none: it is.
impl<T: FromJson> OptionalFromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Option<Self>, Problem> {
        let headers = request.headers();
        let says = |name| headers.get(name).is_some_and(|value| value != "0");
        let is_there = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        if !is_there.into_iter().any(says) {
            return Ok(None);
        }
        <Self as FromRequest<App>>::from_request(request, app).await.map(Some)
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
    match essence {
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Problem::new(
            Code::UnsupportedMediaType,
            "the body must be sent with Content-Type: application/json",
        )),
    }
}

/// Reads a whole body of at most `limit` bytes within `timeout`.
///
/// # Errors
///
/// 415 for a compressed body, 413 over the limit, 408 when it does not arrive in time. The last two
/// end the connection, since what is left of the body is not read.
pub async fn read_body(
    request: Request,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, Problem> {
    let headers = request.headers();
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            Code::UnsupportedEncoding,
            "send the body as it is, without Content-Encoding",
        )
        .close());
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    if announced.and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(timeout, collect(request.into_body(), limit)).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not arrive within {} ms", timeout.as_millis()),
        )
        .close()),
    }
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut chunks = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            Problem::new(Code::InvalidJson, "the connection ended inside the body").close()
        })?;
        if whole.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body is over the limit of {limit} bytes"))
        .with("limit", limit)
        .close()
}
