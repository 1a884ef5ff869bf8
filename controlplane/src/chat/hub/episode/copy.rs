//! An episode entry by entry, for a copy of it on another replica.
//!
//! A copy has the same sequence numbers as its source and never compacts by itself: when the source
//! does, its floor moves, and the copy is made anew.

use serde::{Deserialize, Serialize};

use super::{Entry, Episode, EpisodeKey, What};
use crate::chat::content::{Part, StoredPart};
use crate::chat::event::PreviewKind;

/// What was said with one sequence number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryCopy {
    /// Which part of the preview.
    pub index: u32,
    /// What the part is.
    pub kind: PreviewKind,
    /// The call, of a part that begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The tool's name, of a part that begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Text to append.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<String>,
    /// The whole part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Part>,
}

/// The entries after some place.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeCopy {
    /// Which episode.
    pub key: EpisodeKey,
    /// The place was not in this log: what was copied before is dropped.
    pub reset: bool,
    /// The sequence number before the first entry that there is.
    pub floor: u64,
    /// In order, one sequence number each.
    pub entries: Vec<EntryCopy>,
    /// Of the last of them.
    pub seq: u64,
}

impl Episode {
    /// An empty copy of an episode whose first entry comes after `floor`.
    #[must_use]
    pub fn copy_of(key: EpisodeKey, floor: u64) -> Self {
        Self { floor, ..Self::new(key, 0) }
    }

    /// The sequence number before the first entry.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The entries after `seq`, up to about `max_bytes` of text; at least one, if there is one.
    #[must_use]
    pub fn copy_since(&self, seq: u64, max_bytes: usize) -> EpisodeCopy {
        let reset = seq < self.floor || seq > self.last_seq();
        let mut at = if reset { self.floor } else { seq };
        let mut entries = Vec::new();
        let mut bytes = 0;
        while at < self.last_seq() && bytes < max_bytes {
            let begin = usize::try_from(at - self.floor).unwrap_or(usize::MAX);
            let entry = self.copy_entry(self.log[begin]);
            bytes += super::ENTRY_BYTES
                + entry.delta.as_ref().map_or(0, String::len)
                + entry.value.as_ref().map_or(0, super::weight);
            entries.push(entry);
            at += 1;
        }
        EpisodeCopy { key: self.key(), reset, floor: self.floor, entries, seq: at }
    }

    fn copy_entry(&self, Entry { part, what }: Entry) -> EntryCopy {
        let state = &self.parts[part as usize];
        let mut copy = EntryCopy {
            index: state.index,
            kind: state.kind,
            tool_call_id: None,
            name: None,
            delta: None,
            value: None,
        };
        match what {
            What::Start => {
                copy.tool_call_id.clone_from(&state.tool_call_id);
                copy.name.clone_from(&state.name);
            }
            What::Delta { start, end } => copy.delta = Some(state.text[start..end].to_owned()),
            What::Value => copy.value = state.done.as_ref().map(|done| done.part.clone()),
        }
        copy
    }

    /// Adds an entry of the source under its next sequence number; the bytes it adds for readers.
    pub fn absorb(&mut self, entry: EntryCopy) -> usize {
        let part = self.part_at(entry.index, entry.kind);
        let state = &mut self.parts[part];
        if let Some(value) = entry.value {
            if let Part::ToolCall { tool_call_id, name, .. }
            | Part::ToolResult { tool_call_id, name, .. } = &value
            {
                state.tool_call_id.get_or_insert_with(|| tool_call_id.clone());
                state.name.get_or_insert_with(|| name.clone());
            }
            let size = super::weight(&value);
            state.done = Some(StoredPart::from(value));
            return self.record(part, What::Value, size);
        }
        if let Some(delta) = entry.delta {
            let start = state.text.len();
            state.text.push_str(&delta);
            let end = state.text.len();
            return self.record(part, What::Delta { start, end }, delta.len());
        }
        state.tool_call_id = entry.tool_call_id.or(state.tool_call_id.take());
        state.name = entry.name.or(state.name.take());
        self.record(part, What::Start, 0)
    }
}
