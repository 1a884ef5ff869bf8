//! A prompt as the body of `POST …/chat/completions`.
//!
//! One assistant message joins all parts of a step. Its calls go back with the arguments as they
//! came, its reasoning only within the turn it belongs to: servers that want it want it there, and
//! the others would refuse a field they do not know.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::chat::content::{Part, Role, StoredPart};
use crate::llm::calls::{notice_text, result_text, wire_arguments, wire_id, wire_name};
use crate::llm::files::{Files, Shown, shown};
use crate::llm::registry::ProviderKind;
use crate::llm::{Prompt, PromptMessage};

/// Fields that options may not replace.
const OURS: &[&str] = &["model", "messages", "tools", "stream", "stream_options"];

/// The body's bytes.
pub(in crate::llm) fn body(prompt: &Prompt, kind: ProviderKind) -> Vec<u8> {
    serde_json::to_vec(&Body { prompt, kind }).expect("maps with text keys are always JSON")
}

struct Body<'a> {
    prompt: &'a Prompt,
    kind: ProviderKind,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let prompt = self.prompt;
        let official = self.kind == ProviderKind::Openai;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", &prompt.model)?;
        map.serialize_entry("stream", &true)?;
        map.serialize_entry("stream_options", &json!({ "include_usage": true }))?;
        let limited = ["max_tokens", "max_completion_tokens"]
            .iter()
            .any(|name| prompt.options.contains_key(*name));
        if !limited {
            let name = if official { "max_completion_tokens" } else { "max_tokens" };
            map.serialize_entry(name, &prompt.max_output_tokens)?;
        }
        // Other servers may refuse a field they do not know.
        if official && !prompt.options.contains_key("prompt_cache_key") {
            map.serialize_entry("prompt_cache_key", &prompt.cache_key)?;
        }
        for (name, value) in &prompt.options {
            if !OURS.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        if !prompt.tools.is_empty() {
            map.serialize_entry("tools", &tools(prompt))?;
        }
        map.serialize_entry("messages", &messages(prompt))?;
        map.end()
    }
}

fn tools(prompt: &Prompt) -> Vec<Value> {
    prompt
        .tools
        .iter()
        .map(|tool| {
            json!({
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": *tool.schema,
                },
            })
        })
        .collect()
}

/// One message as it is sent.
enum Message<'a> {
    Made(Value),
    Assistant(Assistant<'a>),
}

#[derive(Default)]
struct Assistant<'a> {
    text: String,
    calls: Vec<Call<'a>>,
    reasoning: Option<&'a RawValue>,
}

enum Call<'a> {
    /// As it came from the provider.
    Raw(&'a RawValue),
    Made(Value),
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Made(value) => value.serialize(serializer),
            Self::Assistant(message) => message.serialize(serializer),
        }
    }
}

impl Serialize for Assistant<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", "assistant")?;
        if self.text.is_empty() && !self.calls.is_empty() {
            map.serialize_entry("content", &Value::Null)?;
        } else {
            map.serialize_entry("content", &self.text)?;
        }
        if let Some(reasoning) = self.reasoning {
            let fields: std::collections::BTreeMap<&str, &RawValue> =
                serde_json::from_str(reasoning.get()).unwrap_or_default();
            for (name, value) in fields {
                map.serialize_entry(name, value)?;
            }
        }
        if !self.calls.is_empty() {
            map.serialize_entry("tool_calls", &self.calls)?;
        }
        map.end()
    }
}

impl Serialize for Call<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Made(value) => value.serialize(serializer),
        }
    }
}

fn messages(prompt: &Prompt) -> Vec<Message<'_>> {
    let mut messages = Vec::new();
    if !prompt.system.trim().is_empty() {
        messages.push(Message::Made(json!({ "role": "system", "content": prompt.system })));
    }
    let turn = prompt.messages.iter().rposition(|message| message.role == Role::User);
    for (place, message) in prompt.messages.iter().enumerate() {
        match message.role {
            Role::User => user(said(message, &prompt.files), &mut messages),
            Role::Tool => messages.extend(message.parts.iter().filter_map(result)),
            Role::Assistant => {
                let in_turn = turn.is_none_or(|turn| place > turn);
                messages.extend(assistant(message, in_turn).map(Message::Assistant));
            }
        }
    }
    let ask = prompt.ask.as_deref().unwrap_or_default();
    user(Content::of(ask), &mut messages);
    messages
}

