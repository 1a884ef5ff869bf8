//! Anthropic Messages, streaming. [`request`] and [`stream`] are pure; this file joins them by HTTP.

mod block;
mod request;
mod stream;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::calls::CallIds;
use super::classify::Teller;
use super::client::{LlmClient, secret_header};
use super::{EventStream, Prompt, Provider, ProviderError, sse};

pub(in crate::llm) use request::body;
pub(super) use stream::Stream as AnthropicStream;

/// Version of the API that the two pure halves are written for.
const API_VERSION: &str = "2023-06-01";

/// One Anthropic account, or a gateway that speaks its wire format.
pub(super) struct Anthropic {
    client: LlmClient,
    base: Url,
    teller: Teller,
}

impl Anthropic {
    /// `base` ends with a slash and has no version.
    pub(super) const fn new(client: LlmClient, base: Url, teller: Teller) -> Self {
        Self { client, base, teller }
    }

    fn url(&self, path: &str) -> Result<Url, ProviderError> {
        self.base.join(path).map_err(|error| {
            self.teller.error(super::ProviderErrorKind::Config, &error.to_string())
        })
    }

    fn headers(&self) -> Result<HeaderMap, ProviderError> {
        let mut headers = HeaderMap::new();
        headers.insert("anthropic-version", HeaderValue::from_static(API_VERSION));
        if let Some(key) = &self.teller.key {
            headers.insert("x-api-key", secret_header(key.expose(), &self.teller)?);
        }
        Ok(headers)
    }
}

#[async_trait]
impl Provider for Anthropic {
    fn kind(&self) -> &'static str {
        "anthropic"
    }

    async fn stream(&self, prompt: Prompt) -> Result<EventStream, ProviderError> {
        let body = body(&prompt);
        let answer =
            self.client.post(self.url("v1/messages")?, self.headers()?, body, &self.teller).await?;
        let decoder = AnthropicStream::new(
            CallIds::new(&prompt),
            self.teller.clone(),
            answer.request_id.clone(),
        );
        Ok(sse::decode(answer.body, decoder, self.teller.clone(), answer.request_id))
    }

    async fn models(&self) -> Result<Vec<String>, ProviderError> {
        let url = self.url("v1/models?limit=1000")?;
        let list = self.client.json(url, self.headers()?, &self.teller).await?;
        Ok(model_ids(&list))
    }
}

/// The ids of a list of models, in the order in which the provider has them.
pub(super) fn model_ids(list: &Value) -> Vec<String> {
    let items = list.get("data").or_else(|| list.get("models")).unwrap_or(list);
    let name = |item: &Value| {
        let name = item.get("id").or_else(|| item.get("name")).unwrap_or(item);
        name.as_str().map(|name| name.strip_prefix("models/").unwrap_or(name).to_owned())
    };
    items.as_array().map_or_else(Vec::new, |items| items.iter().filter_map(name).collect())
}
