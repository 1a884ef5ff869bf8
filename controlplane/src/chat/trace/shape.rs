//! The shape of a prompt as a provider's cache sees it: tools, system text, messages, each with its
//! size and hash; and where a prompt differs from the one before it. Pure.

use std::io;

use serde_json::{Value, json};

use crate::chat::content::{Part, StoredPart};
use crate::llm::Prompt;

/// A prompt's parts by size and hash, in the order in which providers cache them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    model: String,
    tools: Piece,
    system: Piece,
    messages: Vec<Piece>,
    /// Of everything, the question behind the history included.
    digest: blake3::Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    bytes: usize,
    hash: blake3::Hash,
    /// Attached files that are shown in it.
    files: usize,
}

/// Why a provider cannot have all of the former prompt in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// It has all of it.
    Whole,
    /// There was no former prompt, or nobody here knows it.
    First,
    /// Another model was asked.
    Model,
    /// The tools differ.
    Tools,
    /// The system text differs.
    System,
    /// A message differs: the history was made shorter, or another branch is shown.
    Messages,
    /// Attached files are left out that were shown.
    Files,
}

impl Break {
    /// As the providers name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "none",
            Self::First => "first",
            Self::Model => "model_changed",
            Self::Tools => "tools_changed",
            Self::System => "system_changed",
            Self::Messages => "messages_changed",
            Self::Files => "files_left_out",
        }
    }
}

/// What stands before the messages, as it is kept once for many prompts.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its hash.
    pub hash: String,
    /// JSON.
    pub body: String,
}

impl Head {
    /// Of a prompt.
    #[must_use]
    pub fn of(kind: &str, prompt: &Prompt) -> Self {
        let tools: Vec<Value> = prompt
            .tools
            .iter()
            .map(|tool| json!([tool.name, tool.description, *tool.schema]))
            .collect();
        let body = json!({
            "kind": kind,
            "model": prompt.model,
            "system": prompt.system,
            "tools": tools,
            "max_output_tokens": prompt.max_output_tokens,
            "options": prompt.options,
            "ask": prompt.ask,
        })
        .to_string();
        Self { hash: blake3::hash(body.as_bytes()).to_hex().to_string(), body }
    }
}

impl Shape {
    /// Of a prompt.
    #[must_use]
    pub fn of(prompt: &Prompt) -> Self {
        let mut digest = blake3::Hasher::new();
        let mut piece = |write: &dyn Fn(&mut Measure)| {
            let mut measure = Measure::default();
            write(&mut measure);
            let hash = measure.hasher.finalize();
            digest.update(hash.as_bytes());
            Piece { bytes: measure.bytes, hash, files: 0 }
        };
        let tools = piece(&|to| {
            for tool in &prompt.tools {
                to.json(&(&tool.name, &tool.description, &*tool.schema));
            }
        });
        let system = piece(&|to| to.json(&prompt.system));
        let messages = prompt
            .messages
            .iter()
            .map(|message| {
                let piece = piece(&|to| to.json(&(message.role, &message.parts)));
                Piece { files: message.parts.iter().filter(|part| is_file(part)).count(), ..piece }
            })
            .collect();
        piece(&|to| to.json(&(&prompt.ask, &prompt.model)));
        Self { model: prompt.model.clone(), tools, system, messages, digest: digest.finalize() }
    }

    /// Over all of the prompt.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.to_hex().to_string()
    }

    /// How much of this prompt stood at the beginning of the former one, and why not more.
    #[must_use]
    pub fn after(&self, former: Option<&Self>) -> Value {
        let (reason, reused) = match former {
            None => (Break::First, 0),
            Some(former) => self.compared(former),
        };
        let [mut system, mut tools, mut history, mut new] = [0; 4];
        if reused > 0 {
            (tools, system) = (self.tools.bytes, self.system.bytes);
        }
        for (at, message) in self.messages.iter().enumerate() {
            if at + 2 < reused { history += message.bytes } else { new += message.bytes }
        }
        let total = self.bytes();
        let kept: usize = tools + system + history;
        json!({
            "bytes": total,
            "tools_bytes": self.tools.bytes,
            "system_bytes": self.system.bytes,
            "history_bytes": history,
            "new_bytes": new,
            "reused_bytes": kept,
            "messages": self.messages.len(),
            "break_reason": reason.as_str(),
            "break_at_byte": if reason == Break::Whole { Value::Null } else { json!(kept) },
        })
    }

    fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|message| message.bytes).sum::<usize>();
        self.tools.bytes + self.system.bytes + messages
    }

    /// The reason, and how many pieces from the beginning are the same: tools, system text, and
    /// then message by message.
    fn compared(&self, former: &Self) -> (Break, usize) {
        if self.model != former.model {
            return (Break::Model, 0);
        }
        if self.tools != former.tools {
            return (Break::Tools, 0);
        }
        if self.system != former.system {
            return (Break::System, 0);
        }
        let pairs = self.messages.iter().zip(&former.messages);
        let same = pairs.take_while(|(now, before)| now == before).count();
        let differing = self.messages.get(same).zip(former.messages.get(same));
        let reason = match differing {
            _ if same == former.messages.len() => Break::Whole,
            Some((now, before)) if now.files < before.files => Break::Files,
            _ => Break::Messages,
        };
        (reason, 2 + same)
    }
}

