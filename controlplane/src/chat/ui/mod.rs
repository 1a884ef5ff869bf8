//! A turn as the AI SDK's UI message stream: a projection of the chat's events, and nothing that they
//! do not say. `docs/design/022-ui-stream.md`.
//!
//! ```text
//! snapshot … Ready ─► start, what the turn has so far ─► live: text, reasoning, tools ─► finish | abort | error ─► [DONE]
//! ```
//!
//! | Event | Chunks |
//! |---|---|
//! | preview of text, reasoning | `…-start`, `…-delta`; the durable message adds what is missing and `…-end` |
//! | preview of a call, of its answer | `tool-input-start`, `-delta`, `-available`; `tool-output-available` or `-error` |
//! | message | a step: what of it was not streamed |
//! | a preview that is dropped without a message | `…-end`, and `data-discarded` with the ids of what does not count |
//! | actions | `tool-approval-request`; questions, plans and client tools as `data-action` |
//! | retry, fallback, compaction, live output, an agent's report | `data-retry`, `data-fallback`, … `data-agent-report`: transient |
//!
//! Pure. The turn is what follows the last thing that a person said before the snapshot; it ends when the
//! chat rests, waits for people or stops with an error. Nothing is streamed twice: text goes out once,
//! whether it is seen as a preview first or not.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::content::{Part, Role};
use super::event::{
    ActionKind, ActionView, ChatErrorView, ChatEvent, ChatStatus, MessageView, PreviewKind,
    PreviewPart,
};

/// One turn on its way to one client.
#[derive(Default)]
pub struct UiProjection {
    /// Before the snapshot is complete.
    waiting: Vec<ChatEvent>,
    /// `seq` of the message that the turn answers; later messages belong to it.
    after: Option<i64>,
    /// What is streamed of the open episode, by index.
    open: BTreeMap<u32, Open>,
    /// Names the open episode in the ids of its parts.
    episode: u64,
    in_step: bool,
    /// Messages of the turn that are out.
    told: HashSet<String>,
    /// Calls whose input, whose answer, whose question is out.
    inputs: HashSet<String>,
    outputs: HashSet<String>,
    asked: HashSet<String>,
    stopping: bool,
    error: Option<ChatErrorView>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Snapshot,
    Live,
    Over,
}

/// A part that is being streamed.
struct Open {
    kind: PreviewKind,
    id: String,
    text: String,
}

impl UiProjection {
    /// Nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the stream is complete: no chunk follows.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The chunks that an event adds, in order.
    pub fn apply(&mut self, event: &ChatEvent) -> Vec<Value> {
        let mut out = Vec::new();
        match (self.state, event) {
            (State::Over, _) => {}
            (State::Snapshot, ChatEvent::Ready) => self.begin(&mut out),
            (State::Snapshot, ChatEvent::Resync { .. }) => self.waiting.clear(),
            (State::Snapshot, event) => self.waiting.push(event.clone()),
            (State::Live, event) => self.live(event, &mut out),
        }
        out
    }

    fn begin(&mut self, out: &mut Vec<Value>) {
        self.state = State::Live;
        let snapshot = std::mem::take(&mut self.waiting);
        let said = snapshot.iter().filter_map(|event| match event {
            ChatEvent::Message { message } if message.role == Role::User => Some(message),
            _ => None,
        });
        let last = said.max_by_key(|message| message.seq);
        self.after = last.map(|message| message.seq);
        // The answer's id is that of what it answers: there is one, and it is known from the start.
        let id = last.map(|message| format!("turn_{}", message.id));
        out.push(json!({"type": "start", "messageId": id.unwrap_or_else(|| "turn".to_owned())}));
        let mut messages: Vec<&MessageView> = snapshot.iter().filter_map(message_of).collect();
        messages.sort_by_key(|message| message.seq);
        for message in messages {
            self.message(message, out);
        }
        let mut status = None;
        for event in &snapshot {
            match event {
                ChatEvent::Message { .. } => {}
                ChatEvent::Status { status: now } => status = Some(*now),
                event => self.live(event, out),
            }
        }
        // Last: it may end the stream.
        if let Some(status) = status {
            self.status(status, out);
        }
    }

    fn live(&mut self, event: &ChatEvent, out: &mut Vec<Value>) {
        match event {
            ChatEvent::Message { message } => self.message(message, out),
            ChatEvent::Part { part } => self.part(part, out),
            ChatEvent::PreviewReset => self.discard(out),
            ChatEvent::Status { status } => self.status(*status, out),
            ChatEvent::Error { error } => self.error.clone_from(error),
            ChatEvent::ActionRequired { actions } => {
                actions.iter().for_each(|action| self.action(action, out));
            }
            ChatEvent::Retry { attempt, delay_ms, error, .. } => out.push(transient(
                "retry",
                &json!({"attempt": attempt, "delay_ms": delay_ms, "error": error}),
            )),
            ChatEvent::Fallback { selected_model, answered_by, reason } => out.push(transient(
                "fallback",
                &json!({"selected_model": selected_model, "answered_by": answered_by, "reason": reason}),
            )),
            ChatEvent::Resync { .. } => self.end(&json!({"type": "abort", "reason": "resync"}), out),
            ChatEvent::MessageRemoved { .. }
            | ChatEvent::Queue { .. }
            | ChatEvent::Chat { .. }
            | ChatEvent::Results { .. }
            | ChatEvent::Usage { .. }
            | ChatEvent::Ready
            | ChatEvent::Ping => {}
        }
    }

