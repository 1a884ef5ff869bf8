//! What people said in the part of a history that a summary stands for: it is kept word for word.
//! Pure.

use super::marks::is_said;
use crate::chat::content::Part;
use crate::store::chats::MessageRow;

/// Most bytes of earlier messages that are kept beside the newest one.
const EARLIER_BYTES: usize = 16 * 1024;
/// Most earlier messages.
const EARLIER: usize = 8;

/// The texts that people said up to `through_seq`, in order: the newest message whole, earlier ones
/// as far as there is room, newest first.
#[must_use]
pub fn kept(history: &[MessageRow], through_seq: i64) -> Vec<&str> {
    let said = history.iter().rev().filter(|row| row.seq <= through_seq && is_said(row));
    let mut room = EARLIER_BYTES;
    let mut messages: Vec<Vec<&str>> = Vec::new();
    for row in said.take(EARLIER + 1) {
        let texts: Vec<&str> = row
            .content
            .iter()
            .filter_map(|stored| match &stored.part {
                Part::Text { text } if !text.trim().is_empty() => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let bytes = texts.iter().map(|text| text.len()).sum::<usize>();
        if !messages.is_empty() {
            let Some(left) = room.checked_sub(bytes) else { break };
            room = left;
        }
        messages.push(texts);
    }
    messages.into_iter().rev().flatten().collect()
}
