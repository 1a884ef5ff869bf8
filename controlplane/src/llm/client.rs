//! The one HTTP client for providers: pooled, TLS by ring, no redirects.
//!
//! A redirect would send the key to another address, so it is refused and told. Connecting has a
//! time limit; answering has the silence limits of [`sse`](super::sse).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;
use shared::clock::Clock;

use super::classify::{self, Teller};
use super::{ProviderError, ProviderErrorKind, sse};

/// Longest time to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an idle connection is kept for the next step.
const POOL_IDLE: Duration = Duration::from_secs(90);
/// Bytes of an error body that are read.
const ERROR_BODY_BYTES: usize = 16 * 1024;
/// Longest time to read an error body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a list of models.
const MODELS_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a list of models that are read.
const MODELS_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Talks to model providers. Cheap to clone; one pool for all.
#[derive(Clone)]
pub struct LlmClient {
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
}

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for model providers could not be built")]
pub struct ClientError(#[source] reqwest::Error);

/// An answer that has begun: status 2xx, and the body's bytes as they come.
pub(super) struct Answer {
    pub(super) request_id: Option<String>,
    pub(super) body: BoxStream<'static, Result<Bytes, reqwest::Error>>,
}

impl LlmClient {
    /// Builds the client.
    ///
    /// Where the system has no certificates, plain `http` (a local model server) still works and
    /// every `https` address fails with an unknown issuer.
    ///
    /// # Errors
    /// If the system's resolver cannot be read.
    pub fn new(clock: Arc<dyn Clock>) -> Result<Self, ClientError> {
        // The program installs it at start; tests and tools may come without. A second one is
        // refused, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(POOL_IDLE)
                .tcp_nodelay(true)
                .http2_adaptive_window(true)
                .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        };
        let http = builder().build().or_else(|error| {
            tracing::warn!(%error, "the system has no usable certificates; only http works");
            builder().tls_certs_only([]).build()
        });
        Ok(Self { http: http.map_err(ClientError)?, clock })
    }

    /// Posts `body` and waits for the head of the answer.
    ///
    /// # Errors
    /// Anything but a 2xx that may be a stream of events. Dropping the call ends it.
    pub(super) async fn post(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        teller: &Teller,
    ) -> Result<Answer, ProviderError> {
        let request = self
            .http
            .post(url)
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .header(reqwest::header::ACCEPT, "text/event-stream")
            // Compression would hold tokens back until there is enough to compress.
            .header(reqwest::header::ACCEPT_ENCODING, "identity")
            .body(body);
        let response = tokio::time::timeout(sse::FIRST_BYTE, request.send())
            .await
            .map_err(|_| {
                teller.error(
                    ProviderErrorKind::Timeout,
                    &format!(
                        "{} did not answer within {} s.",
                        teller.who,
                        sse::FIRST_BYTE.as_secs()
                    ),
                )
            })?
            .map_err(|error| teller.transport(&error))?;
        let response = self.checked(response, teller).await?;
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .to_ascii_lowercase();
        let request_id = classify::request_id(response.headers());
        for (sign, what) in [("html", "a web page"), ("application/json", "JSON")] {
            if content_type.contains(sign) {
                let head = read(response, ERROR_BODY_BYTES, ERROR_BODY_TIMEOUT).await;
                let said = serde_json::from_slice::<Value>(&head).ok();
                let error = match said.as_ref().filter(|said| said.get("error").is_some()) {
                    Some(said) => teller.event(said),
                    None => teller.bad_response(what, &head),
                };
                return Err(ProviderError { request_id, ..error });
            }
        }
        Ok(Answer { request_id, body: response.bytes_stream().boxed() })
    }

    /// Gets JSON, for lists of models.
    pub(super) async fn json(
        &self,
        url: Url,
        headers: HeaderMap,
        teller: &Teller,
    ) -> Result<Value, ProviderError> {
        let request = self.http.get(url).headers(headers).timeout(MODELS_TIMEOUT);
        let response = request.send().await.map_err(|error| teller.transport(&error))?;
        let response = self.checked(response, teller).await?;
        let body = read(response, MODELS_BODY_BYTES, MODELS_TIMEOUT).await;
        serde_json::from_slice(&body).map_err(|_| {
            let head = String::from_utf8_lossy(&body[..body.len().min(classify::HEAD_SHOWN_BYTES)])
                .into_owned();
            teller.error(
                ProviderErrorKind::BadResponse,
                &format!(
                    "{} sent no JSON for its list of models. Check the base URL. It begins: {head}",
                    teller.who
                ),
            )
        })
    }

    async fn checked(
        &self,
        response: reqwest::Response,
        teller: &Teller,
    ) -> Result<reqwest::Response, ProviderError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = read(response, ERROR_BODY_BYTES, ERROR_BODY_TIMEOUT).await;
        Err(teller.status(status.as_u16(), &headers, &body, self.clock.now_ms()))
    }
}

/// What comes of a body within its limits; a broken one ends where it broke.
async fn read(response: reqwest::Response, max_bytes: usize, within: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    let until = tokio::time::Instant::now() + within;
    while body.len() < max_bytes {
        match tokio::time::timeout_at(until, chunks.next()).await {
            Ok(Some(Ok(chunk))) => {
                let taken = chunk.len().min(max_bytes - body.len());
                body.extend_from_slice(&chunk[..taken]);
            }
            Ok(Some(Err(_)) | None) | Err(_) => break,
        }
    }
    body
}

/// A key as a header that is never logged.
pub(super) fn secret_header(
    text: &str,
    teller: &Teller,
) -> Result<reqwest::header::HeaderValue, ProviderError> {
    let mut value = reqwest::header::HeaderValue::from_str(text.trim()).map_err(|_| {
        teller.error(
            ProviderErrorKind::Auth,
            &format!(
                "The API key of {} has characters that no key has. Enter it again.",
                teller.who
            ),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}
