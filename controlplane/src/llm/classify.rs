//! Failures of a provider, sorted by what should happen next, and told without any secret.
//!
//! | Sign | Kind | Tried again |
//! |---|---|---|
//! | prompt over the window, 413 | `context_exceeded` | no |
//! | no credit: 402, `insufficient_quota`, `billing_error` | `provider_quota` | no |
//! | 401, 403 | `provider_auth` | no |
//! | 529, 503, `overloaded_error` | `provider_overloaded` | yes |
//! | 429 | `provider_rate_limited` | yes |
//! | 408, 504, a stream cut before its end | `provider_timeout` | yes |
//! | other 5xx, 409 | `provider_error` | yes |
//! | redirects, every other 4xx | `provider_config` | no |

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{ProviderError, ProviderErrorKind};

/// Longest message for people, in characters.
const MESSAGE_MAX_CHARS: usize = 500;
/// Bytes of a bad answer that are shown.
pub(super) const HEAD_SHOWN_BYTES: usize = 200;
/// Longest pause a provider may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What looks like a key, wherever it stands in a provider's text.
static KEYS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?ix) \b(?:sk|pk|rk|key|hf|gsk|xai|csk|AIza)[-_][A-Za-z0-9_*.\-]{6,}
               | \bAIza[A-Za-z0-9_\-]{10,}
               | \bBearer\s+[^\s"'<>]+
               | \b(?:x-)?api[-_]?key["'\s:=]+[A-Za-z0-9_*.\-]{6,}"#,
    )
    .expect("the pattern of this source is valid")
});

/// `text` with everything that looks like a key taken out.
#[must_use]
pub fn redact(text: &str) -> String {
    KEYS.replace_all(text, "[key]").into_owned()
}

/// Who failed, for messages, and what must not be told.
#[derive(Clone)]
pub(super) struct Teller {
    /// The provider's name for people.
    pub(super) who: String,
    /// The key, to be kept out of messages.
    pub(super) key: Option<crate::secrets::Secret>,
}

impl Teller {
    /// An error with a message of at most 500 characters, without the key.
    pub(super) fn error(&self, kind: ProviderErrorKind, text: &str) -> ProviderError {
        let text = self.redact(text);
        ProviderError {
            kind,
            message: text.chars().take(MESSAGE_MAX_CHARS).collect(),
            status: None,
            retry_after: None,
            request_id: None,
        }
    }

    /// An answer that is not what the protocol says; `head` is how it begins.
    pub(super) fn bad_response(&self, what: &str, head: &[u8]) -> ProviderError {
        let head = &head[..head.len().min(HEAD_SHOWN_BYTES)];
        let shown = if head.is_empty() {
            "It was empty.".to_owned()
        } else {
            format!("It begins: {}", String::from_utf8_lossy(head))
        };
        let text = format!(
            "{} sent {what} instead of a stream of events. Check the base URL. {shown}",
            self.who
        );
        self.error(ProviderErrorKind::BadResponse, &text)
    }

    /// The stream ended, or the connection broke, before the answer was complete.
    pub(super) fn cut(&self, why: &str) -> ProviderError {
        let text = format!("The answer of {} ended before it was complete ({why}).", self.who);
        self.error(ProviderErrorKind::Timeout, &text)
    }

    /// An answer with a status that is not 2xx.
    pub(super) fn status(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        now_ms: i64,
    ) -> ProviderError {
        let said = Said::of(body);
        let (kind, advice) = if (300..400).contains(&status) {
            (
                ProviderErrorKind::Config,
                "Redirects are refused, because they would carry the key. Set the base URL to the final address.",
            )
        } else {
            let kind = match said.kind() {
                Some(kind) => kind,
                None => by_status(status),
            };
            let kind = if kind == ProviderErrorKind::RateLimited
                && header(headers, "x-should-retry").as_deref() == Some("false")
            {
                ProviderErrorKind::Quota
            } else {
                kind
            };
            (kind, advice(kind))
        };
        let detail = said.detail();
        let detail = detail.trim_end_matches('.');
        let colon = if detail.is_empty() { "" } else { ": " };
        let detail: String = detail.chars().take(300).collect();
        let text = format!("{} answered {status}{colon}{detail}. {advice}", self.who);
        ProviderError {
            status: Some(status),
            retry_after: retry_after(headers, now_ms),
            request_id: request_id(headers),
            ..self.error(kind, text.trim_end())
        }
    }

    /// An error event inside a stream whose status was 200.
    pub(super) fn event(&self, error: &Value) -> ProviderError {
        let said = Said::of_value(error.clone());
        let code = error.pointer("/error/code").or_else(|| error.get("code"));
        let code = code.and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let kind = said
            .kind()
            .or_else(|| code.filter(|code| *code >= 400).map(by_status))
            .unwrap_or(ProviderErrorKind::Server);
        let text = format!("{} stopped: {}. {}", self.who, said.detail(), advice(kind));
        ProviderError { status: code, ..self.error(kind, text.trim_end()) }
    }

    /// The request did not reach the provider, or no answer came.
    pub(super) fn transport(&self, error: &reqwest::Error) -> ProviderError {
        let cause = root_cause(error);
        let (kind, text) = if error.is_builder() {
            (
                ProviderErrorKind::Config,
                format!("The base URL of {} cannot be used: {cause}.", self.who),
            )
        } else if error.is_connect() {
            (
                ProviderErrorKind::Unreachable,
                format!(
                    "{} cannot be reached: {cause}. Check the base URL and the network.",
                    self.who
                ),
            )
        } else if error.is_timeout() {
            (ProviderErrorKind::Timeout, format!("{} did not answer in time.", self.who))
        } else {
            (
                ProviderErrorKind::Timeout,
                format!("The connection to {} broke before the answer: {cause}.", self.who),
            )
        };
        self.error(kind, &text)
    }

