//! Errors of a chat, for people and programs: what happened and what to do.

use super::decide::ATTEMPTS_MAX;
use crate::chat::event::ChatErrorView;
use crate::llm::{ProviderError, ProviderErrorKind};

/// A model call failed.
pub(super) fn of_provider(error: &ProviderError, provider: &str) -> ChatErrorView {
    ChatErrorView {
        code: error.kind.code().to_owned(),
        message: error.message.clone(),
        retryable: error.kind.is_retryable(),
        provider: Some(provider.to_owned()),
        status_code: error.status,
        request_id: error.request_id.clone(),
    }
}

/// A provider's stream that ended or fell silent without an end.
pub(super) fn cut(kind: ProviderErrorKind, message: &str) -> ProviderError {
    ProviderError {
        kind,
        message: message.to_owned(),
        status: None,
        retry_after: None,
        request_id: None,
    }
}

/// A limit that stops a turn until somebody lets it go on.
pub(super) fn paused(code: &str, message: String) -> ChatErrorView {
    plain(code, message, true)
}

pub(super) fn too_many_attempts() -> ChatErrorView {
    plain(
        "attempts_exhausted",
        format!(
            "The step was tried {ATTEMPTS_MAX} times without an answer. Send a message to try again."
        ),
        true,
    )
}

/// The prompt is over the window, and nothing more can be left out of it.
pub(super) fn does_not_fit(window: Option<u64>) -> ChatErrorView {
    let window = window.map_or_else(String::new, |tokens| format!(" of {tokens} tokens"));
    plain(
        ProviderErrorKind::ContextExceeded.code(),
        format!(
            "The conversation does not fit the model's window{window}, and making it shorter does \
             not help any more. Choose a model with a larger window, or begin a new chat."
        ),
        false,
    )
}

pub(in crate::chat) fn internal() -> ChatErrorView {
    plain(
        "internal",
        "The server failed while it worked on this chat; its log has the details. \
         Send a message to try again."
            .to_owned(),
        true,
    )
}

fn plain(code: &str, message: String, retryable: bool) -> ChatErrorView {
    ChatErrorView {
        code: code.to_owned(),
        message,
        retryable,
        provider: None,
        status_code: None,
        request_id: None,
    }
}
