//! `Idempotency-Key`: a create that is repeated answers what it answered the first time.
//!
//! The key is claimed in the database before the work, so that of two equal requests at once, on
//! whatever replica, one works and the other waits for its answer. Answers may hold secrets (a new
//! API key), so they are sealed. Failures are not kept: who asks again, tries again.
//!
//! Where a repeat would begin work twice (a chat, a message), the handler hands the claimed key to
//! the transaction of the work ([`Earlier::key`]). If the process dies before it has kept the answer,
//! the repeat finds what was made ([`Earlier::made`]) and answers from that.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use shared::ids::UserId;
use tokio::sync::oneshot;

use super::auth::Caller;
use super::code::Code;
use super::json::read_body;
use super::problem::Problem;
use crate::app::App;
use crate::secrets::Place;
use crate::store::{ClaimedKey, KeyClaim, SavedAnswer};

const KEY_MAX_BYTES: usize = 255;
/// Answers of creates are small; a larger one is not kept.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// How long the second of two equal requests waits for the first one's answer.
const WAIT_TURNS: u32 = 100;
const WAIT_TURN: Duration = Duration::from_millis(100);

static KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is known of a request's key, for the handlers whose work must not begin twice.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// To be noted in the transaction of the work; none: the request has no key.
    pub key: Option<ClaimedKey>,
    /// The id of what an earlier try made; the work is done already.
    pub made: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Earlier {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// The request's key, if it has one.
///
/// # Errors
///
/// `invalid_header` when it is empty, too long or not printable.
pub fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        (1..=KEY_MAX_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    });
    match text {
        Some(text) if values.next().is_none() => Ok(Some(text)),
        _ => Err(Problem::new(
            Code::InvalidHeader,
            format!("Idempotency-Key takes 1 to {KEY_MAX_BYTES} printable characters, once"),
        )),
    }
}

/// Guards the creating routes. Runs inside `authorize`, so that keys belong to a caller.
pub async fn idempotent(State(app): State<App>, request: Request, next: Next) -> Response {
    match run(&app, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn run(app: &App, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(key) = key_of(request.headers())?.map(str::to_owned) else {
        return Ok(next.run(request).await);
    };
    let caller = request.extensions().get::<Caller>().map(|caller| caller.user_id);
    let Some(caller) = caller else { return Ok(next.run(request).await) };
    let (parts, body) = request.into_parts();
    let options = &app.http.options;
    let whole = Request::from_parts(parts.clone(), body);
    let bytes = read_body(whole, options.body_limit_bytes, options.read_timeout).await?;
    let hash = {
        let mut hasher = blake3::Hasher::new();
        hasher.update(parts.method.as_str().as_bytes());
        hasher.update(parts.uri.to_string().as_bytes());
        hasher.update(&bytes);
        hasher.finalize().to_hex().to_string()
    };
    let earlier = match claim(app, caller, &key, &hash).await? {
        Claimed::Answered(answer) => return replay(app, caller, &key, &answer),
        Claimed::Made(id) => Earlier { key: None, made: Some(id) },
        Claimed::Fresh(key) => Earlier { key: Some(key), made: None },
    };
    let claimed = earlier.key.clone();
    let mut request = Request::from_parts(parts, Body::from(bytes));
    request.extensions_mut().insert(earlier);
    // In a task of its own: a client that hangs up must not leave a claim without its answer.
    let (tell, told) = oneshot::channel();
    let worker = app.clone();
    app.lifecycle.spawn_serving("idempotent create", async move {
        let response = next.run(request).await;
        let _ = tell.send(keep(&worker, (caller, &key), claimed.as_ref(), response).await);
    });
    told.await.unwrap_or_else(|_| Err(Problem::internal("a create ended early")))
}

enum Claimed {
    /// The key is ours, do the work.
    Fresh(ClaimedKey),
    Made(String),
    Answered(SavedAnswer),
}

async fn claim(app: &App, caller: UserId, key: &str, hash: &str) -> Result<Claimed, Problem> {
    for _ in 0..WAIT_TURNS {
        match app.store.idempotency.claim(caller, key, hash, app.replica_id).await? {
            KeyClaim::Fresh(key) => return Ok(Claimed::Fresh(key)),
            KeyClaim::Made(id) => return Ok(Claimed::Made(id)),
            KeyClaim::Answered(answer) => return Ok(Claimed::Answered(answer)),
            KeyClaim::OtherRequest => {
                return Err(Problem::new(
                    Code::IdempotencyConflict,
                    "this Idempotency-Key was used for another request; make a new one",
                ));
            }
            KeyClaim::InFlight => tokio::time::sleep(WAIT_TURN).await,
        }
    }
    Err(Problem::new(Code::IdempotencyInFlight, "the first request is still being worked on")
        .retry_after(Duration::from_secs(1)))
}

async fn keep(
    app: &App,
    (caller, key): (UserId, &str),
    claimed: Option<&ClaimedKey>,
    response: Response,
) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let bytes = if parts.status.is_success() {
        to_bytes(body, ANSWER_MAX_BYTES).await.map_err(Problem::internal)?
    } else {
        if let Some(claimed) = claimed {
            app.store.idempotency.release(claimed).await?;
        }
        return Ok(Response::from_parts(parts, body));
    };
    let row = row_of(caller, key);
    let sealed = app.secrets.seal(&place(&row), &bytes);
    let answer = SavedAnswer { status: parts.status.as_u16(), body: sealed };
    // The work is done; without a kept answer the key only protects for the claim's time.
    if let Err(error) = app.store.idempotency.finish(caller, key, &answer).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "an answer was not kept");
    }
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn replay(app: &App, caller: UserId, key: &str, answer: &SavedAnswer) -> Result<Response, Problem> {
    let row = row_of(caller, key);
    let body = app.secrets.unseal(&place(&row), &answer.body).map_err(Problem::internal)?;
    let status = StatusCode::from_u16(answer.status).map_err(Problem::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true")),
    ];
    Ok((status, headers, body.to_vec()).into_response())
}

fn row_of(caller: UserId, key: &str) -> String {
    format!("{caller} {key}")
}

fn place(row: &str) -> Place<'_> {
    Place { table: "idempotency_keys", row, column: "body" }
}
