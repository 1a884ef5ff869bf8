//! Bodies of requests: strict JSON, every error at once, each with its pointer.
//!
//! `body!` declares a body: its fields, their docs and their types, once. From that come the type,
//! its schema in the OpenAPI document, and a reader that collects every error instead of ending at
//! the first. Unknown fields are refused, with the nearest name.

mod extract;
mod parse;
mod values;

pub use extract::{Json, read_body};
pub use parse::parse;
pub use values::{Hidden, Name, Patch};

use serde_json::{Map, Value};

use super::code::Code;
use super::problem::{FieldError, Problem};
use crate::options::nearest;

/// A type that can be read from a body.
pub trait FromJson: Sized {
    /// Reads `value`; what is wrong goes to `at`, and none is returned.
    fn from_json(value: Value, at: &mut At) -> Option<Self>;

    /// The value of a field that is not there; none: it is required.
    fn absent() -> Option<Self> {
        None
    }
}

/// Where in the document a reader is, and what it found wrong.
#[derive(Default)]
pub struct At {
    pointer: String,
    errors: Vec<(Code, FieldError)>,
}

impl At {
    /// Notes an error here.
    pub fn fail<T>(&mut self, code: Code, detail: impl Into<String>) -> Option<T> {
        self.errors.push((code, FieldError::new(code, self.pointer.clone(), detail.into())));
        None
    }

    /// Notes that another type is due here.
    pub fn wrong_type<T>(&mut self, expected: &str, found: &Value) -> Option<T> {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        self.fail(Code::InvalidType, format!("{expected} is due here, not {found}"))
    }

    /// Runs `read` one step deeper.
    pub fn inside<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        parse::push_key(&mut self.pointer, key);
        let result = read(self);
        self.pointer.truncate(length);
        result
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Reads a whole document.
///
/// # Errors
///
/// Everything that is wrong, as the problem to answer with.
pub fn read<T: FromJson>(bytes: &[u8]) -> Result<T, Problem> {
    let value = parse(bytes)?;
    let mut at = At::default();
    match T::from_json(value, &mut at) {
        Some(body) if at.is_clean() => Ok(body),
        _ => Err(Problem::of_fields(at.errors)),
    }
}

/// The fields of an object while they are taken one by one. For `body!`.
pub struct Fields {
    object: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The fields of `value`, which must be an object.
    pub fn of(value: Value, at: &mut At) -> Option<Self> {
        match value {
            Value::Object(object) => Some(Self { object, known: Vec::new() }),
            other => at.wrong_type("an object", &other),
        }
    }

    /// Takes one field.
    pub fn take<T: FromJson>(&mut self, name: &'static str, at: &mut At) -> Option<T> {
        self.known.push(name);
        at.inside(name, |at| match self.object.remove(name) {
            Some(value) => T::from_json(value, at),
            None => T::absent().or_else(|| at.fail(Code::MissingField, "this field is required")),
        })
    }

    /// What is left is unknown.
    pub fn finish(self, at: &mut At) {
        for name in self.object.keys() {
            at.inside(name, |at| {
                let detail = match nearest(name, self.known.iter().copied()) {
                    Some(near) => format!("there is no such field; did you mean \"{near}\"?"),
                    None => "there is no such field".to_owned(),
                };
                at.fail::<()>(Code::UnknownField, detail)
            });
        }
    }
}

/// Declares the body of a request.
macro_rules! body {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, utoipa::ToSchema)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $crate::http::json::FromJson for $name {
            fn from_json(
                value: serde_json::Value,
                at: &mut $crate::http::json::At,
            ) -> Option<Self> {
                let mut fields = $crate::http::json::Fields::of(value, at)?;
                $(let $field = fields.take(stringify!($field), at);)*
                fields.finish(at);
                Some(Self { $($field: $field?,)* })
            }
        }
    };
}
pub(crate) use body;

/// Declares a field's closed list of texts.
///
/// The text is a `tt`: the schema's derive does not read a captured `literal` and would name the
/// variants of the code instead.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $text:tt,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
        pub enum $name { $($(#[$variant_meta])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// The text in JSON and SQL.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl $crate::http::json::FromJson for $name {
            fn from_json(
                value: serde_json::Value,
                at: &mut $crate::http::json::At,
            ) -> Option<Self> {
                match value.as_str() {
                    $(Some($text) => Some(Self::$variant),)*
                    Some(_) => at.fail(
                        $crate::http::code::Code::InvalidValue,
                        concat!("one of these is due here:" $(, " ", $text)*),
                    ),
                    None => at.wrong_type("a text", &value),
                }
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    body! {
        /// A body.
        pub struct Sample {
            /// A text.
            pub name: String,
            /// A number.
            pub port: u16,
            /// Maybe a text.
            pub note: Option<String>,
            /// Texts.
            pub tags: Option<Vec<String>>,
        }
    }

    #[test]
    fn b09_every_error_of_a_body_is_told_at_once() {
        let problem =
            read::<Sample>(br#"{"nmae":"x","port":70000,"note":7,"tags":["a",null]}"#).unwrap_err();
        let view = serde_json::to_string(&problem_errors(&problem)).unwrap();
        assert_eq!(problem.code(), "missing_field");
        for expected in [
            r#"{"pointer":"/name","code":"missing_field","detail":"this field is required"}"#,
            r#"{"pointer":"/port","code":"out_of_range""#,
            r#"{"pointer":"/note","code":"invalid_type","detail":"a text is due here, not a number"}"#,
            r#"{"pointer":"/tags/1","code":"invalid_type""#,
            r#"{"pointer":"/nmae","code":"unknown_field","detail":"there is no such field; did you mean \"name\"?"}"#,
        ] {
            assert!(view.contains(expected), "{expected} is not in {view}");
        }
    }

    #[test]
    fn b09_at_most_twenty_errors_are_listed() {
        let fields: Vec<String> = (0..100).map(|n| format!("\"unknown{n}\":1")).collect();
        let text = format!("{{\"name\":\"n\",\"port\":1,{}}}", fields.join(","));
        let problem = read::<Sample>(text.as_bytes()).unwrap_err();
        assert_eq!(problem_errors(&problem).len(), 20);
        assert!(problem.detail().ends_with("100 errors in all"));
    }

    #[test]
    fn null_is_no_value_for_a_required_field_and_none_for_an_optional_one() {
        assert_eq!(
            read::<Sample>(br#"{"name":null,"port":1}"#).unwrap_err().code(),
            "invalid_type"
        );
        let sample = read::<Sample>(br#"{"name":"n","port":1,"note":null}"#).unwrap();
        assert_eq!((sample.name.as_str(), sample.port), ("n", 1));
        assert!(sample.note.is_none() && sample.tags.is_none());
    }

    fn problem_errors(problem: &Problem) -> Vec<FieldError> {
        problem.errors().to_vec()
    }
}
