//! Paths and preconditions as HTTP has them.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use shared::protocol::files::{Expect, FilePath};
use utoipa::ToSchema;

use crate::http::code::Code;
use crate::http::problem::Problem;

/// A path from the workspace's root.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PathView {
    /// For people; exact unless `bytes` is there.
    pub path: String,
    /// The exact bytes in base64, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

impl From<FilePath> for PathView {
    fn from(wire: FilePath) -> Self {
        Self { path: wire.path, bytes: wire.bytes.map(|bytes| STANDARD.encode(bytes)) }
    }
}

/// The precondition of a write: `If-Match: "hash"`, `If-None-Match: *`, or none.
pub(super) fn expectation(headers: &HeaderMap) -> Result<Expect, Problem> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or(""));
    let is_hash = |tag: &str| {
        let hex = tag.strip_prefix("b3:").unwrap_or("");
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Expect::Any),
        (None, Some("*")) => Ok(Expect::Absent),
        (Some(tag), None) => match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
            Some(hash) if is_hash(hash) => Ok(Expect::Hash { hash: hash.to_owned() }),
            _ => Err(invalid("If-Match takes the ETag of one file, such as \"b3:…\"")),
        },
        _ => Err(invalid("either If-Match with an ETag, or If-None-Match: *")),
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::InvalidHeader, detail)
}

/// The header that carries a content hash.
pub(super) fn etag(hash: &str) -> Option<(header::HeaderName, HeaderValue)> {
    Some((header::ETAG, HeaderValue::from_str(&format!("\"{hash}\"")).ok()?))
}
