//! The web UI, carried by the binary.
//!
//! `web/dist` is embedded at build time (read from disk in debug builds). Files below `assets/` have a
//! hash in their name and never change; everything that is not a file is the single page, so that
//! its routes can be opened directly. A build without the web says so on a plain page.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::code::Code;
use super::problem::Problem;

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Dist;

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";

const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Holdfast</title>\
<style>body{font:16px/1.5 system-ui;margin:4rem auto;max-width:40rem;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>\
<h1>Holdfast runs</h1><p>This build carries no web UI. Build it, then build the server again:</p>\
<pre><code>cargo xtask up</code></pre><p>The API is here: <a href=\"/api/docs\">/api/docs</a>.</p></html>";

/// Answers whatever no route answers.
pub async fn fallback(request: Request) -> Response {
    let path = request.uri().path();
    if path == "/api" || path.starts_with("/api/") {
        return Problem::new(Code::NotFound, "there is no such route; see /api/docs")
            .into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::new(Code::MethodNotAllowed, "pages are read with GET")
            .header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
            .into_response();
    }
    match page(request.uri(), request.headers()) {
        Some(response) => response,
        None => Problem::not_found().into_response(),
    }
}

fn page(uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let path = uri.path();
    // No file of ours needs any of these, and no tricks with names get past this line.
    if path.contains(['%', '\\', '\0']) || path.contains("//") || path.contains("..") {
        return None;
    }
    let path = path.strip_prefix('/')?;
    if let Some(response) = file(path, headers) {
        return Some(response);
    }
    let looks_like_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    if looks_like_file {
        return None;
    }
    file("index.html", headers).or_else(|| Some(placeholder()))
}

fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let plain = Dist::get(path)?;
    let accepts = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().starts_with("br")))
    };
    let wants_brotli = headers.get_all(header::ACCEPT_ENCODING).iter().any(accepts);
    let brotli = wants_brotli.then(|| Dist::get(&format!("{path}.br"))).flatten();
    let tag = format!("\"{}\"", hex::encode(&plain.metadata.sha256_hash()[..16]));
    let cache = if path.starts_with("assets/") { IMMUTABLE } else { REVALIDATE };
    let kind = mime_guess::from_path(path).first_or_octet_stream();

    let unchanged =
        headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response = Response::new(Body::empty());
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let is_brotli = brotli.is_some();
        *response.body_mut() = match brotli.unwrap_or(plain).data {
            Cow::Borrowed(bytes) => Body::from(bytes),
            Cow::Owned(bytes) => Body::from(bytes),
        };
        if is_brotli {
            let coding = HeaderValue::from_static("br");
            response.headers_mut().insert(header::CONTENT_ENCODING, coding);
        }
    }
    let out = response.headers_mut();
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(kind) = HeaderValue::from_str(kind.as_ref()) {
        out.insert(header::CONTENT_TYPE, kind);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    Some(response)
}

fn placeholder() -> Response {
    let kind = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([kind, (header::CACHE_CONTROL, "no-store")], PLACEHOLDER).into_response()
}
