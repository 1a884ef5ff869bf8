//! Lists: `{items, next_cursor}` and the cursor that goes on.
//!
//! A cursor is opaque to clients: base64url of the list's name and the last row's key. It is not a
//! secret and gives no rights; another list's cursor is refused because its name differs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::code::Code;
use super::problem::Problem;

/// Longest cursor we ever made, with room.
const CURSOR_MAX_BYTES: usize = 256;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Pass it back as `cursor` to go on; none: this was the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A whole list.
    #[must_use]
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// Makes the cursor after the row with `key` in `list`.
#[must_use]
pub fn cursor(list: &str, key: &[&str]) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}\n{}", key.join("\n")))
}

/// Reads a cursor of `list` with `N` key fields.
///
/// # Errors
///
/// `invalid_cursor` for anything that [`cursor`] did not make for this list.
pub fn read_cursor<const N: usize>(list: &str, text: &str) -> Result<[String; N], Problem> {
    let refuse =
        || Problem::new(Code::InvalidCursor, "pass back a `next_cursor` of this list, unchanged");
    if text.len() > CURSOR_MAX_BYTES {
        return Err(refuse());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse())?;
    let plain = String::from_utf8(bytes).map_err(|_| refuse())?;
    let mut fields = plain.split('\n');
    if fields.next() != Some(list) {
        return Err(refuse());
    }
    let fields: Vec<String> = fields.map(str::to_owned).collect();
    fields.try_into().map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b12_a_cursor_is_read_back_by_its_own_list_only() {
        let text = cursor("chats", &["7", "chat_x"]);
        assert_eq!(read_cursor::<2>("chats", &text).unwrap(), ["7", "chat_x"]);
        for (list, text) in
            [("messages", text.as_str()), ("chats", "%%"), ("chats", ""), ("chats", "AAAA")]
        {
            assert_eq!(read_cursor::<2>(list, text).unwrap_err().code(), "invalid_cursor");
        }
        assert!(read_cursor::<2>("chats", &"A".repeat(10_000)).is_err());
    }
}
