//! A prompt as the body of `POST /v1/messages`.
//!
//! The same history gives the same bytes, and a longer one begins with them, so that the provider's
//! prompt cache holds; only the cache marks move. Blocks that came from this kind of provider go
//! back as they came.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::chat::content::{FileRef, Part, Role, StoredPart};
use crate::llm::Prompt;
use crate::llm::calls::{notice_text, result_text, wire_arguments, wire_id, wire_name};
use crate::llm::files::{Files, Shown, shown};

/// Fields that options may not replace.
const OURS: &[&str] = &["model", "messages", "system", "tools", "stream"];

/// The body's bytes.
pub(in crate::llm) fn body(prompt: &Prompt) -> Vec<u8> {
    serde_json::to_vec(&Body(prompt)).expect("maps with text keys are always JSON")
}

struct Body<'a>(&'a Prompt);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let prompt = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", &prompt.model)?;
        if !prompt.options.contains_key("max_tokens") {
            map.serialize_entry("max_tokens", &prompt.max_output_tokens)?;
        }
        map.serialize_entry("stream", &true)?;
        for (name, value) in &prompt.options {
            if !OURS.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        let has_system = !prompt.system.trim().is_empty();
        if !prompt.tools.is_empty() {
            map.serialize_entry("tools", &tools(prompt, !has_system))?;
        }
        if has_system {
            map.serialize_entry(
                "system",
                &[marked(json!({ "type": "text", "text": prompt.system }))],
            )?;
        }
        map.serialize_entry("messages", &messages(prompt))?;
        map.end()
    }
}

fn tools(prompt: &Prompt, mark_last: bool) -> Vec<Value> {
    let mut tools: Vec<Value> = prompt
        .tools
        .iter()
        .map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": *tool.schema,
            })
        })
        .collect();
    if mark_last && let Some(last) = tools.last_mut() {
        *last = marked(last.take());
    }
    tools
}

/// With a mark up to which the provider caches.
fn marked(mut block: Value) -> Value {
    block["cache_control"] = json!({ "type": "ephemeral" });
    block
}

#[derive(serde::Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Block<'a> {
    /// As it came from the provider.
    Raw(&'a RawValue),
    /// Made of the part.
    Made(Value),
}

/// Messages with turns that alternate, none of them empty.
fn messages(prompt: &Prompt) -> Vec<Message<'_>> {
    let mut messages: Vec<Message<'_>> = Vec::new();
    for message in &prompt.messages {
        let role = match message.role {
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let mut content: Vec<Block<'_>> =
            message.parts.iter().filter_map(|part| block(part, &prompt.files)).collect();
        if content.is_empty() {
            continue;
        }
        match messages.last_mut() {
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => messages.push(Message { role, content }),
        }
    }
    mark(&mut messages);
    // Behind the marks, which are where the next call of the chat looks for them too.
    if let Some(ask) = &prompt.ask {
        let block = Block::Made(json!({ "type": "text", "text": ask }));
        match messages.last_mut() {
            Some(last) if last.role == "user" => last.content.push(block),
            _ => messages.push(Message { role: "user", content: vec![block] }),
        }
    }
    messages
}

/// Marks the end of the prompt, and the end of the prompt before it, which is surely cached: with
/// many parallel tools the provider would not look back far enough by itself.
fn mark(messages: &mut [Message<'_>]) {
    let ends = messages.iter_mut().rev().filter(|message| message.role == "user").take(2);
    for message in ends {
        if let Some(Block::Made(block)) = message.content.last_mut() {
            *block = marked(block.take());
        }
    }
}

fn block<'a>(part: &'a StoredPart, files: &Files) -> Option<Block<'a>> {
    if let Some(raw) = &part.raw {
        return Some(Block::Raw(raw));
    }
    Some(Block::Made(match &part.part {
        // The provider refuses text without a visible character.
        Part::Text { text } if text.trim().is_empty() => return None,
        Part::Text { text } => json!({ "type": "text", "text": text }),
        Part::File { file } => file_block(file, files),
        // Thinking without its signature is refused; another provider's thinking has none.
        // Reports come as text from the history.
        Part::Reasoning { .. } | Part::Compaction { .. } | Part::AgentReport { .. } => {
            return None;
        }
        Part::ToolCall { tool_call_id, name, args } => json!({
            "type": "tool_use",
            "id": wire_id(tool_call_id),
            "name": wire_name(name),
            "input": wire_arguments(args),
        }),
        Part::ToolResult { tool_call_id, result, is_error, .. } => json!({
            "type": "tool_result",
            "tool_use_id": wire_id(tool_call_id),
            "content": result_text(result),
            "is_error": is_error,
        }),
        notice @ Part::Notice { .. } => {
            json!({ "type": "text", "text": notice_text(notice)? })
        }
    }))
}

fn file_block(file: &FileRef, files: &Files) -> Value {
    let source =
        |data: String| json!({ "type": "base64", "media_type": file.media_type, "data": data });
    match shown(file, files) {
        Shown::Text(text) => json!({ "type": "text", "text": text }),
        Shown::Image { data } => json!({ "type": "image", "source": source(data) }),
        Shown::Pdf { data } => {
            json!({ "type": "document", "source": source(data), "title": file.name })
        }
    }
}
