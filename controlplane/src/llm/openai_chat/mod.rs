//! Chat Completions, streaming: OpenAI, Gemini's endpoint, and every server that speaks it.
//!
//! | Quirk | Seen at | Here |
//! |---|---|---|
//! | `reasoning_content`, `reasoning`, `reasoning_details` | DeepSeek, vLLM, OpenRouter | one reasoning part, sent back within the turn |
//! | content as a list of parts | Mistral | text and thinking told apart |
//! | usage missing, `null`, or in every chunk | vLLM, Ollama | the last good one, else unknown |
//! | `choices: []`, `choices` missing | OpenAI's usage chunk, Azure | passed over |
//! | arguments whole, or as an object | Ollama, Gemini | taken |
//! | call without id, the same id twice, no `index` | Ollama, Gemini, llama.cpp | an id of ours; told apart by id and name |
//! | unknown fields of a call (`extra_content`) | Gemini's signatures | kept and sent back |
//! | `finish_reason` `stop` although tools are called | several | tool use |
//! | no `[DONE]` | several | the reason to stop ends the answer |
//! | error as an event | OpenRouter | an error |
//! | comments, blank events | OpenRouter, DeepSeek | passed over |

mod reasoning;
mod request;
mod stream;
mod tool_calls;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap};

use super::anthropic::model_ids;
use super::calls::CallIds;
use super::classify::Teller;
use super::client::{LlmClient, secret_header};
use super::registry::ProviderKind;
use super::{EventStream, Prompt, Provider, ProviderError, ProviderErrorKind, sse};

pub(in crate::llm) use request::body;
pub(super) use stream::Stream as ChatStream;

/// One server with Chat Completions.
pub(super) struct OpenaiChat {
    client: LlmClient,
    kind: ProviderKind,
    base: Url,
    teller: Teller,
}

impl OpenaiChat {
    /// `base` ends with a slash and includes the version.
    pub(super) const fn new(
        client: LlmClient,
        kind: ProviderKind,
        base: Url,
        teller: Teller,
    ) -> Self {
        Self { client, kind, base, teller }
    }

    fn url(&self, path: &str) -> Result<Url, ProviderError> {
        self.base
            .join(path)
            .map_err(|error| self.teller.error(ProviderErrorKind::Config, &error.to_string()))
    }

    fn headers(&self) -> Result<HeaderMap, ProviderError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.teller.key {
            let bearer = zeroize::Zeroizing::new(format!("Bearer {}", key.expose().trim()));
            headers.insert(AUTHORIZATION, secret_header(&bearer, &self.teller)?);
        }
        Ok(headers)
    }
}

#[async_trait]
impl Provider for OpenaiChat {
    fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    async fn stream(&self, prompt: Prompt) -> Result<EventStream, ProviderError> {
        let body = body(&prompt, self.kind);
        let url = self.url("chat/completions")?;
        let answer = self.client.post(url, self.headers()?, body, &self.teller).await?;
        let decoder =
            ChatStream::new(CallIds::new(&prompt), self.teller.clone(), answer.request_id.clone());
        Ok(sse::decode(answer.body, decoder, self.teller.clone(), answer.request_id))
    }

    async fn models(&self) -> Result<Vec<String>, ProviderError> {
        let list = self.client.json(self.url("models")?, self.headers()?, &self.teller).await?;
        Ok(model_ids(&list))
    }
}
