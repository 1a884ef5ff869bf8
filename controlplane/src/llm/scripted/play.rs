//! Picks the step that the history asks for and turns it into cues. Pure.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use regex::{Captures, Regex};
use serde_json::Value;

use super::scenario::{Action, Call, Failure, Scenario, Turn};
use crate::chat::content::{Part, Role, StoredPart, Usage};
use crate::llm::calls::CallIds;
use crate::llm::{Event, FinishReason, Prompt};

/// A value in a text, with what stands there if it is missing: `{{results.0.output|nothing}}`.
static PLACES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\{\{\s*([^{}|]+?)\s*(?:\|([^{}]*))?\}\}").expect("the pattern is valid")
});
/// Characters of one piece of a call's arguments.
const ARGUMENT_PIECE_CHARS: usize = 24;
/// Said where the scenario has nothing more.
const NOTHING_MORE: &str = "That is all the scenario has to say.";

/// What the player does next.
#[derive(Debug)]
pub(super) enum Cue {
    Event(Event),
    Pause(Duration),
    Stall,
    Fail(Failure),
}

/// The cues of one step, in order.
#[derive(Debug, Default)]
pub(super) struct Script {
    cues: VecDeque<Cue>,
}

impl Script {
    pub(super) fn pop(&mut self) -> Option<Cue> {
        self.cues.pop_front()
    }
}

/// The cues for the step that the prompt asks for.
pub(super) fn script(scenario: &Scenario, prompt: &Prompt) -> Script {
    let history = History::of(prompt);
    let turn = pick(scenario, &history);
    let fallback = [Action::Say(NOTHING_MORE.to_owned())];
    let step =
        turn.and_then(|turn| turn.steps.get(history.steps)).map_or(&fallback[..], Vec::as_slice);
    let mut writer = Writer {
        script: Script::default(),
        ids: CallIds::new(prompt),
        pace: Duration::from_millis(scenario.pace_ms),
        piece_chars: scenario.piece_chars,
        parts: 0,
        pieces: 0,
        has_calls: false,
    };
    writer.event(Event::Started {
        model: Some(prompt.model.clone()),
        request_id: Some("scripted".to_owned()),
    });
    for action in step {
        writer.act(action, &history);
    }
    writer.finish(prompt)
}

/// What a step may know.
struct History {
    /// User's messages, the running turn's one included.
    users: usize,
    /// The assistant's messages since the last of them.
    steps: usize,
    user_text: String,
    /// Results of the turn's tools, in order.
    results: Vec<Value>,
}

impl History {
    fn of(prompt: &Prompt) -> Self {
        let mut history =
            Self { users: 0, steps: 0, user_text: String::new(), results: Vec::new() };
        for message in &prompt.messages {
            match message.role {
                Role::User => {
                    history.users += 1;
                    history.steps = 0;
                    history.results.clear();
                    history.user_text = texts(&message.parts);
                }
                Role::Assistant => history.steps += 1,
                Role::Tool => history.results.extend(message.parts.iter().filter_map(result)),
            }
        }
        history
    }

    /// The value at a path such as `user`, `results.0.exit_code`, `results.1.entries.len`.
    fn value(&self, path: &str) -> Option<Value> {
        let mut names = path.split('.');
        let mut value = match names.next()? {
            "user" => Value::from(self.user_text.as_str()),
            "results" => Value::Array(self.results.clone()),
            _ => return None,
        };
        for name in names {
            value = step_into(&value, name)?;
        }
        (!value.is_null()).then_some(value)
    }

    /// `text` with its places filled in.
    fn fill(&self, text: &str) -> String {
        let filled = PLACES.replace_all(text, |places: &Captures<'_>| {
            let instead = places.get(2).map_or("", |instead| instead.as_str());
            match self.value(&places[1]) {
                Some(Value::String(text)) => text.trim_end().to_owned(),
                Some(value) => value.to_string(),
                None => instead.to_owned(),
            }
        });
        filled.into_owned()
    }

    fn fill_all(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_all(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.fill_all(value))).collect()
            }
            other => other.clone(),
        }
    }
}

/// A field, an item (from the end if negative), or `len` and `lines` of what has one.
fn step_into(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::Object(fields) => fields.get(name).cloned(),
        Value::Array(items) if name == "len" => Some(Value::from(items.len())),
        Value::Array(items) => {
            let at: isize = name.parse().ok()?;
            let at = if at < 0 { items.len().checked_add_signed(at)? } else { at.unsigned_abs() };
            items.get(at).cloned()
        }
        Value::String(text) if name == "lines" => Some(Value::from(text.lines().count())),
        _ => None,
    }
}