    /// A durable message: what of it is not out yet.
    fn message(&mut self, message: &MessageView, out: &mut Vec<Value>) {
        let is_ours = self.after.is_some_and(|after| message.seq > after);
        if !is_ours || !self.told.insert(message.id.to_string()) {
            return;
        }
        match message.role {
            Role::Assistant => {
                self.step(out);
                for (at, part) in message.content.iter().enumerate() {
                    self.durable(part, &format!("{}.{at}", message.id), out);
                }
                // What it does not hold was not said.
                self.discard(out);
            }
            _ => {
                for part in &message.content {
                    self.durable(part, "", out);
                }
            }
        }
    }

    fn durable(&mut self, part: &Part, id: &str, out: &mut Vec<Value>) {
        match part {
            Part::Text { text } => self.settle(PreviewKind::Text, text, id, out),
            Part::Reasoning { text } => self.settle(PreviewKind::Reasoning, text, id, out),
            Part::ToolCall { tool_call_id, name, args } => {
                self.input(tool_call_id, name, args, out);
            }
            Part::ToolResult { tool_call_id, result, is_error, .. } => {
                self.output(tool_call_id, result, *is_error, out);
            }
            Part::Notice { code, text } => {
                out.push(transient("notice", &json!({"code": code, "text": text})));
            }
            Part::File { file } => out.push(transient("file", &json!(file))),
            Part::AgentReport { .. } => out.push(transient("agent-report", &json!(part))),
            Part::Compaction { mark } => out.push(transient("compaction", &json!({"mark": mark}))),
        }
    }

    /// The first open part of this kind becomes this text; without one it goes out whole.
    fn settle(&mut self, kind: PreviewKind, text: &str, id: &str, out: &mut Vec<Value>) {
        let name = name_of(kind);
        let streamed = self.open.iter().find(|(_, open)| open.kind == kind).map(|(at, _)| *at);
        let Some(open) = streamed.and_then(|at| self.open.remove(&at)) else {
            out.push(json!({"type": format!("{name}-start"), "id": id}));
            if !text.is_empty() {
                out.push(json!({"type": format!("{name}-delta"), "id": id, "delta": text}));
            }
            out.push(json!({"type": format!("{name}-end"), "id": id}));
            return;
        };
        let rest = text.strip_prefix(open.text.as_str()).unwrap_or_default();
        if !rest.is_empty() {
            out.push(json!({"type": format!("{name}-delta"), "id": open.id, "delta": rest}));
        }
        out.push(json!({"type": format!("{name}-end"), "id": open.id}));
    }

    fn part(&mut self, part: &PreviewPart, out: &mut Vec<Value>) {
        let episode = (part.history_version.unsigned_abs() << 24) | part.attempt.unsigned_abs();
        if episode != self.episode {
            self.discard(out);
            self.episode = episode;
        }
        match part.kind {
            PreviewKind::Text | PreviewKind::Reasoning => self.stream(part, out),
            PreviewKind::ToolCall => self.stream_call(part, out),
            PreviewKind::ToolResult => self.stream_result(part, out),
            PreviewKind::Compaction => {
                if let Some(delta) = &part.delta {
                    out.push(transient("compaction", &json!({"delta": delta})));
                }
            }
        }
    }

    fn stream(&mut self, part: &PreviewPart, out: &mut Vec<Value>) {
        let whole = part.value.as_ref().and_then(|value| match value {
            Part::Text { text } | Part::Reasoning { text } => Some(text.as_str()),
            _ => None,
        });
        self.step(out);
        let name = name_of(part.kind);
        let id = format!("{}.{}.{}", part.history_version, part.attempt, part.index);
        let open = self.open.entry(part.index).or_insert_with(|| {
            out.push(json!({"type": format!("{name}-start"), "id": id}));
            Open { kind: part.kind, id, text: String::new() }
        });
        // A value replaces what was appended: what is out of it is its beginning.
        let delta = match whole {
            Some(whole) => whole.strip_prefix(open.text.as_str()).unwrap_or_default(),
            None => part.delta.as_deref().unwrap_or_default(),
        };
        if !delta.is_empty() {
            out.push(json!({"type": format!("{name}-delta"), "id": open.id, "delta": delta}));
            open.text.push_str(delta);
        }
    }

