//! What the real providers refuse, checked for every request: above all a call without its result,
//! or a result without its call.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::format::Format;

/// What is wrong with a request; empty: nothing.
#[must_use]
pub fn problems(format: Format, body: &Value) -> Vec<String> {
    let mut problems = Problems { found: Vec::new(), seen: HashSet::new() };
    let Some(messages) = body["messages"].as_array() else {
        return vec!["there are no messages".to_owned()];
    };
    problems.check(body["stream"] == true, "the answer is not asked as a stream");
    problems.check(!messages.is_empty(), "the messages are empty");
    match format {
        Format::Anthropic => problems.anthropic(body, messages),
        Format::Chat => problems.chat(messages),
    }
    problems.found
}

struct Problems {
    found: Vec<String>,
    /// Ids of every call so far.
    seen: HashSet<String>,
}

impl Problems {
    fn check(&mut self, good: bool, problem: impl Into<String>) {
        if !good {
            self.found.push(problem.into());
        }
    }

    fn call(&mut self, id: &str, name: &str) {
        let plain = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        self.check(plain(id), format!("the call id `{id}` is not plain"));
        self.check(plain(name), format!("the tool name `{name}` is not plain"));
        let is_new = self.seen.insert(id.to_owned());
        self.check(is_new, format!("the call id `{id}` comes twice"));
    }

    /// `open` are the calls that the last assistant's message left, `answered` what follows it.
    fn settle(&mut self, open: &BTreeSet<String>, answered: &[String], at: usize) {
        let results: BTreeSet<String> = answered.iter().cloned().collect();
        self.check(
            results.len() == answered.len(),
            format!("message {at}: a call has two results"),
        );
        for id in open.difference(&results) {
            self.found.push(format!("message {at}: the call `{id}` has no result"));
        }
        for id in results.difference(open) {
            self.found.push(format!("message {at}: the result `{id}` has no call"));
        }
    }

    fn chat(&mut self, messages: &[Value]) {
        let mut open = BTreeSet::new();
        let mut answered = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            let role = message["role"].as_str().unwrap_or("");
            if role == "tool" {
                answered.push(message["tool_call_id"].as_str().unwrap_or("").to_owned());
                self.check(
                    message["content"].is_string(),
                    format!("message {at}: a result is no text"),
                );
                continue;
            }
            self.settle(&open, &answered, at);
            (open, answered) = (BTreeSet::new(), Vec::new());
            self.check(
                matches!(role, "system" | "user" | "assistant"),
                format!("message {at}: the role `{role}`"),
            );
            self.check(role != "system" || at == 0, format!("message {at}: a late system message"));
            let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            let has_text = message["content"].as_str().is_some_and(|text| !text.is_empty());
            self.check(has_text || !calls.is_empty(), format!("message {at} is empty"));
            for call in calls {
                let id = call["id"].as_str().unwrap_or("");
                self.call(id, call["function"]["name"].as_str().unwrap_or(""));
                open.insert(id.to_owned());
                let arguments = call["function"]["arguments"].as_str().unwrap_or("");
                let is_object =
                    serde_json::from_str::<Value>(arguments).is_ok_and(|args| args.is_object());
                self.check(is_object, format!("message {at}: arguments that are no object"));
            }
        }
        self.settle(&open, &answered, messages.len());
    }

    fn anthropic(&mut self, body: &Value, messages: &[Value]) {
        self.check(body["max_tokens"].is_u64(), "max_tokens is missing");
        let marks = body.to_string().matches("\"cache_control\"").count();
        self.check(marks <= 4, format!("{marks} cache marks"));
        let mut open = BTreeSet::new();
        let mut last = "assistant";
        for (at, message) in messages.iter().enumerate() {
            let role = message["role"].as_str().unwrap_or("");
            self.check(role != last, format!("message {at}: two {role} messages in a row"));
            last = role;
            let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
            self.check(!blocks.is_empty(), format!("message {at} is empty"));
            let of_type = |name: &'static str| move |block: &&Value| block["type"] == name;
            let answered: Vec<String> = blocks
                .iter()
                .filter(of_type("tool_result"))
                .map(|block| block["tool_use_id"].as_str().unwrap_or("").to_owned())
                .collect();
            self.settle(&open, &answered, at);
            let first = blocks.iter().take(answered.len()).filter(of_type("tool_result")).count();
            self.check(
                first == answered.len(),
                format!("message {at}: a result is not at the start"),
            );
            open = BTreeSet::new();
            for block in blocks {
                self.block(block, role, at);
                if block["type"] == "tool_use" {
                    open.insert(block["id"].as_str().unwrap_or("").to_owned());
                }
            }
        }
        self.settle(&open, &[], messages.len());
    }

    fn block(&mut self, block: &Value, role: &str, at: usize) {
        let text = |name: &str| block[name].as_str().unwrap_or("");
        match text("type") {
            "text" => {
                self.check(!text("text").trim().is_empty(), format!("message {at}: empty text"));
            }
            "tool_use" => {
                self.call(text("id"), text("name"));
                self.check(
                    block["input"].is_object(),
                    format!("message {at}: input that is no object"),
                );
                self.check(role == "assistant", format!("message {at}: a call of the user"));
            }
            "thinking" => {
                self.check(
                    !text("signature").is_empty(),
                    format!("message {at}: unsigned thinking"),
                );
                self.check(
                    block["cache_control"].is_null(),
                    format!("message {at}: marked thinking"),
                );
            }
            "tool_result" => {
                self.check(role == "user", format!("message {at}: a result of the model"));
            }
            "redacted_thinking" => {}
            other => self.found.push(format!("message {at}: a block of type `{other}`")),
        }
    }
}
