//! What the fake answers: what a model says, and how the answer is broken on its way.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use serde_json::Value;

use super::format::Format;

/// One answer. Built by a first call such as [`text`](Self::text), then changed by the others.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub(super) says: Vec<Says>,
    pub(super) usage: Option<Value>,
    pub(super) stop: Option<String>,
    pub(super) answered_by: Option<String>,
    pub(super) pace: Duration,
    pub(super) piece_chars: Option<usize>,
    status: Option<(u16, String)>,
    headers: Vec<(String, String)>,
    raw: Option<Vec<u8>>,
    ending: Ending,
}

/// One part of an answer.
#[derive(Clone, Debug)]
pub(super) enum Says {
    Text(String),
    Reasoning(String),
    Call { id: Option<String>, name: String, arguments: String },
}

/// How the stream ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    #[default]
    Whole,
    /// The connection breaks after so many bytes of the body.
    CutAfter(usize),
    /// The body ends in order after so many bytes.
    EndAfter(usize),
    /// Nothing more comes after so many bytes, and the connection stays open.
    StallAfter(usize),
}

impl Answer {
    /// Says text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { says: vec![Says::Text(text.into())], ..Self::default() }
    }

    /// Thinks first; more is added by [`and_text`](Self::and_text) and [`and_call`](Self::and_call).
    #[must_use]
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self { says: vec![Says::Reasoning(text.into())], ..Self::default() }
    }

    /// Calls a tool.
    #[must_use]
    pub fn call(name: &str, args: &Value) -> Self {
        Self::default().and_call(name, args)
    }

    /// Fails with a status and the error's text.
    #[must_use]
    pub fn status(status: u16, text: &str) -> Self {
        Self { status: Some((status, text.to_owned())), ..Self::default() }
    }

    /// A web page with status 200.
    #[must_use]
    pub fn html() -> Self {
        Self::bytes(b"<!doctype html><title>Sign in</title>".to_vec())
            .with_header("content-type", "text/html")
    }

    /// These bytes as the body of a stream.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self { raw: Some(bytes), ..Self::default() }
    }

    /// One event whose data has this many bytes and no end.
    #[must_use]
    pub fn huge_event(bytes: usize) -> Self {
        Self::bytes([b"data: ".as_slice(), "x".repeat(bytes).as_bytes()].concat())
    }

    /// And text.
    #[must_use]
    pub fn and_text(mut self, text: impl Into<String>) -> Self {
        self.says.push(Says::Text(text.into()));
        self
    }

    /// And another call in the same step.
    #[must_use]
    pub fn and_call(self, name: &str, args: &Value) -> Self {
        self.and_raw_call(None, name, &args.to_string())
    }

    /// And a call with arguments that may be no JSON, and an id that may be empty or repeated;
    /// none: an id of the fake's.
    #[must_use]
    pub fn and_raw_call(mut self, id: Option<&str>, name: &str, arguments: &str) -> Self {
        self.says.push(Says::Call {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        });
        self
    }

    /// Pauses between two pieces.
    #[must_use]
    pub const fn paced(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Streams pieces of so many characters instead of words.
    #[must_use]
    pub const fn in_pieces_of(mut self, chars: usize) -> Self {
        self.piece_chars = Some(chars);
        self
    }

    /// The provider's own usage object instead of a plausible one; `null`: none.
    #[must_use]
    pub fn with_usage(mut self, usage: Value) -> Self {
        self.usage = Some(usage);
        self
    }

    /// The reason to stop instead of the right one.
    #[must_use]
    pub fn stopping(mut self, reason: &str) -> Self {
        self.stop = Some(reason.to_owned());
        self
    }

    /// Another model answers than the one that was asked.
    #[must_use]
    pub fn answered_by(mut self, model: &str) -> Self {
        self.answered_by = Some(model.to_owned());
        self
    }

    /// A header of the answer, such as `retry-after`.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How the stream ends.
    #[must_use]
    pub const fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Bytes of the body in `format` for `model`, to choose places to cut.
    #[must_use]
    pub fn len(&self, format: Format, model: &str) -> usize {
        self.events(format, model).iter().map(Bytes::len).sum()
    }

    /// Whether the body is empty.
    #[must_use]
    pub fn is_empty(&self, format: Format, model: &str) -> bool {
        self.len(format, model) == 0
    }

    fn events(&self, format: Format, model: &str) -> Vec<Bytes> {
        match &self.raw {
            Some(raw) => raw.chunks(16 * 1024).map(Bytes::copy_from_slice).collect(),
            None => format.events(self, model),
        }
    }

    pub(super) fn respond(&self, format: Format, model: &str) -> Response {
        let mut response = match &self.status {
            Some((status, text)) => format.error(*status, kind_of(*status), text),
            None => self.stream(format, model),
        };
        for (name, value) in &self.headers {
            let name =
                axum::http::HeaderName::try_from(name).expect("a test's header name is valid");
            let value = value.parse().expect("a test's header value is valid");
            response.headers_mut().insert(name, value);
        }
        response
    }

    fn stream(&self, format: Format, model: &str) -> Response {
        let sending = Sending {
            events: self.events(format, model).into(),
            pace: self.pace,
            ending: self.ending,
            sent: 0,
        };
        let body = unfold(Some(sending), |sending| async move { sending?.next().await });
        Response::builder()
            .status(StatusCode::OK)
            .header("content-type", "text/event-stream")
            .header("request-id", "req_fake")
            .body(Body::from_stream(body.boxed()))
            .expect("the head is valid")
    }
}

const fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

struct Sending {
    events: VecDeque<Bytes>,
    pace: Duration,
    ending: Ending,
    sent: usize,
}

/// Ends a body in a way that the client sees as a broken connection.
type Piece = Result<Bytes, std::io::Error>;

impl Sending {
    async fn next(mut self) -> Option<(Piece, Option<Self>)> {
        let limit = match self.ending {
            Ending::Whole => usize::MAX,
            Ending::CutAfter(limit) | Ending::EndAfter(limit) | Ending::StallAfter(limit) => limit,
        };
        if self.sent >= limit {
            return match self.ending {
                Ending::StallAfter(_) => never().await,
                Ending::CutAfter(_) => Some((Err(std::io::Error::other("cut by the test")), None)),
                Ending::EndAfter(_) | Ending::Whole => None,
            };
        }
        let mut event = self.events.pop_front()?;
        if self.sent > 0 && !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        event.truncate(limit - self.sent);
        self.sent += event.len();
        Some((Ok(event), Some(self)))
    }
}

async fn never() -> Option<(Piece, Option<Sending>)> {
    let never: Result<Option<(Piece, Option<Sending>)>, Infallible> = std::future::pending().await;
    never.unwrap_or(None)
}
