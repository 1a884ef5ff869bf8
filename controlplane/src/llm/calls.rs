//! Tool calls as models really send them: ids that are missing or come twice, names no provider
//! takes back, arguments that are no JSON. What leaves here can be stored and sent to any provider.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Prompt;
use crate::chat::content::Part;

/// Longest arguments of one call, in bytes; what is over is dropped and the call cannot run.
pub(super) const ARGUMENTS_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Longest id that every provider takes.
const ID_MAX_BYTES: usize = 64;
/// Longest name that every provider takes.
const NAME_MAX_BYTES: usize = 64;
/// Bytes of a result that a model is shown.
const RESULT_MAX_BYTES: usize = 64 * 1024;
/// What stands for arguments that were too long.
const SHOWN_OF_TOO_LONG_BYTES: usize = 256;

/// Gives each call of an answer an id that no other call of the chat has.
pub(super) struct CallIds {
    seen: HashSet<String>,
    /// Same for the same place in the same chat, so that a retried step names its calls alike.
    seed: blake3::Hasher,
}

impl CallIds {
    /// Knows every id of the prompt's history.
    pub(super) fn new(prompt: &Prompt) -> Self {
        let seen = prompt
            .messages
            .iter()
            .flat_map(|message| &message.parts)
            .filter_map(|part| part.part.tool_call_id().map(str::to_owned))
            .collect();
        let mut seed = blake3::Hasher::new();
        seed.update(prompt.cache_key.as_bytes());
        seed.update(&prompt.messages.len().to_le_bytes());
        Self { seen, seed }
    }

    /// `sent`, or one of ours where it is missing, known already or too long to be stored.
    pub(super) fn unique(&mut self, sent: &str, index: u32) -> String {
        let mut id = sent.to_owned();
        let mut round: u32 = 0;
        while id.is_empty() || id.len() > 256 || self.seen.contains(&id) {
            let mut hasher = self.seed.clone();
            hasher.update(&index.to_le_bytes()).update(&round.to_le_bytes());
            id = format!("call_{}", &hasher.finalize().to_hex()[..24]);
            round += 1;
        }
        self.seen.insert(id.clone());
        id
    }
}

/// Whether every provider takes the text as an id or a name.
pub(super) fn is_plain(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// An id in the form every provider takes; the same for the same id, and still unique.
pub(super) fn wire_id(id: &str) -> Cow<'_, str> {
    if is_plain(id, ID_MAX_BYTES) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(format!("call_{}", &blake3::hash(id.as_bytes()).to_hex()[..24]))
    }
}

/// A tool's name in the form every provider takes. A name such as `../x` stays recognisable and
/// names no tool.
pub(super) fn wire_name(name: &str) -> Cow<'_, str> {
    if is_plain(name, NAME_MAX_BYTES) {
        return Cow::Borrowed(name);
    }
    if name.is_empty() {
        return Cow::Borrowed("unnamed_tool");
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    Cow::Owned(name.chars().map(plain).take(NAME_MAX_BYTES).collect())
}

/// The text of arguments while it arrives, bounded.
#[derive(Debug, Default)]
pub(super) struct ArgumentText {
    text: String,
    dropped_bytes: usize,
}

impl ArgumentText {
    /// Appends; gives back what was kept, for the preview.
    pub(super) fn push<'a>(&mut self, delta: &'a str) -> &'a str {
        let room = ARGUMENTS_MAX_BYTES - self.text.len();
        let kept = &delta[..delta.floor_char_boundary(room)];
        // A gap would make other JSON of it: after the first drop everything is dropped.
        let kept = if self.dropped_bytes > 0 { "" } else { kept };
        self.text.push_str(kept);
        self.dropped_bytes += delta.len() - kept.len();
        kept
    }

    /// The text as it came.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the text is one whole object.
    pub(super) fn is_object(&self) -> bool {
        // Looks before it parses: this is asked for every piece.
        let text = self.text.trim_end();
        self.dropped_bytes == 0
            && text.ends_with('}')
            && serde_json::from_str::<Map<String, Value>>(text).is_ok()
    }

    /// The arguments: an object, or the text as it came where it is none.
    pub(super) fn value(&self) -> Value {
        if self.dropped_bytes > 0 {
            let start = self.text.floor_char_boundary(SHOWN_OF_TOO_LONG_BYTES);
            return Value::String(format!(
                "{}… [the arguments had {} bytes, over the limit of {ARGUMENTS_MAX_BYTES}]",
                &self.text[..start],
                self.text.len() + self.dropped_bytes
            ));
        }
        parse_arguments(&self.text)
    }
}