fn is_file(stored: &StoredPart) -> bool {
    matches!(stored.part, Part::File { .. })
}

/// Counts and hashes what is written, and keeps nothing of it.
#[derive(Default)]
struct Measure {
    hasher: blake3::Hasher,
    bytes: usize,
}

impl Measure {
    fn json<T: serde::Serialize>(&mut self, value: &T) {
        // Writing to memory never fails, and the types of a prompt have text keys only.
        let _ = serde_json::to_writer(self, value);
    }
}

impl io::Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::chat::content::Role;
    use crate::llm::{PromptMessage, ToolSpec};

    fn prompt(texts: &[&str]) -> Prompt {
        let message = |text: &&str| PromptMessage {
            role: Role::User,
            parts: vec![Part::Text { text: (*text).to_owned() }.into()],
        };
        let tool = ToolSpec {
            name: "execute".into(),
            description: "runs".into(),
            schema: Arc::new(json!({})),
        };
        Prompt {
            model: "m".into(),
            system: "s".into(),
            messages: texts.iter().map(message).collect(),
            ask: None,
            tools: vec![tool],
            max_output_tokens: 1,
            options: Default::default(),
            cache_key: "k".into(),
            files: Default::default(),
        }
    }

    fn reason(now: &Prompt, before: &Prompt) -> String {
        let shape = Shape::of(now).after(Some(&Shape::of(before)));
        shape["break_reason"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_reason_of_a_break_is_the_first_piece_that_differs() {
        let before = prompt(&["a", "b"]);
        assert_eq!(reason(&prompt(&["a", "b", "c"]), &before), "none");
        assert_eq!(reason(&prompt(&["a", "x", "c"]), &before), "messages_changed");
        assert_eq!(reason(&prompt(&["a"]), &before), "messages_changed");
        assert_eq!(
            reason(&Prompt { system: "t".into(), ..before.clone() }, &before),
            "system_changed"
        );
        assert_eq!(reason(&Prompt { tools: vec![], ..before.clone() }, &before), "tools_changed");
        assert_eq!(
            reason(&Prompt { model: "n".into(), ..before.clone() }, &before),
            "model_changed"
        );
        assert_eq!(Shape::of(&before).after(None)["break_reason"], "first");
    }

    #[test]
    fn a_file_that_is_left_out_is_a_reason_of_its_own() {
        let with = |part: Part| {
            let mut prompt = prompt(&["a", "b"]);
            prompt.messages[0].parts.push(part.into());
            prompt
        };
        let file = crate::chat::content::FileRef {
            attachment_id: "att_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap(),
            name: "a.png".into(),
            media_type: "image/png".into(),
            size: 1,
            hash: "h".into(),
            width: Some(1),
            height: Some(1),
        };
        let shown = with(Part::File { file });
        let stub = with(Part::Text { text: "not shown".into() });
        assert_eq!(reason(&stub, &shown), "files_left_out");
        assert_eq!(reason(&shown, &stub), "messages_changed");
        assert_eq!(reason(&shown, &shown), "none");
    }

    #[test]
    fn the_pieces_of_a_shape_add_up() {
        let (before, now) = (prompt(&["a", "b"]), prompt(&["a", "b", "c"]));
        let shape = Shape::of(&now).after(Some(&Shape::of(&before)));
        let of = |name: &str| shape[name].as_u64().unwrap();
        assert_eq!(
            of("bytes"),
            of("tools_bytes") + of("system_bytes") + of("history_bytes") + of("new_bytes")
        );
        assert!(of("history_bytes") > 0 && of("new_bytes") > 0);
        assert_eq!(of("reused_bytes"), of("bytes") - of("new_bytes"));
    }

    #[test]
    fn the_digest_is_over_everything_that_is_sent() {
        let one = prompt(&["a"]);
        let other = Prompt { ask: Some("why".into()), ..one.clone() };
        assert_ne!(Shape::of(&one).digest(), Shape::of(&other).digest());
        assert_eq!(Shape::of(&one).digest(), Shape::of(&one.clone()).digest());
    }
}