/// What a person says: words alone are one text, with files they are a list of blocks.
#[derive(Default)]
struct Content {
    text: String,
    /// Everything before `text`, if there is more than words.
    blocks: Vec<Value>,
}

impl Content {
    fn of(text: &str) -> Self {
        Self { text: text.to_owned(), blocks: Vec::new() }
    }

    fn say(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.text.push_str(text);
    }

    fn show(&mut self, block: Value) {
        self.end_text();
        self.blocks.push(block);
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.blocks.push(json!({ "type": "text", "text": text }));
        }
    }

    fn value(mut self) -> Value {
        if self.blocks.is_empty() {
            return Value::String(self.text);
        }
        self.end_text();
        Value::Array(self.blocks)
    }
}

fn said(message: &PromptMessage, files: &Files) -> Content {
    let mut content = Content::default();
    for part in &message.parts {
        match &part.part {
            Part::Text { text } if !text.is_empty() => content.say(text),
            Part::File { file } => match shown(file, files) {
                Shown::Text(text) => content.say(&text),
                Shown::Image { data } => {
                    let url = format!("data:{};base64,{data}", file.media_type);
                    content.show(json!({ "type": "image_url", "image_url": { "url": url } }));
                }
                Shown::Pdf { data } => {
                    let data = format!("data:{};base64,{data}", file.media_type);
                    let file = json!({ "filename": file.name, "file_data": data });
                    content.show(json!({ "type": "file", "file": file }));
                }
            },
            notice @ Part::Notice { .. } => {
                notice_text(notice).iter().for_each(|text| content.say(text));
            }
            _ => {}
        }
    }
    content
}

/// Several user messages in a row are joined: some chat templates demand that turns alternate.
fn user(said: Content, messages: &mut Vec<Message<'_>>) {
    if said.text.is_empty() && said.blocks.is_empty() {
        return;
    }
    if let Some(Message::Made(last)) = messages.last_mut()
        && last["role"] == "user"
    {
        let joined = match (last["content"].take(), said.value()) {
            (Value::String(former), Value::String(text)) => {
                Value::String(format!("{former}\n\n{text}"))
            }
            (former, said) => Value::Array([blocks(former), blocks(said)].concat()),
        };
        last["content"] = joined;
        return;
    }
    messages.push(Message::Made(json!({ "role": "user", "content": said.value() })));
}

fn blocks(content: Value) -> Vec<Value> {
    match content {
        Value::Array(blocks) => blocks,
        text => vec![json!({ "type": "text", "text": text })],
    }
}

fn prose(parts: &[StoredPart]) -> String {
    let pieces: Vec<String> = parts
        .iter()
        .filter_map(|part| match &part.part {
            Part::Text { text } if !text.is_empty() => Some(text.clone()),
            notice @ Part::Notice { .. } => notice_text(notice),
            _ => None,
        })
        .collect();
    pieces.join("\n\n")
}

fn result(part: &StoredPart) -> Option<Message<'_>> {
    let Part::ToolResult { tool_call_id, result, is_error, .. } = &part.part else { return None };
    let text = result_text(result);
    // The format has no field for it.
    let content = if *is_error { format!("Error: {text}") } else { text };
    Some(Message::Made(json!({
        "role": "tool",
        "tool_call_id": wire_id(tool_call_id),
        "content": content,
    })))
}

fn assistant(message: &PromptMessage, in_turn: bool) -> Option<Assistant<'_>> {
    let mut made = Assistant { text: prose(&message.parts), ..Assistant::default() };
    for part in &message.parts {
        match &part.part {
            Part::ToolCall { tool_call_id, name, args } => made.calls.push(match &part.raw {
                Some(raw) => Call::Raw(raw),
                None => Call::Made(json!({
                    "id": wire_id(tool_call_id),
                    "type": "function",
                    "function": {
                        "name": wire_name(name),
                        "arguments": wire_arguments(args).to_string(),
                    },
                })),
            }),
            Part::Reasoning { .. } if in_turn => made.reasoning = part.raw.as_deref(),
            _ => {}
        }
    }
    (!made.text.is_empty() || !made.calls.is_empty()).then_some(made)
}
