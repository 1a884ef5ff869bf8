//! What a provider looks like from outside (never its key), and what the model clients are given.

use serde::Serialize;
use shared::ids::ProviderId;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::code::Code;
use crate::http::json::choice;
use crate::http::problem::Problem;
use crate::llm::{self, ProviderSettings};
use crate::secrets::{Place, Secret};
use crate::store::{ProviderKind, ProviderRow, StoreError};
use crate::time::Timestamp;

choice! {
    /// Which protocol a provider speaks.
    pub enum KindBody {
        /// Anthropic Messages.
        Anthropic = "anthropic",
        /// OpenAI.
        Openai = "openai",
        /// Any server with Chat Completions: llama.cpp, vLLM, Ollama, DeepSeek, OpenRouter, …
        OpenaiCompatible = "openai_compatible",
        /// Gemini.
        Gemini = "gemini",
        /// Plays a scenario file; for demonstrations and tests.
        Scripted = "scripted",
    }
}

impl From<KindBody> for ProviderKind {
    fn from(kind: KindBody) -> Self {
        match kind {
            KindBody::Anthropic => Self::Anthropic,
            KindBody::Openai => Self::Openai,
            KindBody::OpenaiCompatible => Self::OpenaiCompatible,
            KindBody::Gemini => Self::Gemini,
            KindBody::Scripted => Self::Scripted,
        }
    }
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ProviderId,
    /// Which protocol it speaks.
    pub kind: String,
    /// Unique.
    pub name: String,
    /// None: the kind's own.
    pub base_url: Option<String>,
    /// The key's last characters; none: no key is set.
    pub key_hint: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<ProviderRow> for ProviderView {
    fn from(row: ProviderRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind.as_str().to_owned(),
            name: row.name,
            base_url: row.base_url,
            key_hint: row.key_hint,
            created_at: Timestamp(row.created_at_ms),
        }
    }
}

/// Seals a key for the provider's row; also its hint.
pub(crate) fn seal(app: &App, id: ProviderId, key: &str) -> (Vec<u8>, String) {
    let row = id.to_string();
    let key = Secret::new(key.trim().to_owned());
    (app.secrets.seal(&place(&row), key.expose().as_bytes()), key.hint())
}

fn place(row: &str) -> Place<'_> {
    Place { table: "providers", row, column: "api_key" }
}

/// What the model clients are given, the key opened.
///
/// # Errors
///
/// When the key cannot be opened.
pub fn settings(app: &App, row: &ProviderRow) -> Result<ProviderSettings, Problem> {
    let key = match &row.api_key {
        None => None,
        Some(sealed) => {
            let id = row.id.to_string();
            let opened = app.secrets.unseal(&place(&id), sealed).map_err(Problem::internal)?;
            Some(Secret::new(String::from_utf8_lossy(&opened).into_owned()))
        }
    };
    let kind = row.kind.as_str().parse::<llm::ProviderKind>().map_err(Problem::internal)?;
    Ok(ProviderSettings { kind, name: row.name.clone(), base_url: row.base_url.clone(), key })
}

/// Refuses an address that no client could use.
pub(super) fn check_base_url(kind: ProviderKind, base_url: Option<&str>) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::of_field(Code::UrlNotAllowed, "/base_url", detail));
    match (kind, base_url) {
        (ProviderKind::Scripted, _) => Ok(()),
        (ProviderKind::OpenaiCompatible, None) => refuse("this kind needs a base URL"),
        (_, None) => Ok(()),
        (_, Some(text)) => match text.trim().parse::<http::Uri>() {
            Ok(uri) => match (uri.scheme_str(), uri.authority()) {
                (Some("http" | "https"), Some(at)) if !at.as_str().contains('@') => Ok(()),
                (Some("http" | "https"), Some(_)) => {
                    refuse("a name or a password does not belong in the address")
                }
                _ => refuse("the address begins with http:// or https://"),
            },
            Err(_) => refuse("this is not an address"),
        },
    }
}

pub(super) fn name_taken(error: StoreError) -> Problem {
    match error {
        StoreError::Conflict => {
            Problem::new(Code::NameTaken, "another provider has this name; choose another one")
        }
        other => other.into(),
    }
}
