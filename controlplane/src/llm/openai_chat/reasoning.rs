//! Thinking in its many fields. What is shown is text; what goes back is the fields as they came.

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};

use crate::chat::content::{Part, StoredPart};

/// Fields that hold thinking as plain text, the first one wins.
const PLAIN: &[&str] = &["reasoning_content", "reasoning"];
/// Fields of a detail whose pieces are joined; all others are replaced.
const JOINED: &[&str] = &["text", "summary", "data"];

/// The thinking of one answer.
#[derive(Debug, Default)]
pub(super) struct Reasoning {
    shown: String,
    /// Which plain field came, with its whole text.
    plain: Option<(&'static str, String)>,
    details: Vec<Map<String, Value>>,
}

impl Reasoning {
    /// Whether the delta holds any thinking.
    pub(super) fn is_in(delta: &Value) -> bool {
        let has_text = |name: &str| delta[name].as_str().is_some_and(|text| !text.is_empty());
        PLAIN.iter().any(|name| has_text(name))
            || delta["reasoning_details"].as_array().is_some_and(|list| !list.is_empty())
            || thinking_pieces(delta).next().is_some()
    }

    /// Takes a delta; what comes back is shown.
    pub(super) fn push(&mut self, delta: &Value) -> String {
        let mut piece = String::new();
        let plain = PLAIN.iter().find_map(|name| Some((*name, delta[*name].as_str()?)));
        if let Some((name, text)) = plain {
            self.plain.get_or_insert_with(|| (name, String::new())).1.push_str(text);
            piece.push_str(text);
        }
        for detail in delta["reasoning_details"].as_array().into_iter().flatten() {
            let shown = self.detail(detail);
            if plain.is_none() {
                piece.push_str(&shown);
            }
        }
        for text in thinking_pieces(delta) {
            piece.push_str(text);
        }
        self.shown.push_str(&piece);
        piece
    }

    /// Joins a piece of a detail to the detail it goes on.
    fn detail(&mut self, piece: &Value) -> String {
        let Some(piece) = piece.as_object() else { return String::new() };
        let same = |detail: &&mut Map<String, Value>| {
            detail.get("type") == piece.get("type")
                && detail.get("index") == piece.get("index")
                && (piece.get("id").is_none_or(Value::is_null)
                    || detail.get("id") == piece.get("id"))
        };
        match self.details.iter_mut().rev().find(same) {
            None => self.details.push(piece.clone()),
            Some(detail) => {
                for (name, value) in piece {
                    match (detail.get_mut(name), value) {
                        (Some(Value::String(text)), Value::String(more))
                            if JOINED.contains(&name.as_str()) =>
                        {
                            text.push_str(more);
                        }
                        (Some(_), Value::Null) => {}
                        _ => {
                            detail.insert(name.clone(), value.clone());
                        }
                    }
                }
            }
        }
        let text = |name: &str| piece.get(name).and_then(Value::as_str);
        text("text").or_else(|| text("summary")).unwrap_or("").to_owned()
    }

    /// The part, with the fields that go back beside it.
    pub(super) fn into_part(self) -> StoredPart {
        let mut fields = Map::new();
        if let Some((name, text)) = self.plain {
            fields.insert(name.to_owned(), json!(text));
        }
        if !self.details.is_empty() {
            fields.insert("reasoning_details".to_owned(), json!(self.details));
        }
        let raw = if fields.is_empty() { None } else { to_raw_value(&fields).ok() };
        StoredPart { part: Part::Reasoning { text: self.shown }, raw }
    }
}

/// Thinking inside a content that is a list of parts.
fn thinking_pieces(delta: &Value) -> impl Iterator<Item = &str> {
    let pieces = delta["content"].as_array().into_iter().flatten();
    let thinking = pieces.filter_map(|piece| piece["thinking"].as_array()).flatten();
    thinking.filter_map(|piece| piece["text"].as_str())
}
