//! What a provider was sent, made again from what is stored. Pure.
//!
//! The bytes are not kept: a prompt is a function of the rows, so it is made again, and the digest
//! of the attempt's span says whether it is what was sent, byte for byte.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Shape;
use crate::chat::context::summary;
use crate::chat::history::{Reader, messages, messages_pruned};
use crate::llm::{Files, Prompt, ToolSpec, redact, wire_body};
use crate::store::chats::MessageRow;

/// What an attempt's span says of its prompt.
#[derive(Debug, Deserialize)]
pub struct Sent {
    /// The provider's kind.
    pub kind: String,
    /// Hash of what stands before the messages.
    pub head: String,
    /// The newest row of the history, by `seq`.
    pub through_seq: i64,
    /// The model's window.
    pub context_limit: Option<u64>,
    /// To how many tokens the history was cut.
    pub cut_to: Option<u64>,
    /// Over all of it.
    pub digest: String,
}

#[derive(Deserialize)]
struct Head {
    model: String,
    system: String,
    tools: Vec<(String, String, Value)>,
    max_output_tokens: u64,
    options: Map<String, Value>,
    ask: Option<String>,
}

/// A request, made again.
#[derive(Debug)]
pub struct Request {
    /// Whether it is what was sent; no: the history shows another branch now, or another version
    /// of this program made the prompt.
    pub exact: bool,
    /// The body, with everything that looks like a key taken out.
    pub body: Value,
}

/// Makes the request again; none: the head is not what this program writes.
#[must_use]
pub fn rebuild(
    sent: &Sent,
    head: &str,
    history: &[MessageRow],
    cache_key: String,
) -> Option<Request> {
    let head: Head = serde_json::from_str(head).ok()?;
    let rows: Vec<MessageRow> =
        history.iter().filter(|row| row.seq <= sent.through_seq).cloned().collect();
    let reader = Reader { kind: &sent.kind, model: &head.model, context_limit: sent.context_limit };
    let messages = match sent.cut_to {
        None => messages(&rows, reader),
        Some(tokens) => summary::cut(messages_pruned(&rows, reader), tokens),
    };
    let tools = head.tools.into_iter().map(|(name, description, schema)| ToolSpec {
        name,
        description,
        schema: Arc::new(schema),
    });
    let prompt = Prompt {
        model: head.model,
        system: head.system,
        messages,
        ask: head.ask,
        tools: tools.collect(),
        max_output_tokens: head.max_output_tokens,
        options: head.options,
        cache_key,
        // Their bytes are not looked at: the request names them.
        files: Files::default(),
    };
    let exact = Shape::of(&prompt).digest() == sent.digest;
    let mut body = serde_json::from_slice(&wire_body(&sent.kind, &prompt)).ok()?;
    take_keys_out(&mut body);
    Some(Request { exact, body })
}

fn take_keys_out(value: &mut Value) {
    match value {
        Value::String(text) => *text = redact(text),
        Value::Array(items) => items.iter_mut().for_each(take_keys_out),
        Value::Object(fields) => fields.values_mut().for_each(take_keys_out),
        _ => {}
    }
}
