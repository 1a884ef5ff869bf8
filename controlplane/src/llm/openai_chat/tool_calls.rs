//! Tool calls in pieces: by `index` where the server has one, by id and name where it has not.

use std::collections::{BTreeMap, VecDeque};

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use crate::chat::content::{Part, StoredPart};
use crate::llm::Event;
use crate::llm::calls::{ArgumentText, CallIds, is_plain, wire_name};

/// Calls of one answer.
const CALLS_MAX: usize = 4_096;

/// The calls of one answer.
pub(super) struct Calls {
    ids: CallIds,
    calls: Vec<Call>,
    /// The server's index of each call that has one.
    by_index: BTreeMap<u64, usize>,
}

struct Call {
    index: u32,
    id: String,
    /// As the server named it; may be missing or repeated.
    sent_id: String,
    name: String,
    sent_name: String,
    arguments: ArgumentText,
    /// Fields we do not know, such as a signature. They go back.
    extra: Map<String, Value>,
}

impl Calls {
    pub(super) const fn new(ids: CallIds) -> Self {
        Self { ids, calls: Vec::new(), by_index: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Takes one piece. Says `false` when there are too many calls.
    pub(super) fn piece(
        &mut self,
        piece: &Value,
        parts: &mut u32,
        out: &mut VecDeque<Event>,
    ) -> bool {
        let function = &piece["function"];
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let (id, name) = (text(&piece["id"]), text(&function["name"]));
        let index = piece.get("index").and_then(Value::as_u64);
        let delta = match &function["arguments"] {
            Value::String(text) => text.clone(),
            object @ (Value::Object(_) | Value::Array(_)) => object.to_string(),
            _ => String::new(),
        };
        let place = match self.place(index, &id, &name, !delta.is_empty()) {
            Some(place) => place,
            None if self.calls.len() >= CALLS_MAX => return false,
            None => self.begin(index, id, name, parts, out),
        };
        let call = &mut self.calls[place];
        let kept = call.arguments.push(&delta);
        if !kept.is_empty() {
            out.push_back(Event::ToolCallDelta { index: call.index, delta: kept.to_owned() });
        }
        call.keep_extra(piece);
        true
    }

    /// Which call the piece goes on; none: a new one.
    fn place(
        &self,
        index: Option<u64>,
        id: &str,
        name: &str,
        has_arguments: bool,
    ) -> Option<usize> {
        let found = match index {
            Some(index) => self.by_index.get(&index).copied()?,
            None => self.calls.len().checked_sub(1)?,
        };
        let call = &self.calls[found];
        // Some servers number every call 0, or repeat an id: what comes after whole arguments, with
        // a name of its own, is another call.
        let is_next = !name.is_empty() && has_arguments && call.arguments.is_object();
        let goes_on = match index {
            Some(_) => id.is_empty() || call.sent_id.is_empty() || id == call.sent_id,
            None if id.is_empty() => name.is_empty(),
            None => id == call.sent_id,
        };
        (goes_on && !is_next).then_some(found)
    }

    fn begin(
        &mut self,
        server_index: Option<u64>,
        sent_id: String,
        sent_name: String,
        parts: &mut u32,
        out: &mut VecDeque<Event>,
    ) -> usize {
        let index = *parts;
        *parts += 1;
        let id = self.ids.unique(&sent_id, index);
        let name = wire_name(&sent_name).into_owned();
        out.push_back(Event::ToolCallStarted {
            index,
            tool_call_id: id.clone(),
            name: name.clone(),
        });
        self.calls.push(Call {
            index,
            id,
            sent_id,
            name,
            sent_name,
            arguments: ArgumentText::default(),
            extra: Map::new(),
        });
        let place = self.calls.len() - 1;
        if let Some(server_index) = server_index {
            self.by_index.insert(server_index, place);
        }
        place
    }

    /// All of them, complete.
    pub(super) fn take(&mut self) -> Vec<(u32, StoredPart)> {
        self.by_index.clear();
        std::mem::take(&mut self.calls).into_iter().map(Call::into_part).collect()
    }
}

impl Call {
    fn keep_extra(&mut self, piece: &Value) {
        let Some(piece) = piece.as_object() else { return };
        for (name, value) in piece {
            if !matches!(name.as_str(), "id" | "index" | "type" | "function") && !value.is_null() {
                self.extra.insert(name.clone(), value.clone());
            }
        }
    }

    fn into_part(self) -> (u32, StoredPart) {
        let args = self.arguments.value();
        let as_sent = self.id == self.sent_id
            && is_plain(&self.id, 64)
            && self.name == self.sent_name
            && self.arguments.is_object();
        let raw = as_sent.then(|| {
            let mut block = self.extra;
            block.insert("id".to_owned(), json!(self.id));
            block.insert("type".to_owned(), json!("function"));
            let function = json!({ "name": self.name, "arguments": self.arguments.as_str() });
            block.insert("function".to_owned(), function);
            to_raw_value(&block).ok()
        });
        let part = Part::ToolCall { tool_call_id: self.id, name: self.name, args };
        (self.index, StoredPart { part, raw: raw.flatten() })
    }
}
