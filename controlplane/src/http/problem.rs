//! The one error shape of the API: RFC 9457 problems with a stable `code`.
//!
//! A handler returns a [`Problem`]; as a response it is empty and carries the problem as an
//! extension. The outermost layer ([`render`]) knows the request's id and path and writes the body,
//! so that no error leaves without them, whoever made it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::ids::InvalidId;
use shared::protocol::WireError;
use utoipa::ToSchema;

use super::code::Code;

/// Most errors of one body that are listed.
pub const FIELD_ERRORS_MAX: usize = 20;

/// What went wrong. One pointer wide, since it is the error of nearly every function here.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: Cow<'static, str>,
    status: StatusCode,
    title: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    hint: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    details: BTreeMap<String, String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One thing that is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer of the place, such as `/content/0/text`; empty: the whole body.
    pub pointer: String,
    /// Stable code of this error.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

/// The body of every error answer.
#[derive(Serialize, ToSchema)]
pub struct ProblemView<'a> {
    /// Where the code is explained.
    #[serde(rename = "type")]
    kind: String,
    /// A short summary of the code.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do, for people.
    detail: &'a str,
    /// The path that was asked.
    instance: &'a str,
    /// Stable; the only thing to branch on.
    code: &'a str,
    /// Also in the header `X-Request-Id` and in the server's log.
    request_id: &'a str,
    /// What is wrong with the body, at most 20.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    /// When asking again may help, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// Values that belong to the code, such as `limit` or `from` and `to`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: &'a BTreeMap<String, String>,
}

impl Problem {
    /// A problem with its code's title; `detail` says what happened in this case.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code: code.as_str().into(),
            status: code.status(),
            title: code.title().into(),
            detail: detail.into(),
            errors: Vec::new(),
            hint: None,
            retry_after: None,
            details: BTreeMap::new(),
            headers: Vec::new(),
        }))
    }

    /// Nothing there, or not yours: the same answer for both.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NotFound, "there is no such thing here, or it is not yours")
    }

    /// A fault of ours. The cause goes to the log, never to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "a request failed");
        Self::new(Code::Internal, "the server failed; its log has more under the request id")
    }

    /// A body with these errors; never empty. The first gives the code.
    #[must_use]
    pub fn of_fields(mut errors: Vec<(Code, FieldError)>) -> Self {
        let count = errors.len();
        errors.truncate(FIELD_ERRORS_MAX);
        let Some((code, first)) = errors.first() else {
            return Self::internal("a problem of fields without fields");
        };
        let place = if first.pointer.is_empty() { "the body" } else { &first.pointer };
        let detail = match count {
            1 => format!("{place}: {}", first.detail),
            _ => format!("{place}: {}; {count} errors in all", first.detail),
        };
        let mut problem = Self::new(*code, detail);
        problem.0.errors = errors.into_iter().map(|(_, error)| error).collect();
        problem
    }

    /// One error of one field.
    pub fn of_field(code: Code, pointer: &str, detail: impl Into<String>) -> Self {
        Self::of_fields(vec![(code, FieldError::new(code, pointer.to_owned(), detail.into()))])
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds when to ask again, in the body and as `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// Adds a value that belongs to the code.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.0.details.insert(key.to_owned(), value.to_string());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Ends the connection after the answer, because the rest of the request is not read.
    #[must_use]
    pub fn close(self) -> Self {
        self.header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// For people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What is wrong with the body.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl FieldError {
    /// An error at `pointer`.
    #[must_use]
    pub fn new(code: Code, pointer: String, detail: String) -> Self {
        Self { pointer, code: code.as_str(), detail }
    }
}

impl From<InvalidId> for Problem {
    fn from(error: InvalidId) -> Self {
        Self::new(Code::InvalidId, error.to_string())
    }
}

/// A daemon's error keeps its code, its status and its values.
impl From<WireError> for Problem {
    fn from(error: WireError) -> Self {
        let known = error.known_code();
        let status = known.map_or(502, shared::protocol::ErrorCode::http_status);
        Self(Box::new(Parts {
            title: title_of(&error.code).into(),
            code: error.code.into(),
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            detail: error.message.into(),
            errors: Vec::new(),
            hint: None,
            retry_after: None,
            details: error.details,
            headers: Vec::new(),
        }))
    }
}

/// `path_escape` → `Path escape`.
fn title_of(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a problem that a handler or a layer answered.
#[must_use]
pub fn render(mut response: Response, request_id: &str, path: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let problem = problem.0;
    let retry_ms = problem.retry_after.map(|p| u64::try_from(p.as_millis()).unwrap_or(u64::MAX));
    let view = ProblemView {
        kind: format!("/api/errors/{}", problem.code),
        title: &problem.title,
        status: problem.status.as_u16(),
        detail: &problem.detail,
        instance: path,
        code: &problem.code,
        request_id,
        errors: &problem.errors,
        hint: problem.hint.as_deref(),
        retry_after_ms: retry_ms,
        details: &problem.details,
    };
    let body = serde_json::to_vec(&view).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(pause) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs().max(1)));
    }
    for (name, value) in &problem.headers {
        headers.insert(name, value.clone());
    }
    *response.body_mut() = Body::from(body);
    response
}