fn texts(parts: &[StoredPart]) -> String {
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| match &part.part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}

fn result(part: &StoredPart) -> Option<Value> {
    match &part.part {
        Part::ToolResult { result, .. } => Some(result.clone()),
        _ => None,
    }
}

/// The first turn whose pattern matches; otherwise the one of the user's message's number among
/// those without a pattern, the last of which repeats.
fn pick<'a>(scenario: &'a Scenario, history: &History) -> Option<&'a Turn> {
    let matches = |turn: &&Turn| {
        turn.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&history.user_text))
    };
    if let Some(turn) = scenario.turns.iter().find(matches) {
        return Some(turn);
    }
    let numbered: Vec<&Turn> =
        scenario.turns.iter().filter(|turn| turn.pattern.is_none()).collect();
    let number = history.users.saturating_sub(1).min(numbered.len().checked_sub(1)?);
    numbered.get(number).copied()
}

struct Writer {
    script: Script,
    ids: CallIds,
    pace: Duration,
    piece_chars: Option<usize>,
    parts: u32,
    pieces: u64,
    has_calls: bool,
}

impl Writer {
    fn event(&mut self, event: Event) {
        self.script.cues.push_back(Cue::Event(event));
    }

    fn pause(&mut self, pause: Duration) {
        if !pause.is_zero() {
            self.script.cues.push_back(Cue::Pause(pause));
        }
    }

    fn act(&mut self, action: &Action, history: &History) {
        match action {
            Action::Say(text) => {
                let text = history.fill(text);
                self.stream(&text, |index, delta| Event::Text { index, delta });
                self.part(Part::Text { text });
            }
            Action::Reason(text) => {
                let text = history.fill(text);
                self.stream(&text, |index, delta| Event::Reasoning { index, delta });
                self.part(Part::Reasoning { text });
            }
            Action::Call(call) => self.call(call, history),
            Action::WaitMs(ms) => self.pause(Duration::from_millis(*ms)),
            Action::Fail(failure) => self.script.cues.push_back(Cue::Fail(failure.clone())),
            Action::Stall => self.script.cues.push_back(Cue::Stall),
        }
    }

    fn stream(&mut self, text: &str, event: impl Fn(u32, String) -> Event) {
        for piece in pieces(text, self.piece_chars) {
            let piece = event(self.parts, piece);
            self.event(piece);
            self.pieces += 1;
            self.pause(self.pace);
        }
    }

    fn call(&mut self, call: &Call, history: &History) {
        if call.when.as_deref().is_some_and(|path| history.value(path).is_none()) {
            return;
        }
        self.has_calls = true;
        let index = self.parts;
        let id = self.ids.unique("", index);
        let args = match &call.args {
            Value::Null => Value::Object(serde_json::Map::new()),
            args => history.fill_all(args),
        };
        self.event(Event::ToolCallStarted {
            index,
            tool_call_id: id.clone(),
            name: call.tool.clone(),
        });
        let text = match &args {
            Value::String(text) => text.clone(),
            args => args.to_string(),
        };
        for piece in pieces(&text, Some(ARGUMENT_PIECE_CHARS)) {
            self.event(Event::ToolCallDelta { index, delta: piece });
            self.pieces += 1;
        }
        self.part(Part::ToolCall { tool_call_id: id, name: call.tool.clone(), args });
    }

    fn part(&mut self, part: Part) {
        let index = self.parts;
        self.parts += 1;
        self.event(Event::PartDone { index, part: Box::new(StoredPart::from(part)) });
    }

    fn finish(mut self, prompt: &Prompt) -> Script {
        let reason = if self.has_calls { FinishReason::ToolUse } else { FinishReason::EndTurn };
        let input: usize = prompt.messages.iter().map(|message| message.parts.len()).sum();
        let usage = Usage {
            input: input as u64,
            output: self.pieces,
            source: "provider".to_owned(),
            ..Usage::default()
        };
        self.event(Event::Finished { reason, usage });
        self.script
    }
}

/// Words with the space after them, or runs of so many characters. Joined they are the text.
fn pieces(text: &str, chars: Option<usize>) -> Vec<String> {
    match chars {
        None => text.split_inclusive(' ').map(str::to_owned).collect(),
        Some(chars) => {
            let all: Vec<char> = text.chars().collect();
            all.chunks(chars.max(1)).map(|piece| piece.iter().collect()).collect()
        }
    }
}
