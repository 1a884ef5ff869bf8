//! Model providers: our own thin clients, one module each, behind one [`Event`] enum.
//!
//! A provider turns a [`Prompt`] into a stream of events and knows nothing of chats, tools or the
//! database. It never retries: it classifies ([`ProviderError`]), and the turn's driver decides.
//!
//! ```text
//! Registry ──► Provider ──► request (pure) ──► client (HTTP) ──► sse (bytes to events, limits, silence)
//!                                                                  └──► Decoder (pure) ──► Event …
//! ```
//!
//! The two wire formats are pure on both sides: a prompt becomes a body, and server-sent events go
//! through a decoder that needs no socket. What only the provider understands is kept as it came
//! (`raw`) and goes back unchanged, to the same kind of provider alone.

mod anthropic;
mod calls;
mod classify;
mod client;
mod files;
mod json;
mod names;
mod openai_chat;
mod registry;
mod scripted;
mod sse;
mod usage;

#[cfg(test)]
mod tests;

pub use classify::redact;
pub use client::LlmClient;
pub use files::{FileBudget, Files, TEXT_SHOWN_BYTES, file_budget, names_a_file};
pub use names::is_another_model;
pub use registry::{ProviderKind, ProviderSettings, Registry};

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::value::RawValue;

use crate::chat::content::{Role, StoredPart, Usage};

/// One model call.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The provider's name of the model.
    pub model: String,
    /// System text, byte-stable over the chat.
    pub system: String,
    /// The history, already valid for every provider: each tool call has its result.
    pub messages: Vec<PromptMessage>,
    /// Asked after the history in this call alone, as a person would; it begins no turn, so that
    /// everything before it goes out with the bytes of the call before.
    pub ask: Option<String>,
    /// Tools in a fixed order.
    pub tools: Vec<ToolSpec>,
    /// Most output tokens.
    pub max_output_tokens: u64,
    /// Provider options from the model's settings (temperature, reasoning effort, …).
    pub options: serde_json::Map<String, serde_json::Value>,
    /// A stable key per chat, for providers that route by it.
    pub cache_key: String,
    /// The bytes of the files that the messages show.
    pub files: Files,
}

/// One message of the prompt.
#[derive(Clone, Debug)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said. `raw` is present only if `raw_kind` is the asked provider's kind.
    pub parts: Vec<StoredPart>,
}

/// A tool as the model sees it.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments, an object.
    pub schema: Arc<serde_json::Value>,
}

/// What a provider says while it answers. Indices name parts in the order of their beginning.
#[derive(Clone, Debug)]
pub enum Event {
    /// The answer begins.
    Started {
        /// The model that answers, if the provider says.
        model: Option<String>,
        /// The provider's id of the request, for support.
        request_id: Option<String>,
    },
    /// Text to append to part `index`.
    Text {
        /// Which part.
        index: u32,
        /// The piece.
        delta: String,
    },
    /// Thinking to append to part `index`.
    Reasoning {
        /// Which part.
        index: u32,
        /// The piece.
        delta: String,
    },
    /// A tool call begins.
    ToolCallStarted {
        /// Which part.
        index: u32,
        /// As the provider names it; made by us where it is missing or repeated.
        tool_call_id: String,
        /// The tool's name.
        name: String,
    },
    /// JSON text to append to the arguments of part `index`.
    ToolCallDelta {
        /// Which part.
        index: u32,
        /// The piece.
        delta: String,
    },
    /// A part is complete. `raw` is the provider's block as it must go back.
    PartDone {
        /// Which part.
        index: u32,
        /// The whole part.
        part: Box<StoredPart>,
    },
    /// The answer is complete. Always the last event of a good stream.
    Finished {
        /// Why the model stopped.
        reason: FinishReason,
        /// Tokens.
        usage: Usage,
    },
}

