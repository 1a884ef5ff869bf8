//! Cutting text at character borders, and joining characters that arrive in pieces.

/// The start of `text`, at most `max_bytes` long, never inside a character; says if it was cut.
pub(super) fn cut(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max_bytes);
    format!("{}… [{} bytes more]", &text[..end], text.len() - end)
}

/// Cuts at the last line end within `max_bytes`, so that a list ends with a whole line.
/// Comes back with the number of lines that were left out.
pub(super) fn cut_lines(text: &mut String, max_bytes: usize) -> usize {
    if text.len() <= max_bytes {
        return 0;
    }
    let end = text.floor_char_boundary(max_bytes);
    let end = text[..end].rfind('\n').map_or(end, |newline| newline + 1);
    let omitted = text[end..].lines().count();
    text.truncate(end);
    omitted
}

/// Turns a stream of bytes into text: a character split over two chunks comes out whole, and bytes
/// that are no text come out as U+FFFD.
#[derive(Debug, Default)]
pub(super) struct Utf8Joiner {
    /// The start of a character whose rest has not arrived; at most three bytes.
    pending: Vec<u8>,
}

impl Utf8Joiner {
    /// Adds `chunk`, and gives every character that is complete.
    pub(super) fn push(&mut self, chunk: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(chunk);
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => {
                    let (valid, invalid) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    match error.error_len() {
                        Some(len) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &invalid[len..];
                        }
                        None => {
                            self.pending = invalid.to_vec();
                            return text;
                        }
                    }
                }
            }
        }
    }

    /// Bytes of a character that is not complete yet.
    pub(super) const fn pending_bytes(&self) -> u64 {
        self.pending.len() as u64
    }

    /// What is left at the end: nothing, or the mark of a character that never came whole.
    pub(super) fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.pending).is_empty() { "" } else { "\u{FFFD}" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_character_split_anywhere_comes_out_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "\\PC{0,40}",
            sizes in proptest::collection::vec(1usize..7, 1..20),
        ) {
            for whole in [bytes.as_slice(), text.as_bytes()] {
                let mut joiner = Utf8Joiner::default();
                let mut out = String::new();
                let (mut rest, mut turn) = (whole, 0);
                while !rest.is_empty() {
                    let (chunk, more) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
                    out.push_str(&joiner.push(chunk));
                    (rest, turn) = (more, turn + 1);
                }
                out.push_str(joiner.finish());
                prop_assert_eq!(out, String::from_utf8_lossy(whole));
            }
        }
    }

    #[test]
    fn a_cut_never_splits_a_character_and_says_how_much_is_missing() {
        assert_eq!(cut("häßlich", 2), "h… [8 bytes more]");
        assert_eq!(cut("short", 5), "short");
    }

    #[test]
    fn a_list_is_cut_after_a_whole_line() {
        let mut text = String::from("one\ntwo\nthree\n");
        assert_eq!(cut_lines(&mut text, 9), 1);
        assert_eq!(text, "one\ntwo\n");
    }
}
