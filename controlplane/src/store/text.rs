//! Text from outside on its way into a row.

use std::borrow::Cow;

/// Replaces every NUL, which Postgres refuses in `TEXT`, by U+FFFD. Nothing else is changed.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// `value` as JSON text for a column. JSON writes a NUL as `\u0000`, which is plain text.
///
/// # Panics
/// Never for the types of this program: none has a map with keys that are not text.
#[must_use]
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the types of rows have text keys only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_becomes_a_replacement_character_and_the_rest_stays() {
        assert_eq!(clean("a\0b"), "a\u{fffd}b");
        assert!(matches!(clean("as it is\u{1b}"), Cow::Borrowed("as it is\u{1b}")));
    }

    #[test]
    fn a_nul_in_json_is_escaped() {
        assert_eq!(json("a\0b"), r#""a\u0000b""#);
    }
}
