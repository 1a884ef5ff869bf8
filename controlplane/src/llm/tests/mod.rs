//! Cassettes: answers as providers stream them, played whole, in pieces, and cut.

mod bad_input;
mod files;
mod server;

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, iter};
use serde_json::{Map, json};

use super::classify::Teller;
use super::{Event, EventStream, Prompt, PromptMessage, ProviderError, ToolSpec};
use crate::chat::content::{Part, Role, StoredPart};

/// Who answers in tests.
pub(super) fn teller() -> Teller {
    let key = crate::secrets::Secret::new("sk-test-0123456789abcdef".to_owned());
    Teller { who: "Test".to_owned(), key: Some(key) }
}

/// A prompt with `messages` and one tool.
pub(super) fn prompt(messages: Vec<PromptMessage>) -> Prompt {
    Prompt {
        model: "model-1".to_owned(),
        system: "Be brief.".to_owned(),
        messages,
        ask: None,
        tools: vec![ToolSpec {
            name: "execute".to_owned(),
            description: "Run a command.".to_owned(),
            schema: std::sync::Arc::new(json!({ "type": "object" })),
        }],
        max_output_tokens: 1_000,
        options: Map::new(),
        cache_key: "chat_1".to_owned(),
        files: Default::default(),
    }
}

/// A message of parts without raw blocks.
pub(super) fn message(role: Role, parts: Vec<Part>) -> PromptMessage {
    PromptMessage { role, parts: parts.into_iter().map(StoredPart::from).collect() }
}

/// A text part.
pub(super) fn text(text: &str) -> Part {
    Part::Text { text: text.to_owned() }
}

/// `bytes` as they arrive when they are cut at `cuts`.
pub(super) fn body(bytes: &[u8], cuts: &[usize]) -> BoxStream<'static, Result<Bytes, Infallible>> {
    let mut chunks = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        chunks.push(Ok(Bytes::copy_from_slice(&bytes[from..cut])));
        from = cut;
    }
    iter(chunks).boxed()
}

/// What an answer comes to, whatever its pieces were.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Text, thinking and arguments as they were streamed, by part.
    pub(super) streamed: BTreeMap<u32, String>,
    /// Parts that were reported as complete.
    pub(super) parts: BTreeMap<u32, StoredPart>,
    /// Calls that began.
    pub(super) begun: Vec<(u32, String, String)>,
    /// The last event of a good stream.
    pub(super) finished: Option<String>,
    /// The error of a bad one.
    pub(super) error: Option<ProviderError>,
    /// The model that answers.
    pub(super) model: Option<String>,
}

impl Heard {
    /// Listens to the end.
    pub(super) async fn all(mut stream: EventStream) -> Self {
        let mut heard = Self::default();
        while let Some(event) = stream.next().await {
            assert!(
                heard.finished.is_none() && heard.error.is_none(),
                "nothing comes after the end"
            );
            match event {
                Ok(event) => heard.hear(event),
                Err(error) => heard.error = Some(error),
            }
        }
        assert!(
            heard.finished.is_some() || heard.error.is_some(),
            "every stream says how it ended"
        );
        heard
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Started { model, .. } => self.model = model,
            Event::Text { index, delta }
            | Event::Reasoning { index, delta }
            | Event::ToolCallDelta { index, delta } => {
                self.streamed.entry(index).or_default().push_str(&delta);
            }
            Event::ToolCallStarted { index, tool_call_id, name } => {
                self.begun.push((index, tool_call_id, name));
            }
            Event::PartDone { index, part } => {
                assert!(self.parts.insert(index, *part).is_none(), "a part is done once");
            }
            Event::Finished { reason, usage } => {
                self.finished = Some(format!("{reason:?} {usage:?}"));
            }
        }
    }

    /// The complete parts as one JSON text, raw blocks included.
    pub(super) fn stored(&self) -> String {
        serde_json::to_string(&self.parts.values().collect::<Vec<_>>()).unwrap()
    }

    /// Everything, to compare two runs.
    pub(super) fn summary(&self) -> String {
        format!(
            "{:?} {:?} {} {:?} {:?} {:?}",
            self.streamed,
            self.begun,
            self.stored(),
            self.finished,
            self.error,
            self.model
        )
    }

    /// The calls among the complete parts: id, name, arguments.
    pub(super) fn calls(&self) -> Vec<(String, String, serde_json::Value)> {
        let call = |part: &StoredPart| match &part.part {
            Part::ToolCall { tool_call_id, name, args } => {
                Some((tool_call_id.clone(), name.clone(), args.clone()))
            }
            _ => None,
        };
        self.parts.values().filter_map(call).collect()
    }

    /// The error's code.
    pub(super) fn code(&self) -> &'static str {
        self.error.as_ref().map_or("no error", |error| error.kind.code())
    }
}

/// Every place between two bytes, alone, and a few pairs: what a network may do to an answer.
pub(super) fn every_cut(len: usize) -> impl Iterator<Item = Vec<usize>> {
    let pairs = (0..len).step_by(7).map(move |first| vec![first, (first + len) / 2]);
    (0..=len).map(|cut| vec![cut]).chain(pairs).chain([(0..len).collect()])
}
