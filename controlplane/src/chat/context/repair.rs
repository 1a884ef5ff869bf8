//! Repairs a prompt's messages, so that a provider takes them whatever was stored. Pure.
//!
//! What holds afterwards: the first message is a person's; each call is followed at once by one
//! result, in the order of the calls, and no result stands alone; no id comes twice; no message and
//! no text is empty; no two messages of the same side stand side by side. What a person wrote is
//! never dropped and never changed, and a provider's own block goes back as it came or not at all.
//!
//! Repairing twice changes nothing more, and a longer history's repair begins with the shorter
//! one's: that is what a provider's prompt cache lives on.

use std::collections::HashSet;

use serde_json::json;

use crate::chat::content::{Part, Role, StoredPart};
use crate::llm::PromptMessage;

/// What begins a prompt whose own beginning is not a person's.
const OPENING: &str = "[The conversation before this is not shown.]";

/// Whose rules a prompt has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// Chat Completions, wherever it is served.
    OpenaiChat,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 2] = [Self::Anthropic, Self::OpenaiChat];

    /// The dialect of a kind of provider.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        match kind {
            // The scripted one has no wire; the stricter rules keep its prompts honest.
            "anthropic" | "scripted" => Self::Anthropic,
            _ => Self::OpenaiChat,
        }
    }
}

/// The messages as a provider of this dialect takes them.
#[must_use]
pub fn repair(messages: Vec<PromptMessage>, dialect: Dialect) -> Vec<PromptMessage> {
    let mut fixed = Repaired { messages: Vec::with_capacity(messages.len()), ids: HashSet::new() };
    let mut rest = messages.into_iter().peekable();
    while let Some(PromptMessage { role, parts }) = rest.next() {
        match role {
            Role::User => fixed.push(Role::User, parts.into_iter().filter(is_said).collect()),
            Role::Assistant => {
                // A step that the model goes on with after a pause is one message with it.
                let mut parts = parts;
                while !parts.iter().any(is_call)
                    && let Some(more) = rest.next_if(|next| next.role == Role::Assistant)
                {
                    parts.extend(more.parts);
                }
                let mut answers = Vec::new();
                while let Some(next) = rest.next_if(|next| next.role == Role::Tool) {
                    answers.extend(next.parts);
                }
                fixed.step(parts, answers, dialect);
            }
            // Its calls are not there: no provider takes it, and no person wrote it.
            Role::Tool => {}
        }
    }
    fixed.messages
}

struct Repaired {
    messages: Vec<PromptMessage>,
    /// Every call so far.
    ids: HashSet<String>,
}

impl Repaired {
    fn push(&mut self, role: Role, parts: Vec<StoredPart>) {
        if parts.is_empty() {
            return;
        }
        if self.messages.is_empty() && role != Role::User {
            let opening = Part::Text { text: OPENING.to_owned() };
            self.messages.push(PromptMessage { role: Role::User, parts: vec![opening.into()] });
        }
        match self.messages.last_mut() {
            Some(last) if last.role == role => last.parts.extend(parts),
            _ => self.messages.push(PromptMessage { role, parts }),
        }
    }

    /// What the model said in one step, and what its tools answered.
    fn step(&mut self, parts: Vec<StoredPart>, answers: Vec<StoredPart>, dialect: Dialect) {
        let mut parts: Vec<StoredPart> = parts.into_iter().filter(is_the_models).collect();
        if dialect == Dialect::Anthropic {
            // A step that ends in thinking is refused: it was cut off before it said anything.
            while parts.last().is_some_and(is_thinking) {
                parts.pop();
            }
        }
        if parts.iter().all(is_thinking) {
            return;
        }
        let mut answers: Vec<Option<StoredPart>> = answers.into_iter().map(Some).collect();
        let mut results = Vec::new();
        for stored in &mut parts {
            let Part::ToolCall { tool_call_id, name, .. } = &stored.part else { continue };
            let found = answers.iter_mut().find(|answer| {
                answer.as_ref().is_some_and(|answer| {
                    matches!(&answer.part, Part::ToolResult { tool_call_id: of, .. } if of == tool_call_id)
                })
            });
            let mut result = match found.and_then(Option::take) {
                Some(result) => result,
                None => missing(tool_call_id, name).into(),
            };
            let id = self.unused(tool_call_id);
            if id != *tool_call_id {
                rename(stored, &id);
                rename(&mut result, &id);
            }
            self.ids.insert(id);
            results.push(result);
        }
        self.push(Role::Assistant, parts);
        self.push(Role::Tool, results);
    }

    /// `id`, or one like it that no call has.
    fn unused(&self, id: &str) -> String {
        let taken = |id: &str| id.is_empty() || self.ids.contains(id);
        if !taken(id) {
            return id.to_owned();
        }
        let stem = if id.is_empty() { "call" } else { id };
        let ids = (2u64..).map(|number| format!("{stem}_{number}"));
        ids.into_iter().find(|id| !taken(id)).unwrap_or_default()
    }
}

/// Gives a call or a result another id. The provider's own block has the old one, so it is dropped.
fn rename(stored: &mut StoredPart, id: &str) {
    if let Part::ToolCall { tool_call_id, .. } | Part::ToolResult { tool_call_id, .. } =
        &mut stored.part
    {
        id.clone_into(tool_call_id);
        stored.raw = None;
    }
}

fn is_call(stored: &StoredPart) -> bool {
    matches!(stored.part, Part::ToolCall { .. })
}

fn is_thinking(stored: &StoredPart) -> bool {
    matches!(stored.part, Part::Reasoning { .. })
}

/// What may stand in a person's message.
fn is_said(stored: &StoredPart) -> bool {
    match &stored.part {
        Part::Text { text } => !text.trim().is_empty(),
        Part::File { .. } => true,
        _ => false,
    }
}

/// What may stand in a model's message.
fn is_the_models(stored: &StoredPart) -> bool {
    match &stored.part {
        Part::Text { text } => !text.trim().is_empty(),
        Part::ToolCall { .. } => true,
        // Thinking without its signature, and a remark that stands for no block, are of no use.
        Part::Reasoning { .. } | Part::Notice { .. } => stored.raw.is_some(),
        Part::File { .. }
        | Part::ToolResult { .. }
        | Part::Compaction { .. }
        | Part::AgentReport { .. } => false,
    }
}

/// What a call without an answer is given.
pub(in crate::chat) fn missing(id: &str, name: &str) -> Part {
    Part::ToolResult {
        tool_call_id: id.to_owned(),
        name: name.to_owned(),
        result: json!({ "error": { "code": "no_result", "message": "This call has no result." } }),
        is_error: true,
        duration_ms: 0,
    }
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
