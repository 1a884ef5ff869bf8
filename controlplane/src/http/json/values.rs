//! How the plain types of bodies are read.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use shared::ids::{AttachmentId, MessageId, ModelId, ProviderId, WorkspaceId};

use super::{At, FromJson};
use crate::http::code::Code;

/// Longest name of a thing, in characters.
const NAME_MAX_CHARS: usize = 100;

impl FromJson for String {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            other => at.wrong_type("a text", &other),
        }
    }
}

impl FromJson for bool {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        match value {
            Value::Bool(is_true) => Some(is_true),
            other => at.wrong_type("a boolean", &other),
        }
    }
}

impl FromJson for f64 {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        match value.as_f64() {
            Some(number) => Some(number),
            None => at.wrong_type("a number", &value),
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl FromJson for $type {
            fn from_json(value: Value, at: &mut At) -> Option<Self> {
                let Value::Number(number) = &value else {
                    return at.wrong_type("a whole number", &value);
                };
                let wide = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
                match wide.map(Self::try_from) {
                    Some(Ok(number)) => Some(number),
                    _ => at.fail(
                        Code::OutOfRange,
                        format!("a whole number from {} to {} is due here", Self::MIN, Self::MAX),
                    ),
                }
            }
        }
    )*};
}
whole_numbers!(i64, u64, u32, u16);

macro_rules! ids {
    ($($type:ty),*) => {$(
        impl FromJson for $type {
            fn from_json(value: Value, at: &mut At) -> Option<Self> {
                match String::from_json(value, at)?.parse::<Self>() {
                    Ok(id) => Some(id),
                    Err(error) => at.fail(Code::InvalidId, error.to_string()),
                }
            }
        }
    )*};
}
ids!(AttachmentId, MessageId, ModelId, ProviderId, WorkspaceId);

impl FromJson for Value {
    fn from_json(value: Value, _: &mut At) -> Option<Self> {
        Some(value)
    }
}

impl FromJson for serde_json::Map<String, Value> {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        match value {
            Value::Object(object) => Some(object),
            other => at.wrong_type("an object", &other),
        }
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        let Value::Array(items) = value else {
            return at.wrong_type("an array", &value);
        };
        let mut read = Vec::with_capacity(items.len());
        let mut is_whole = true;
        for (index, item) in items.into_iter().enumerate() {
            match at.inside(&index.to_string(), |at| T::from_json(item, at)) {
                Some(item) => read.push(item),
                None => is_whole = false,
            }
        }
        is_whole.then_some(read)
    }
}

impl<T: FromJson> FromJson for BTreeMap<String, T> {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        let object = serde_json::Map::from_json(value, at)?;
        let mut read = Self::new();
        let mut is_whole = true;
        for (key, item) in object {
            match at.inside(&key, |at| T::from_json(item, at)) {
                Some(item) => {
                    read.insert(key, item);
                }
                None => is_whole = false,
            }
        }
        is_whole.then_some(read)
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_json(value, at).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A field of a `PATCH`: not there, null, or a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Set it, or clear it.
    Set(Option<T>),
}

impl<T> Patch<T> {
    /// What is given, if anything is.
    pub fn given(self) -> Option<Option<T>> {
        match self {
            Self::Keep => None,
            Self::Set(new) => Some(new),
        }
    }

    /// The new value, or the old one.
    pub fn or(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Set(new) => new,
        }
    }
}

impl<T: FromJson> FromJson for Patch<T> {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        Option::from_json(value, at).map(Self::Set)
    }

    fn absent() -> Option<Self> {
        Some(Self::Keep)
    }
}

/// A text that no log and no answer may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Hides `text`.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Gives the text away.
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromJson for Hidden {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        String::from_json(value, at).map(Self)
    }
}

/// The name of a thing: 1 to 100 characters, none of them a control character, trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the text away.
    #[must_use]
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl FromJson for Name {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        let text = String::from_json(value, at)?;
        let name = text.trim();
        // Direction marks would let one name look like another.
        let is_bad = |c: char| {
            c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        match name.chars().count() {
            1..=NAME_MAX_CHARS if !name.chars().any(is_bad) => Some(Self(name.to_owned())),
            1..=NAME_MAX_CHARS => at.fail(Code::InvalidValue, "a name has no control characters"),
            _ => {
                let text = format!("a name has 1 to {NAME_MAX_CHARS} characters");
                at.fail(Code::InvalidValue, text)
            }
        }
    }
}