    /// `text` without the key, without anything that looks like one, on one line.
    fn redact(&self, text: &str) -> String {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = match &self.key {
            Some(key) if key.expose().len() >= 4 => Cow::Owned(text.replace(key.expose(), "[key]")),
            _ => Cow::Borrowed(text.as_str()),
        };
        KEYS.replace_all(&text, "[key]").into_owned()
    }
}

/// What an error body says, whatever its shape.
struct Said(Result<Value, String>);

impl Said {
    fn of(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(value) => Self::of_value(value),
            Err(_) => Self(Err(String::from_utf8_lossy(body).into_owned())),
        }
    }

    fn of_value(value: Value) -> Self {
        // Some servers wrap the error in a list.
        let value = match value {
            Value::Array(mut items) if !items.is_empty() => items.swap_remove(0),
            value => value,
        };
        Self(Ok(value))
    }

    /// The text for people: `error.message`, or what stands in its place.
    fn detail(&self) -> String {
        let value = match &self.0 {
            Ok(value) => value,
            Err(text) => return text.split_whitespace().take(40).collect::<Vec<_>>().join(" "),
        };
        let places = ["/error/message", "/message", "/error", "/detail/0/msg", "/detail"];
        places
            .iter()
            .filter_map(|place| value.pointer(place))
            .find_map(Value::as_str)
            .map_or_else(|| value.to_string(), str::to_owned)
    }

    /// What the body alone decides, whatever the status.
    fn kind(&self) -> Option<ProviderErrorKind> {
        let value = self.0.as_ref().ok()?;
        let at = |place: &str| value.pointer(place).and_then(Value::as_str).unwrap_or("");
        let error_type = if value.get("error").is_some_and(Value::is_object) {
            at("/error/type")
        } else {
            at("/type")
        };
        let code = if at("/error/code").is_empty() { at("/code") } else { at("/error/code") };
        let text = self.detail().to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if code == "context_length_exceeded"
            || error_type == "exceed_context_size_error"
            || error_type == "request_too_large"
            || says(&[
                "maximum context length",
                "context window",
                "prompt is too long",
                "exceed context limit",
                "exceeds the available context size",
                "exceeds the maximum number of tokens",
            ])
        {
            return Some(ProviderErrorKind::ContextExceeded);
        }
        if code == "insufficient_quota"
            || matches!(error_type, "insufficient_quota" | "billing_error")
            || says(&["credit balance is too low", "insufficient balance", "insufficient credits"])
        {
            return Some(ProviderErrorKind::Quota);
        }
        Some(match error_type {
            "overloaded_error" => ProviderErrorKind::Overloaded,
            "rate_limit_error" => ProviderErrorKind::RateLimited,
            "timeout_error" => ProviderErrorKind::Timeout,
            "api_error" => ProviderErrorKind::Server,
            "authentication_error" | "permission_error" => ProviderErrorKind::Auth,
            "not_found_error" => ProviderErrorKind::Config,
            _ => return None,
        })
    }
}

const fn by_status(status: u16) -> ProviderErrorKind {
    match status {
        401 | 403 => ProviderErrorKind::Auth,
        402 => ProviderErrorKind::Quota,
        408 | 504 => ProviderErrorKind::Timeout,
        413 => ProviderErrorKind::ContextExceeded,
        429 => ProviderErrorKind::RateLimited,
        503 | 529 => ProviderErrorKind::Overloaded,
        409 | 500.. => ProviderErrorKind::Server,
        _ => ProviderErrorKind::Config,
    }
}

const fn advice(kind: ProviderErrorKind) -> &'static str {
    match kind {
        ProviderErrorKind::Auth => "Check the API key of the provider in the settings.",
        ProviderErrorKind::Quota => "Check the account's credit with the provider.",
        ProviderErrorKind::Config => "Check the model's name, its options and the base URL.",
        ProviderErrorKind::ContextExceeded => "The chat is longer than the model's window.",
        ProviderErrorKind::MissingKey => "Add the provider's API key in the settings.",
        _ => "",
    }
}

/// How long the provider asks to wait: positive, and at most a minute. `retry-after-ms` wins;
/// `retry-after` is seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    let positive = |seconds: f64| {
        (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64())))
    };
    if let Some(pause) = header(headers, "retry-after-ms")
        .and_then(|text| number(&text))
        .and_then(|ms| positive(ms / 1_000.0))
    {
        return Some(pause);
    }
    let text = header(headers, "retry-after")?;
    if let Some(seconds) = number(&text) {
        return positive(seconds);
    }
    let dates = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let date = dates.parse_zoned(text.trim()).ok()?;
    let ms = date.timestamp().as_millisecond().saturating_sub(now_ms);
    positive(Duration::from_millis(u64::try_from(ms).ok()?).as_secs_f64())
}

/// The provider's id of the request, under any of its names.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    ["request-id", "x-request-id", "x-generation-id", "cf-ray"]
        .iter()
        .find_map(|name| header(headers, name))
        .map(|id| id.chars().filter(|c| !c.is_control()).take(128).collect())
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The last cause, which says more than "error sending request".
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
