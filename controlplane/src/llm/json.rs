//! JSON as servers write it. Some cut a character outside the basic plane in two and send each half
//! as an escape of its own, which is no text; a half then becomes U+FFFD instead of an error.

use serde_json::Value;

/// The value of an event's data; none: it is no JSON.
pub(super) fn parse(data: &str) -> Option<Value> {
    serde_json::from_str(data).ok().or_else(|| serde_json::from_str(&whole(data)?).ok())
}

/// `data` with every half of a surrogate pair replaced; none: there is no half.
fn whole(data: &str) -> Option<String> {
    let mut text = String::with_capacity(data.len());
    let (mut rest, mut is_changed) = (data, false);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        text.push_str(before);
        let len = match unit(escape) {
            Some(0xD800..=0xDBFF)
                if matches!(escape.get(6..).and_then(unit), Some(0xDC00..=0xDFFF)) =>
            {
                12
            }
            Some(0xD800..=0xDFFF) => {
                text.push_str("\\ufffd");
                is_changed = true;
                rest = &escape[6..];
                continue;
            }
            Some(_) => 6,
            // A backslash and what it escapes.
            None => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        text.push_str(&escape[..len]);
        rest = &escape[len..];
    }
    text.push_str(rest);
    is_changed.then_some(text)
}

/// The code unit that the text escapes at its start.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn half_a_character_is_marked_and_a_whole_one_is_kept() {
        let rows = [
            (r#"{"a":"\ud83c"}"#, Some(json!({ "a": "\u{FFFD}" }))),
            (r#"{"a":"\udf0a x"}"#, Some(json!({ "a": "\u{FFFD} x" }))),
            (r#"{"a":"\ud83c\udf0a \ud83c"}"#, Some(json!({ "a": "\u{1F30A} \u{FFFD}" }))),
            (r#"{"a":"\\ud83c \ud83cx"}"#, Some(json!({ "a": "\\ud83c \u{FFFD}x" }))),
            (r#"{"a":"#, None),
            (r#"{"a":"\ud8"}"#, None),
            ("\\", None),
        ];
        for (data, expected) in rows {
            assert_eq!(parse(data), expected, "{data}");
        }
    }
}