    fn stream_call(&mut self, part: &PreviewPart, out: &mut Vec<Value>) {
        if let Some(Part::ToolCall { tool_call_id, name, args }) = &part.value {
            self.step(out);
            return self.input(tool_call_id, name, args, out);
        }
        self.step(out);
        let Some(id) = part
            .tool_call_id
            .clone()
            .or_else(|| self.open.get(&part.index).map(|open| open.id.clone()))
        else {
            return;
        };
        if self.inputs.contains(&id) {
            return;
        }
        self.open.entry(part.index).or_insert_with(|| {
            let name = part.name.as_deref().unwrap_or_default();
            out.push(json!({"type": "tool-input-start", "toolCallId": id, "toolName": name,
                "dynamic": true}));
            Open { kind: PreviewKind::ToolCall, id: id.clone(), text: String::new() }
        });
        if let Some(delta) = part.delta.as_ref().filter(|delta| !delta.is_empty()) {
            out.push(
                json!({"type": "tool-input-delta", "toolCallId": id, "inputTextDelta": delta}),
            );
        }
    }

    fn stream_result(&mut self, part: &PreviewPart, out: &mut Vec<Value>) {
        if let Some(Part::ToolResult { tool_call_id, result, is_error, .. }) = &part.value {
            return self.output(tool_call_id, result, *is_error, out);
        }
        if let (Some(id), Some(delta)) = (&part.tool_call_id, &part.delta) {
            out.push(transient("tool-output", &json!({"toolCallId": id, "delta": delta})));
        }
    }

    fn input(&mut self, id: &str, name: &str, args: &Value, out: &mut Vec<Value>) {
        self.open.retain(|_, open| open.kind != PreviewKind::ToolCall || open.id != id);
        if self.inputs.insert(id.to_owned()) {
            out.push(json!({"type": "tool-input-available", "toolCallId": id, "toolName": name,
                "input": args, "dynamic": true}));
        }
    }

    fn output(&mut self, id: &str, result: &Value, is_error: bool, out: &mut Vec<Value>) {
        // An answer to a call that this client was not told of would be refused by it.
        if !self.inputs.contains(id) || !self.outputs.insert(id.to_owned()) {
            return;
        }
        let text = result.pointer("/error/message").and_then(Value::as_str);
        out.push(if is_error {
            json!({"type": "tool-output-error", "toolCallId": id, "dynamic": true,
                "errorText": text.map_or_else(|| result.to_string(), str::to_owned)})
        } else {
            json!({"type": "tool-output-available", "toolCallId": id, "output": result,
                "dynamic": true})
        });
    }

    fn action(&mut self, action: &ActionView, out: &mut Vec<Value>) {
        if !self.asked.insert(action.id.to_string()) {
            return;
        }
        out.push(if action.kind == ActionKind::Approval {
            json!({"type": "tool-approval-request", "approvalId": action.id,
                "toolCallId": action.tool_call_id})
        } else {
            json!({"type": "data-action", "id": action.id, "data": action})
        });
    }

    fn status(&mut self, status: ChatStatus, out: &mut Vec<Value>) {
        match status {
            ChatStatus::Running => {}
            ChatStatus::Interrupting => self.stopping = true,
            ChatStatus::Error => {
                let text = self.error.as_ref().map_or("The turn failed.", |error| &error.message);
                let error = json!({"type": "error", "errorText": text});
                self.end(&error, out);
            }
            ChatStatus::Waiting if self.stopping => {
                self.end(&json!({"type": "abort", "reason": "interrupted"}), out);
            }
            ChatStatus::Waiting | ChatStatus::RequiresAction => {
                self.end(&json!({"type": "finish"}), out);
            }
        }
    }

    /// A step begins with its first chunk, and the next one once its calls are answered.
    fn step(&mut self, out: &mut Vec<Value>) {
        let is_answered = !self.inputs.is_empty() && self.inputs == self.outputs;
        if self.in_step && !is_answered {
            return;
        }
        if self.in_step {
            out.push(json!({"type": "finish-step"}));
            self.inputs.clear();
            self.outputs.clear();
        }
        out.push(json!({"type": "start-step"}));
        self.in_step = true;
    }

    /// What was streamed of an attempt that does not count.
    fn discard(&mut self, out: &mut Vec<Value>) {
        let open = std::mem::take(&mut self.open);
        let texts: Vec<Open> =
            open.into_values().filter(|open| open.kind != PreviewKind::ToolCall).collect();
        for part in &texts {
            out.push(json!({"type": format!("{}-end", name_of(part.kind)), "id": part.id}));
        }
        if !texts.is_empty() {
            let ids: Vec<&str> = texts.iter().map(|part| part.id.as_str()).collect();
            out.push(transient("discarded", &json!({"ids": ids})));
        }
    }

    fn end(&mut self, last: &Value, out: &mut Vec<Value>) {
        self.discard(out);
        if self.in_step {
            out.push(json!({"type": "finish-step"}));
        }
        out.push(last.clone());
        self.state = State::Over;
    }
}

fn message_of(event: &ChatEvent) -> Option<&MessageView> {
    match event {
        ChatEvent::Message { message } => Some(message),
        _ => None,
    }
}

const fn name_of(kind: PreviewKind) -> &'static str {
    match kind {
        PreviewKind::Reasoning => "reasoning",
        _ => "text",
    }
}

fn transient(name: &str, data: &Value) -> Value {
    json!({"type": format!("data-{name}"), "data": data, "transient": true})
}

#[cfg(test)]
mod tests;
