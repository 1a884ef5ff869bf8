//! Which provider is which: from settings to a [`Provider`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;

use super::anthropic::Anthropic;
use super::classify::Teller;
use super::client::LlmClient;
use super::openai_chat::OpenaiChat;
use super::scripted::{Failures, Scripted};
use super::{Provider, ProviderError, ProviderErrorKind};
use crate::secrets::Secret;

/// The kinds of provider that can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// Anthropic Messages.
    Anthropic,
    /// OpenAI's own Chat Completions.
    Openai,
    /// Any server with Chat Completions: llama.cpp, vLLM, Ollama, DeepSeek, OpenRouter, …
    OpenaiCompatible,
    /// Gemini's Chat Completions endpoint.
    Gemini,
    /// A scenario file instead of a model.
    Scripted,
}

/// The text names no kind of provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of provider: anthropic, openai, openai_compatible, gemini or scripted")]
pub struct UnknownProviderKind;

impl ProviderKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Anthropic, Self::Openai, Self::OpenaiCompatible, Self::Gemini, Self::Scripted];

    /// The text in SQL, JSON and `raw_kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::OpenaiCompatible => "openai_compatible",
            Self::Gemini => "gemini",
            Self::Scripted => "scripted",
        }
    }

    /// Where the provider is; none: it must be said.
    #[must_use]
    pub const fn default_base_url(self) -> Option<&'static str> {
        match self {
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com/v1beta/openai"),
            Self::OpenaiCompatible | Self::Scripted => None,
        }
    }

    /// Whether it answers nobody without a key.
    #[must_use]
    pub const fn needs_key(self) -> bool {
        matches!(self, Self::Anthropic | Self::Openai | Self::Gemini)
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProviderKind {
    type Err = UnknownProviderKind;

    fn from_str(text: &str) -> Result<Self, UnknownProviderKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownProviderKind)
    }
}

/// One configured provider, as it is stored.
#[derive(Clone)]
pub struct ProviderSettings {
    /// Which wire format and which quirks.
    pub kind: ProviderKind,
    /// Its name for people.
    pub name: String,
    /// Where it is; none: the kind's own address. For `scripted`: the path of a scenario file,
    /// none: the built-in one.
    pub base_url: Option<String>,
    /// Its key.
    pub key: Option<Secret>,
}

/// Makes providers. Cheap to clone; all share one HTTP client.
#[derive(Clone)]
pub struct Registry {
    client: LlmClient,
    failures: Arc<Failures>,
}

impl Registry {
    /// With the one client of the program.
    #[must_use]
    pub fn new(client: LlmClient) -> Self {
        Self { client, failures: Arc::default() }
    }

    /// The provider for `settings`. Asks nobody; a scenario file is read.
    ///
    /// # Errors
    /// `provider_key_missing`, and `provider_config` where the base URL or the scenario cannot be used.
    pub fn provider(
        &self,
        settings: &ProviderSettings,
    ) -> Result<Arc<dyn Provider>, ProviderError> {
        let teller = Teller { who: settings.name.clone(), key: settings.key.clone() };
        if settings.kind.needs_key() && settings.key.is_none() {
            return Err(teller.error(
                ProviderErrorKind::MissingKey,
                &format!("{} has no API key. Add it in the settings.", settings.name),
            ));
        }
        Ok(match settings.kind {
            ProviderKind::Scripted => Arc::new(Scripted::open(
                settings.base_url.as_deref(),
                Arc::clone(&self.failures),
                &teller,
            )?),
            ProviderKind::Anthropic => {
                Arc::new(Anthropic::new(self.client.clone(), base_url(settings, &teller)?, teller))
            }
            ProviderKind::Openai | ProviderKind::OpenaiCompatible | ProviderKind::Gemini => {
                let base = base_url(settings, &teller)?;
                Arc::new(OpenaiChat::new(self.client.clone(), settings.kind, base, teller))
            }
        })
    }
}

/// The base URL, cleaned of what people paste with it. Its path ends with a slash.
fn base_url(settings: &ProviderSettings, teller: &Teller) -> Result<Url, ProviderError> {
    let config = |text: String| teller.error(ProviderErrorKind::Config, &text);
    let text = settings
        .base_url
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .or(settings.kind.default_base_url())
        .ok_or_else(|| config(format!("{} has no base URL.", settings.name)))?;
    normalise(text, settings.kind)
        .map_err(|why| config(format!("The base URL of {} cannot be used: {why}.", settings.name)))
}

/// Strips endpoints and doubled versions, and adds `/v1` where a server's root was given.
pub(super) fn normalise(text: &str, kind: ProviderKind) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("it must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not contain a user name or a password".to_owned());
    }
    url.set_query(None);
    url.set_fragment(None);
    let mut path = url.path().trim_end_matches('/').to_owned();
    loop {
        let endpoints = ["/chat/completions", "/completions", "/messages", "/models", "/responses"];
        let stripped = endpoints.iter().find_map(|endpoint| path.strip_suffix(endpoint));
        let stripped =
            stripped.or_else(|| path.ends_with("/v1/v1").then(|| &path[..path.len() - 3]));
        let Some(stripped) = stripped else { break };
        path = stripped.trim_end_matches('/').to_owned();
    }
    if kind == ProviderKind::Anthropic {
        path = path.strip_suffix("/v1").unwrap_or(&path).to_owned();
    } else if path.is_empty() {
        path = "/v1".to_owned();
    }
    url.set_path(&format!("{path}/"));
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_base_url_is_cleaned() {
        use ProviderKind::{Anthropic, OpenaiCompatible};
        let rows = [
            ("http://localhost:11434", OpenaiCompatible, "http://localhost:11434/v1/"),
            ("http://localhost:8080/v1/", OpenaiCompatible, "http://localhost:8080/v1/"),
            ("http://h/v1/chat/completions", OpenaiCompatible, "http://h/v1/"),
            ("http://h/v1/models/", OpenaiCompatible, "http://h/v1/"),
            ("http://h/v1/v1", OpenaiCompatible, "http://h/v1/"),
            ("https://openrouter.ai/api/v1", OpenaiCompatible, "https://openrouter.ai/api/v1/"),
            ("https://h/proxy/openai?x=1#y", OpenaiCompatible, "https://h/proxy/openai/"),
            ("https://api.anthropic.com/v1/messages", Anthropic, "https://api.anthropic.com/"),
            ("https://api.anthropic.com/v1", Anthropic, "https://api.anthropic.com/"),
            ("https://gw/anthropic/", Anthropic, "https://gw/anthropic/"),
        ];
        for (text, kind, expected) in rows {
            assert_eq!(normalise(text, kind).map(String::from).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", "localhost:80", "ftp://h", "http://user:pw@h", "file:///etc/passwd"] {
            assert!(normalise(bad, OpenaiCompatible).is_err(), "{bad}");
        }
    }
}