/// Why a model stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It had said everything.
    EndTurn,
    /// It asks for tools.
    ToolUse,
    /// It reached `max_output_tokens`.
    Length,
    /// It paused and wants the history back as it is (`pause_turn`).
    Pause,
    /// It refused; for people.
    Refusal(String),
    /// The provider's filter cut it.
    ContentFilter,
    /// Something we do not know; as the provider says it.
    Other(String),
}

/// Why a model call failed. `kind` decides what happens next.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What kind of failure.
    pub kind: ProviderErrorKind,
    /// For people, redacted, at most 500 characters: what happened and what to do.
    pub message: String,
    /// The provider's HTTP status.
    pub status: Option<u16>,
    /// How long the provider asks to wait.
    pub retry_after: Option<std::time::Duration>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
}

/// Kinds of failure; the text of [`code`](Self::code) is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderErrorKind {
    /// 529 and its like: try again later.
    Overloaded,
    /// 429.
    RateLimited,
    /// No answer in time, or the connection broke before the end.
    Timeout,
    /// No byte for too long.
    StreamSilent,
    /// The key is not accepted.
    Auth,
    /// No money or no quota.
    Quota,
    /// The model or the request is not accepted.
    Config,
    /// The prompt is over the model's window.
    ContextExceeded,
    /// The answer is not what the protocol says.
    BadResponse,
    /// The provider cannot be reached: DNS, TLS, connection refused.
    Unreachable,
    /// 5xx.
    Server,
    /// No key is set.
    MissingKey,
}

impl ProviderErrorKind {
    /// Stable code for clients.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Overloaded => "provider_overloaded",
            Self::RateLimited => "provider_rate_limited",
            Self::Timeout => "provider_timeout",
            Self::StreamSilent => "provider_stream_silent",
            Self::Auth => "provider_auth",
            Self::Quota => "provider_quota",
            Self::Config => "provider_config",
            Self::ContextExceeded => "context_exceeded",
            Self::BadResponse => "provider_bad_response",
            Self::Unreachable => "provider_unreachable",
            Self::Server => "provider_error",
            Self::MissingKey => "provider_key_missing",
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Overloaded
            | Self::RateLimited
            | Self::Timeout
            | Self::StreamSilent
            | Self::BadResponse
            | Self::Unreachable
            | Self::Server => true,
            Self::Auth | Self::Quota | Self::Config | Self::ContextExceeded | Self::MissingKey => {
                false
            }
        }
    }
}

/// A stream of events; it ends after `Finished` or after one error.
pub type EventStream = BoxStream<'static, Result<Event, ProviderError>>;

/// One configured provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which raw blocks it understands: `anthropic`, `openai_compatible`, `scripted`, …
    fn kind(&self) -> &'static str;

    /// Begins to answer. An error here means that nothing was streamed.
    async fn stream(&self, prompt: Prompt) -> Result<EventStream, ProviderError>;

    /// Models that the provider offers, for the settings page; empty where it does not say.
    async fn models(&self) -> Result<Vec<String>, ProviderError>;
}

/// The body that a provider of this kind is sent for `prompt`: the very bytes.
#[must_use]
pub fn wire_body(kind: &str, prompt: &Prompt) -> Vec<u8> {
    match kind.parse() {
        Ok(ProviderKind::Openai) => openai_chat::body(prompt, ProviderKind::Openai),
        Ok(ProviderKind::OpenaiCompatible) => {
            openai_chat::body(prompt, ProviderKind::OpenaiCompatible)
        }
        Ok(ProviderKind::Gemini) => openai_chat::body(prompt, ProviderKind::Gemini),
        // The scripted one has no wire.
        Ok(ProviderKind::Anthropic | ProviderKind::Scripted) | Err(_) => anthropic::body(prompt),
    }
}

/// Keeps a provider's own JSON beside a part.
#[must_use]
pub fn raw(json: String) -> Option<Box<RawValue>> {
    RawValue::from_string(json).ok()
}
