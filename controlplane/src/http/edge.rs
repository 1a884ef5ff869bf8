//! The outermost layer: what is true of every answer, whoever made it.
//!
//! ```text
//! request id ► host ► origin ► no credential in the address ► router ► problem ► headers ► metrics
//! ```
//!
//! Each request has an id, a span and exactly one log line; each answer has the security headers;
//! a panic becomes an `internal` problem and harms nobody else.

use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use shared::ids::RequestId;
use tracing::Instrument;

use super::code::Code;
use super::hosts::Asker;
use super::problem::{self, Problem};
use crate::app::App;

/// Scripts, styles and connections from this server alone; nobody may frame us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' \
     'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; \
     worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";
/// Query parameters that would put a credential into logs and histories.
const CREDENTIAL_PARAMETERS: &[&str] =
    &["token", "access_token", "api_key", "apikey", "key", "password", "secret", "authorization"];

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps the whole router.
pub async fn edge(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(&app, request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = app.clock.now();
    let wants_upgrade = request.headers().contains_key(header::UPGRADE);
    let span = tracing::info_span!("http", http.method = %method, http.path = %cut(&path), request.id = %id);
    request.extensions_mut().insert(Asked(id.clone()));

    let answered = AssertUnwindSafe(admit(&app, request, next)).catch_unwind();
    let response = match answered.instrument(span.clone()).await {
        Ok(response) => response,
        Err(_) => span.in_scope(|| Problem::internal("a handler panicked").into_response()),
    };
    let mut response = problem::render(as_problem(response), &id, &cut(&path));
    dress(response.headers_mut(), &path, &id);
    // Behind an upgrade the framing is no longer checked, so a refused one ends the connection.
    if wants_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }

    let status = response.status();
    app.http.metrics.count(&method, status);
    let elapsed_ms = app.clock.now().duration_since(started).as_millis();
    tracing::info!(parent: &span, http.status = status.as_u16(), elapsed_ms, "answered");
    response
}

/// The request's id, for handlers that tell it in another way than a problem.
#[derive(Clone, Debug)]
pub struct Asked(pub String);

async fn admit(app: &App, request: Request, next: Next) -> Response {
    let refusal = check_host(app, &request)
        .and_then(|()| check_method(request.method()))
        .and_then(|()| check_origin(app, &request))
        .and_then(|()| check_query(request.uri()));
    match refusal {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_host(app: &App, request: &Request) -> Result<(), Problem> {
    if app.http.hosts.allows(request.headers(), request.uri()) {
        return Ok(());
    }
    let detail = "the Host header is missing, doubled or not a name of this server";
    let hint = "add the name to http.allowed_hosts, or set http.public_url";
    Err(Problem::new(Code::HostNotAllowed, detail).hint(hint).close())
}

/// Methods that no route has are refused before anybody is asked who they are.
fn check_method(method: &Method) -> Result<(), Problem> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE => Ok(()),
        _ => Err(Problem::new(Code::MethodNotAllowed, "no route takes this method").header(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"),
        )),
    }
}

fn check_origin(app: &App, request: &Request) -> Result<(), Problem> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_upgrade = request.headers().contains_key(header::UPGRADE);
    if is_read && !is_upgrade {
        return Ok(());
    }
    let has_cookie = request.headers().contains_key(header::COOKIE);
    let has_authorization = request.headers().contains_key(header::AUTHORIZATION);
    match app.http.hosts.asker(request.headers()) {
        Asker::Ours => Ok(()),
        // Browsers always say where an upgrade comes from; who does not and brings a cookie stole it.
        Asker::Unsaid if !is_upgrade || !has_cookie || has_authorization => Ok(()),
        Asker::Unsaid | Asker::Foreign => Err(Problem::new(
            Code::OriginNotAllowed,
            "the page that asks is not a page of this server",
        )),
    }
}

fn check_query(uri: &Uri) -> Result<(), Problem> {
    let is_credential = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        CREDENTIAL_PARAMETERS.contains(&name.to_ascii_lowercase().as_str())
            || value.starts_with("hf_")
            || value.starts_with("hfj_")
    };
    let query = uri.query().filter(|_| uri.path().starts_with("/api/")).unwrap_or_default();
    if query.split('&').any(is_credential) {
        return Err(Problem::new(
            Code::CredentialInUrl,
            "addresses are kept in logs and histories; send the credential as a header",
        )
        .hint("Authorization: Bearer hf_…"));
    }
    Ok(())
}

/// Answers that the framework made without a body become problems too.
fn as_problem(response: Response) -> Response {
    if response.extensions().get::<Problem>().is_some() {
        return response;
    }
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allow = response.headers().get(header::ALLOW).cloned();
            let methods =
                allow.as_ref().and_then(|v| v.to_str().ok()).unwrap_or("others").to_owned();
            let detail = format!("this route takes {methods}");
            let problem = Problem::new(Code::MethodNotAllowed, detail);
            match allow {
                Some(allow) => problem.header(header::ALLOW, allow),
                None => problem,
            }
            .into_response()
        }
        _ => response,
    }
}

/// The caller's own id where it is one, so that both logs can be joined; otherwise a new one.
fn request_id(app: &App, headers: &HeaderMap) -> String {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_id = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    given.filter(is_id).map_or_else(|| app.ids.id::<RequestId>().to_string(), str::to_owned)
}

fn dress(headers: &mut HeaderMap, path: &str, id: &str) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    if path.starts_with("/api/") {
        set(header::CACHE_CONTROL, "no-store");
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
}

fn cut(path: &str) -> String {
    path.chars().take(256).collect()
}
