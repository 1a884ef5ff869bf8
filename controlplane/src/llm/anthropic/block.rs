//! One block of an answer while it arrives, and what becomes of it.

use std::collections::{BTreeMap, VecDeque};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::chat::content::{Part, StoredPart};
use crate::llm::calls::{ArgumentText, PROVIDER_BLOCK, is_plain};
use crate::llm::{Event, raw};

/// A block that has begun.
pub(super) struct Block {
    /// Our index, once there is something to show.
    pub(super) index: Option<u32>,
    /// As the provider began it.
    pub(super) start: Box<RawValue>,
    pub(super) body: Body,
}

/// What a block is made of so far.
pub(super) enum Body {
    Text {
        text: String,
        citations: Vec<Value>,
    },
    Thinking {
        text: String,
        signature: String,
    },
    ToolUse {
        id: String,
        sent_id: String,
        name: String,
        arguments: ArgumentText,
    },
    /// Whatever else: kept, not understood. Its input may come in pieces.
    Other {
        kind: String,
        input: String,
    },
}

/// A block's fields, each as it came.
type BlockFields = BTreeMap<String, Box<RawValue>>;

impl Block {
    /// Adds a piece of text, thinking or input. The block gets its index with its first piece.
    pub(super) fn append(&mut self, piece: &str, parts: &mut u32, out: &mut VecDeque<Event>) {
        if piece.is_empty() {
            return;
        }
        let delta = match &mut self.body {
            Body::Text { text, .. } | Body::Thinking { text, .. } => {
                text.push_str(piece);
                piece
            }
            Body::ToolUse { arguments, .. } => arguments.push(piece),
            Body::Other { input, .. } => {
                input.push_str(piece);
                return;
            }
        };
        let index = *self.index.get_or_insert_with(|| next_index(parts));
        let delta = delta.to_owned();
        out.push_back(match &self.body {
            Body::Text { .. } => Event::Text { index, delta },
            Body::Thinking { .. } => Event::Reasoning { index, delta },
            _ => Event::ToolCallDelta { index, delta },
        });
    }

    /// The whole part with the block as it must go back; none: an empty text.
    pub(super) fn into_part(self) -> Option<StoredPart> {
        let Self { start, body, .. } = self;
        Some(match body {
            Body::Text { text, citations } => {
                if text.is_empty() {
                    return None;
                }
                let raw = (!citations.is_empty())
                    .then(|| {
                        raw(json!({ "type": "text", "text": text, "citations": citations })
                            .to_string())
                    })
                    .flatten();
                StoredPart { part: Part::Text { text }, raw }
            }
            Body::Thinking { text, signature } => {
                // Without a signature it would be refused when it goes back.
                let raw = (!signature.is_empty())
                    .then(|| {
                        raw(json!({ "type": "thinking", "thinking": text, "signature": signature })
                            .to_string())
                    })
                    .flatten();
                StoredPart { part: Part::Reasoning { text }, raw }
            }
            Body::ToolUse { id, sent_id, name, arguments } => {
                tool_use(&start, id, &sent_id, name, &arguments)
            }
            Body::Other { kind, input } => other(start, &kind, &input),
        })
    }
}

fn tool_use(
    start: &RawValue,
    id: String,
    sent_id: &str,
    name: String,
    arguments: &ArgumentText,
) -> StoredPart {
    let mut block: BlockFields = serde_json::from_str(start.get()).unwrap_or_default();
    // Some servers send the whole input with the start.
    let whole = block.get("input").filter(|_| arguments.as_str().is_empty());
    let (args, input) = match whole {
        Some(input) => (serde_json::from_str(input.get()).unwrap_or_default(), Some(input.clone())),
        None => (arguments.value(), raw(arguments.as_str().to_owned())),
    };
    let named = block.get("name").and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let as_sent = id == sent_id
        && is_plain(&id, 64)
        && named.as_deref() == Some(name.as_str())
        && args.is_object();
    let raw = match input {
        Some(input) if as_sent => {
            block.insert("input".to_owned(), input);
            serde_json::value::to_raw_value(&block).ok()
        }
        _ => None,
    };
    StoredPart { part: Part::ToolCall { tool_call_id: id, name, args }, raw }
}

/// A block that only the provider understands, such as redacted thinking or a server's tool.
fn other(start: Box<RawValue>, kind: &str, input: &str) -> StoredPart {
    let raw = match raw(input.to_owned()) {
        Some(input) => {
            let mut block: BlockFields = serde_json::from_str(start.get()).unwrap_or_default();
            block.insert("input".to_owned(), input);
            serde_json::value::to_raw_value(&block).ok()
        }
        // Whole with its start: byte for byte.
        None => Some(start),
    };
    let part = if kind == "redacted_thinking" {
        Part::Reasoning { text: String::new() }
    } else {
        Part::Notice { code: PROVIDER_BLOCK.to_owned(), text: kind.chars().take(64).collect() }
    };
    StoredPart { part, raw }
}

/// The next part's index.
pub(super) const fn next_index(parts: &mut u32) -> u32 {
    let index = *parts;
    *parts += 1;
    index
}
