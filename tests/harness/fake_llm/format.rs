//! The two wire formats from the server's side.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answer::{Answer, Says};

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Anthropic Messages.
    Anthropic,
    /// Chat Completions.
    Chat,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Anthropic, Self::Chat];

    /// The kind of provider that speaks it.
    #[must_use]
    pub const fn provider_kind(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Chat => "openai_compatible",
        }
    }

    /// An error answer.
    pub(super) fn error(self, status: u16, kind: &str, text: &str) -> Response {
        let error = json!({ "type": kind, "message": text });
        let body = match self {
            Self::Anthropic => json!({ "type": "error", "error": error, "request_id": "req_fake" }),
            Self::Chat => json!({ "error": error }),
        };
        let status = StatusCode::from_u16(status).expect("a test's status is valid");
        (status, [("request-id", "req_fake")], axum::Json(body)).into_response()
    }

    /// The events of an answer, one `Bytes` each.
    pub(super) fn events(self, answer: &Answer, model: &str) -> Vec<Bytes> {
        let model = answer.answered_by.as_deref().unwrap_or(model);
        match self {
            Self::Anthropic => anthropic(answer, model),
            Self::Chat => chat(answer, model),
        }
    }
}

/// An id that is the same for the same call in the same answer, and differs between answers.
fn call_id(answer: &Answer, place: usize) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    format!("{:?}", answer.says).hash(&mut hasher);
    format!("call_{:016x}_{place}", hasher.finish())
}

fn pieces(answer: &Answer, text: &str) -> Vec<String> {
    match answer.piece_chars {
        None => text.split_inclusive(' ').map(str::to_owned).collect(),
        Some(chars) => {
            let all: Vec<char> = text.chars().collect();
            all.chunks(chars.max(1)).map(|piece| piece.iter().collect()).collect()
        }
    }
}

fn has_calls(answer: &Answer) -> bool {
    answer.says.iter().any(|says| matches!(says, Says::Call { .. }))
}

fn anthropic(answer: &Answer, model: &str) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut event = |value: Value| {
        let name = value["type"].as_str().unwrap_or("");
        events.push(Bytes::from(format!("event: {name}\ndata: {value}\n\n")));
    };
    let usage =
        answer.usage.clone().unwrap_or_else(|| json!({ "input_tokens": 10, "output_tokens": 1 }));
    event(json!({ "type": "message_start", "message": {
        "id": "msg_fake", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "usage": usage,
    } }));
    for (index, says) in answer.says.iter().enumerate() {
        let (start, deltas): (Value, Vec<Value>) = match says {
            Says::Text(text) => (
                json!({ "type": "text", "text": "" }),
                pieces(answer, text)
                    .iter()
                    .map(|piece| json!({ "type": "text_delta", "text": piece }))
                    .collect(),
            ),
            Says::Reasoning(text) => (
                json!({ "type": "thinking", "thinking": "", "signature": "" }),
                pieces(answer, text)
                    .iter()
                    .map(|piece| json!({ "type": "thinking_delta", "thinking": piece }))
                    .chain([json!({ "type": "signature_delta", "signature": "c2lnbmVk" })])
                    .collect(),
            ),
            Says::Call { id, name, arguments } => (
                json!({ "type": "tool_use", "name": name, "input": {},
                    "id": id.clone().unwrap_or_else(|| call_id(answer, index)) }),
                pieces(answer, arguments)
                    .iter()
                    .map(|piece| json!({ "type": "input_json_delta", "partial_json": piece }))
                    .collect(),
            ),
        };
        event(json!({ "type": "content_block_start", "index": index, "content_block": start }));
        for delta in deltas {
            event(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        event(json!({ "type": "content_block_stop", "index": index }));
    }
    let reason = if has_calls(answer) { "tool_use" } else { "end_turn" };
    let usage = answer.usage.clone().unwrap_or_else(|| json!({ "output_tokens": 20 }));
    event(json!({ "type": "message_delta", "usage": usage,
        "delta": { "stop_reason": answer.stop.as_deref().unwrap_or(reason), "stop_sequence": null } }));
    event(json!({ "type": "message_stop" }));
    events
}

fn chat(answer: &Answer, model: &str) -> Vec<Bytes> {
    let mut events = Vec::new();
    let mut chunk = |choices: Value, usage: Option<&Value>| {
        let mut value = json!({ "id": "chatcmpl-fake", "object": "chat.completion.chunk", "model": model, "choices": choices });
        if let Some(usage) = usage {
            value["usage"] = usage.clone();
        }
        events.push(Bytes::from(format!("data: {value}\n\n")));
    };
    let delta = |delta: Value| json!([{ "index": 0, "delta": delta, "finish_reason": null }]);
    chunk(delta(json!({ "role": "assistant", "content": "" })), None);
    let mut calls = 0;
    for (place, says) in answer.says.iter().enumerate() {
        match says {
            Says::Text(text) => {
                for piece in pieces(answer, text) {
                    chunk(delta(json!({ "content": piece })), None);
                }
            }
            Says::Reasoning(text) => {
                for piece in pieces(answer, text) {
                    chunk(delta(json!({ "reasoning_content": piece })), None);
                }
            }
            Says::Call { id, name, arguments } => {
                let id = id.clone().unwrap_or_else(|| call_id(answer, place));
                chunk(
                    delta(json!({ "tool_calls": [{ "index": calls, "id": id, "type": "function",
                    "function": { "name": name, "arguments": "" } }] })),
                    None,
                );
                for piece in pieces(answer, arguments) {
                    chunk(
                        delta(
                            json!({ "tool_calls": [{ "index": calls, "function": { "arguments": piece } }] }),
                        ),
                        None,
                    );
                }
                calls += 1;
            }
        }
    }
    let reason = if has_calls(answer) { "tool_calls" } else { "stop" };
    let reason = answer.stop.as_deref().unwrap_or(reason);
    chunk(json!([{ "index": 0, "delta": {}, "finish_reason": reason }]), None);
    let usage = answer.usage.clone().unwrap_or_else(
        || json!({ "prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30 }),
    );
    if !usage.is_null() {
        chunk(json!([]), Some(&usage));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// Text of the first user message: it tells chats apart.
pub(super) fn conversation(body: &Value) -> String {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let first = messages.iter().find(|message| message["role"] == "user");
    let content = first.map_or(&Value::Null, |message| &message["content"]);
    content.as_str().or_else(|| content[0]["text"].as_str()).unwrap_or("").to_owned()
}

/// The assistant's messages in the history.
pub(super) fn position(body: &Value) -> usize {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    messages.iter().filter(|message| message["role"] == "assistant").count()
}
