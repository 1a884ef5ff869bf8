//! One hint as a value, and as the text that replicas send each other.
//!
//! ```text
//! text   = origin hint*          separated by single spaces, at most 7,900 bytes
//! origin = the sender's name, so that it knows its own
//! hint   = c:CHAT │ a:CHAT │ l:USER/CHAT │ w:WORKSPACE │ d:WORKSPACE │ r │ *
//! ```
//!
//! A word that is not understood is passed over: it is from a newer replica, and a hint.

use std::collections::BTreeSet;
use std::fmt;

use shared::ids::{ChatId, UserId, WorkspaceId};

/// Longest text; Postgres takes under 8,000 bytes.
pub const TEXT_MAX_BYTES: usize = 7_900;

/// Where something may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// The chat's row, messages or queue.
    Chat(ChatId),
    /// A person asked something of the chat.
    Asked(ChatId),
    /// What the user's lists show of the chat.
    List(UserId, ChatId),
    /// What every list shows of the workspace.
    Workspace(WorkspaceId),
    /// Which replica holds the workspace's daemon.
    Link(WorkspaceId),
    /// A chat without an owner may have work.
    Runnable,
    /// Hints were lost: anything.
    Everything,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chat(chat) => write!(f, "c:{chat}"),
            Self::Asked(chat) => write!(f, "a:{chat}"),
            Self::List(user, chat) => write!(f, "l:{user}/{chat}"),
            Self::Workspace(workspace) => write!(f, "w:{workspace}"),
            Self::Link(workspace) => write!(f, "d:{workspace}"),
            Self::Runnable => f.write_str("r"),
            Self::Everything => f.write_str("*"),
        }
    }
}

impl Hint {
    fn parse(word: &str) -> Option<Self> {
        Some(match word.split_once(':') {
            None if word == "r" => Self::Runnable,
            None if word == "*" => Self::Everything,
            Some(("c", id)) => Self::Chat(id.parse().ok()?),
            Some(("a", id)) => Self::Asked(id.parse().ok()?),
            Some(("w", id)) => Self::Workspace(id.parse().ok()?),
            Some(("d", id)) => Self::Link(id.parse().ok()?),
            Some(("l", ids)) => {
                let (user, chat) = ids.split_once('/')?;
                Self::List(user.parse().ok()?, chat.parse().ok()?)
            }
            _ => return None,
        })
    }
}

/// The texts that say `hints`, each short enough.
#[must_use]
pub fn encode(origin: &str, hints: &BTreeSet<Hint>) -> Vec<String> {
    let mut texts = Vec::new();
    let mut text = origin.to_owned();
    for hint in hints {
        let word = hint.to_string();
        if text.len() + 1 + word.len() > TEXT_MAX_BYTES {
            texts.push(std::mem::replace(&mut text, origin.to_owned()));
        }
        text.push(' ');
        text.push_str(&word);
    }
    if text.len() > origin.len() {
        texts.push(text);
    }
    texts
}

/// What another replica says; nothing if it was said under our own name.
#[must_use]
pub fn decode(text: &str, own: &str) -> Vec<Hint> {
    let mut words = text.split(' ');
    if words.next() == Some(own) {
        return Vec::new();
    }
    words.filter_map(Hint::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    fn one_of_each() -> BTreeSet<Hint> {
        let ids: &dyn IdSource = &CountingIds::default();
        [
            Hint::Chat(ids.id()),
            Hint::Asked(ids.id()),
            Hint::List(ids.id(), ids.id()),
            Hint::Workspace(ids.id()),
            Hint::Link(ids.id()),
            Hint::Runnable,
            Hint::Everything,
        ]
        .into()
    }

    #[test]
    fn what_is_said_is_understood_by_others_and_passed_over_by_the_sender() {
        let hints = one_of_each();
        let texts = encode("me", &hints);
        assert_eq!(texts.len(), 1);
        assert_eq!(decode(&texts[0], "you").into_iter().collect::<BTreeSet<_>>(), hints);
        assert!(decode(&texts[0], "me").is_empty());
        assert!(encode("me", &BTreeSet::new()).is_empty(), "nothing is not said");
    }

    #[test]
    fn many_hints_are_several_texts_that_postgres_takes() {
        let ids: &dyn IdSource = &CountingIds::default();
        let hints: BTreeSet<Hint> = (0..1_000).map(|_| Hint::List(ids.id(), ids.id())).collect();
        let texts = encode("me", &hints);
        assert!(texts.iter().all(|text| text.len() <= TEXT_MAX_BYTES));
        let heard: BTreeSet<Hint> = texts.iter().flat_map(|text| decode(text, "you")).collect();
        assert_eq!(heard, hints);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,200}", word in "[acdlwr*]:?[a-z_0-9/]{0,40}") {
            let _ = decode(&text, "me");
            let heard = decode(&format!("x {word} c: l:/ nonsense r"), "me");
            prop_assert!(heard.contains(&Hint::Runnable), "what follows nonsense is heard");
        }
    }
}
