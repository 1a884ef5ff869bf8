//! Raw pages of a daemon as the body of an answer, passed on as they come.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

use crate::fleet::{CallError, RawBody};

/// The bytes of `body`. A link that is lost in the middle ends the connection, so that a client that
/// counts sees that something is missing.
pub fn stream(body: RawBody) -> impl Stream<Item = Result<Bytes, CallError>> {
    unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(body))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// Where a page of raw output stands, in bytes.
pub struct Extent {
    /// Of its first byte.
    pub offset: u64,
    /// Of the page.
    pub len: u64,
    /// Of all output so far.
    pub total: u64,
    /// What was dropped: from this offset …
    pub dropped_from: u64,
    /// … to this one, exclusive. Equal: nothing was.
    pub dropped_to: u64,
}

impl Extent {
    /// The page with its bytes; the headers say where it stands.
    pub fn answer(self, body: RawBody) -> Response {
        let number = |name: &'static str, value: u64| {
            (HeaderName::from_static(name), HeaderValue::from(value))
        };
        let headers = [
            number("holdfast-offset", self.offset),
            number("holdfast-next-offset", self.offset + self.len),
            number("holdfast-total", self.total),
            number("holdfast-dropped-from", self.dropped_from),
            number("holdfast-dropped-to", self.dropped_to),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::CONTENT_LENGTH, HeaderValue::from(self.len)),
        ];
        (headers, Body::from_stream(stream(body))).into_response()
    }
}