/// An object, or the text where it is none. No arguments at all are an empty object; an object
/// inside a JSON string is unwrapped.
fn parse_arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => Value::Object(object),
        Ok(Value::Null) => Value::Object(Map::new()),
        Ok(Value::String(inner)) => match serde_json::from_str::<Value>(&inner) {
            Ok(Value::Object(object)) => Value::Object(object),
            _ => Value::String(text.to_owned()),
        },
        _ => Value::String(text.to_owned()),
    }
}

/// Arguments as an object, which is all that providers take back.
pub(super) fn wire_arguments(args: &Value) -> Cow<'_, Value> {
    if args.is_object() {
        Cow::Borrowed(args)
    } else {
        let mut object = Map::new();
        object.insert("invalid_arguments".to_owned(), args.clone());
        Cow::Owned(Value::Object(object))
    }
}

/// A tool's result as text for a model: at most 64 KiB, of a longer one the start and the end.
pub(super) fn result_text(result: &Value) -> String {
    let text = match result {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() <= RESULT_MAX_BYTES {
        return text;
    }
    let head = text.floor_char_boundary(RESULT_MAX_BYTES * 2 / 3);
    let tail = text.ceil_char_boundary(text.len() - RESULT_MAX_BYTES / 3);
    format!("{}\n[… {} bytes left out …]\n{}", &text[..head], tail - head, &text[tail..])
}

/// What a model is shown of a remark; none: nothing.
pub(super) fn notice_text(part: &Part) -> Option<String> {
    match part {
        // A block of a provider's own that another provider cannot read.
        Part::Notice { code, .. } if code == PROVIDER_BLOCK => None,
        Part::Notice { text, .. } if !text.is_empty() => Some(format!("[{text}]")),
        _ => None,
    }
}

/// The code of a remark that stands for a block only its provider understands.
pub(super) const PROVIDER_BLOCK: &str = "provider_block";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_an_object_or_the_text_as_it_came() {
        let rows = [
            ("", json!({})),
            ("  ", json!({})),
            ("null", json!({})),
            (r#"{"a":1}"#, json!({"a": 1})),
            (r#""{\"a\":1}""#, json!({"a": 1})),
            (r#"{"a":"#, json!(r#"{"a":"#)),
            ("[1]", json!("[1]")),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_arguments(text), expected, "{text}");
        }
    }

    #[test]
    fn arguments_over_the_limit_say_so_and_never_become_other_json() {
        let mut text = ArgumentText::default();
        text.push("{\"a\":\"");
        for _ in 0..11 {
            text.push(&"x".repeat(1024 * 1024));
        }
        text.push("\"}");
        let value = text.value();
        assert!(
            value.as_str().is_some_and(|text| text.contains("over the limit") && text.len() < 400)
        );
    }

    #[test]
    fn ids_and_names_fit_every_provider() {
        assert_eq!(wire_id("toolu_01"), "toolu_01");
        let strange = wire_id("functions.bash:0");
        assert!(is_plain(&strange, 64) && strange != wire_id("functions.bash:1"));
        assert_eq!(wire_name("../etc/passwd"), "___etc_passwd");
        assert_eq!(wire_name(""), "unnamed_tool");
        assert_eq!(wire_name(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn a_long_result_keeps_its_start_and_its_end() {
        let text = result_text(&json!(format!("start{}end", "ä".repeat(60_000))));
        assert!(text.len() <= RESULT_MAX_BYTES + 64);
        assert!(text.starts_with("start") && text.ends_with("end"));
    }
}
