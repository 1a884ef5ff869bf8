//! What providers refuse, looked for in the very bytes that would be sent. Pure.
//!
//! One validator per dialect. They are the oracle of the tests of [`repair`](super::repair()), and of
//! every prompt that a test of the engine sends.

use std::collections::HashSet;

use serde_json::Value;

use super::Dialect;

/// Everything that a provider of this dialect would refuse in `body`; empty: nothing.
#[must_use]
pub fn faults(dialect: Dialect, body: &Value) -> Vec<String> {
    let Some(messages) = body["messages"].as_array() else {
        return vec!["there are no messages".to_owned()];
    };
    let mut found = Found::default();
    match dialect {
        Dialect::Anthropic => found.anthropic(messages),
        Dialect::OpenaiChat => found.openai_chat(messages),
    }
    found.faults
}

/// Images that every provider knows.
const IMAGES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

#[derive(Default)]
struct Found {
    faults: Vec<String>,
    /// Every call so far.
    ids: HashSet<String>,
}

impl Found {
    fn check(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }

    fn call(&mut self, at: usize, id: &str) {
        self.check(!id.is_empty(), || format!("message {at}: a call without an id"));
        let is_new = self.ids.insert(id.to_owned());
        self.check(is_new, || format!("message {at}: the call `{id}` comes twice"));
    }

    /// User and assistant alternate, a person begins; results stand first in the message after
    /// their calls, one each.
    fn anthropic(&mut self, messages: &[Value]) {
        let mut open: Vec<String> = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            let role = if at % 2 == 0 { "user" } else { "assistant" };
            self.check(message["role"] == role, || format!("message {at} is not the {role}'s"));
            let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
            self.check(!blocks.is_empty(), || format!("message {at} is empty"));
            let answered: Vec<String> = blocks
                .iter()
                .take_while(|block| block["type"] == "tool_result")
                .map(|block| text(block, "tool_use_id"))
                .collect();
            self.check(answered == open, || {
                format!("message {at}: results {answered:?} for calls {open:?}")
            });
            open.clear();
            for block in &blocks[answered.len()..] {
                self.block(at, role, block, &mut open);
            }
            let thinks = matches!(
                blocks.last().map(|block| text(block, "type")).as_deref(),
                Some("thinking" | "redacted_thinking")
            );
            self.check(!thinks, || format!("message {at} ends in thinking"));
        }
        self.check(open.is_empty(), || format!("calls without results: {open:?}"));
    }

    fn block(&mut self, at: usize, role: &str, block: &Value, open: &mut Vec<String>) {
        match text(block, "type").as_str() {
            "text" => {
                let empty = text(block, "text").trim().is_empty();
                self.check(!empty, || format!("message {at}: an empty text"));
            }
            "tool_result" => self.faults.push(format!("message {at}: a result that comes late")),
            "tool_use" => {
                self.check(role == "assistant", || format!("message {at}: a call of a person"));
                self.check(block["input"].is_object(), || {
                    format!("message {at}: input that is no object")
                });
                let id = text(block, "id");
                self.call(at, &id);
                open.push(id);
            }
            "image" | "document" => {
                self.check(role == "user", || format!("message {at}: a file of the model"));
                let source = &block["source"];
                let types: &[&str] = match text(block, "type").as_str() {
                    "image" => IMAGES,
                    _ => &["application/pdf"],
                };
                let media_type = text(source, "media_type");
                let whole = types.contains(&media_type.as_str())
                    && source["type"] == "base64"
                    && !text(source, "data").is_empty();
                self.check(whole, || format!("message {at}: a file of `{media_type}`"));
            }
            "thinking" => {
                let signed = !text(block, "signature").is_empty();
                self.check(signed && role == "assistant", || {
                    format!("message {at}: thinking that is not signed")
                });
            }
            _ => {}
        }
    }

    /// A person begins and people alternate with the rest; results follow their calls at once, in
    /// order; nothing is empty.
    fn openai_chat(&mut self, messages: &[Value]) {
        let mut open: std::collections::VecDeque<String> = Default::default();
        let mut last = "";
        for (at, message) in messages.iter().enumerate() {
            let role = message["role"].as_str().unwrap_or("");
            let content = text(message, "content");
            let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
            for block in blocks {
                self.check(role == "user" && is_whole(block), || {
                    format!("message {at}: a block of `{}`", text(block, "type"))
                });
            }
            if role == "tool" {
                let id = text(message, "tool_call_id");
                let expected = open.pop_front();
                self.check(expected.as_deref() == Some(&id), || {
                    format!("message {at}: a result of `{id}` where {expected:?} is due")
                });
                last = role;
                continue;
            }
            self.check(open.is_empty(), || format!("message {at}: no results of {open:?}"));
            open.clear();
            self.check(role != last, || format!("message {at}: two of the {role} in a row"));
            let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            match role {
                "system" => self.check(at == 0, || format!("message {at}: a late system message")),
                "user" => {}
                "assistant" => {
                    let begins = matches!(last, "" | "system");
                    self.check(!begins, || format!("message {at}: the model begins"));
                }
                _ => self.faults.push(format!("message {at}: the role `{role}`")),
            }
            let empty = content.trim().is_empty() && calls.is_empty() && blocks.is_empty();
            self.check(!empty, || format!("message {at} is empty"));
            for call in calls {
                let id = text(call, "id");
                self.call(at, &id);
                let arguments = call["function"]["arguments"].as_str().unwrap_or("");
                let is_object =
                    serde_json::from_str::<Value>(arguments).is_ok_and(|v| v.is_object());
                self.check(is_object, || format!("message {at}: arguments that are no object"));
                open.push_back(id);
            }
            last = role;
        }
        self.check(open.is_empty(), || format!("calls without results: {open:?}"));
    }
}

/// Whether Chat Completions take this block of a person's message.
fn is_whole(block: &Value) -> bool {
    match text(block, "type").as_str() {
        "text" => !text(block, "text").trim().is_empty(),
        "image_url" => {
            let url = text(&block["image_url"], "url");
            let of = |kind: &&str| url.starts_with(&format!("data:{kind};base64,"));
            IMAGES.iter().any(of) && !url.ends_with(',')
        }
        "file" => {
            let data = text(&block["file"], "file_data");
            let data = data.strip_prefix("data:application/pdf;base64,");
            !text(&block["file"], "filename").is_empty()
                && data.is_some_and(|data| !data.is_empty())
        }
        _ => false,
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
