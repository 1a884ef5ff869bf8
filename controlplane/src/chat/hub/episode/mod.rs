//! One episode's preview: what the model or the tools have said so far, as a log that any reader
//! can join or resume.
//!
//! ```text
//!  seq:   floor          reader's place          last
//!           │ (0,"Let") (0," me") │ (1,{"cmd":) (1,"ls"}) …
//!           └──────── sent ───────┴── one event per run of the same part ──►
//! ```
//!
//! Entries are kept in the order in which they were said, and a reader is sent the entries after
//! its place with neighbours of the same part merged. So every event covers an unbroken range of
//! sequence numbers, and a connection may be cut after any of them. A reader whose place is not
//! between `floor` and `last` gets a reset and everything from `floor`.
//!
//! Sequence numbers begin at the owner's epoch times 2^32: a place in the preview of a former owner
//! is never mistaken for one in ours. They stay under 2^53, which JavaScript holds exactly.
//!
//! Size: the model's text is kept whole (an interrupt saves it). The live output of tools is cut to
//! its end when the log has grown ([`Episode::compact`] then moves `floor`).
//!
//! Pure: no lock, no clock. [`super::Channel`] guards it.

use crate::chat::content::{Part, StoredPart};
use crate::chat::event::{PreviewKind, PreviewPart};

/// End of a running tool's live output that is kept when the log is compacted.
const LIVE_TAIL_BYTES: usize = 64 * 1024;
/// Growth of the log over what must be kept, before it is compacted.
const SLACK_BYTES: usize = 512 * 1024;
/// What an entry costs beside its text.
const ENTRY_BYTES: usize = 48;

/// Which episode: parts belong to (chat, history version, attempt).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EpisodeKey {
    /// The chat's history version.
    pub history: i64,
    /// The attempt; zero while the tools of a step run.
    pub attempt: i64,
}

/// Something to add to an episode.
#[derive(Clone, Debug)]
pub enum Piece<'a> {
    /// A part begins. Only needed for tool calls and tools.
    Start {
        /// Which part.
        index: u32,
        /// What it is.
        kind: PreviewKind,
        /// The call.
        tool_call_id: &'a str,
        /// The tool's name.
        name: &'a str,
    },
    /// Text to append; begins the part if need be. Ignored after the part's end.
    Delta {
        /// Which part.
        index: u32,
        /// What it is.
        kind: PreviewKind,
        /// The piece.
        text: &'a str,
    },
    /// The part is complete.
    Done {
        /// Which part.
        index: u32,
        /// The whole part.
        part: StoredPart,
    },
}

/// What one reader is sent.
#[derive(Debug, Default, PartialEq)]
pub struct Walk {
    /// Whether the reader must drop what it has first.
    pub reset: bool,
    /// In order.
    pub parts: Vec<PreviewPart>,
    /// The reader's new place.
    pub seq: u64,
}

/// The log and what it adds up to.
#[derive(Debug)]
pub struct Episode {
    key: EpisodeKey,
    parts: Vec<PartState>,
    log: Vec<Entry>,
    floor: u64,
    log_bytes: usize,
    /// Size of the log at which compaction is thought about again.
    compact_at: usize,
    model_bytes: usize,
}

#[derive(Debug)]
struct PartState {
    index: u32,
    kind: PreviewKind,
    tool_call_id: Option<String>,
    name: Option<String>,
    text: String,
    done: Option<StoredPart>,
}

/// What was said with one sequence number.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Place in `parts`.
    part: u32,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Start,
    /// Bytes of the part's text.
    Delta {
        start: usize,
        end: usize,
    },
    Value,
}

impl Episode {
    /// An empty episode of the owner with `epoch`.
    #[must_use]
    pub fn new(key: EpisodeKey, epoch: u64) -> Self {
        let floor = (epoch & 0x001f_ffff) << 32;
        Self {
            key,
            parts: Vec::new(),
            log: Vec::new(),
            floor,
            log_bytes: 0,
            compact_at: SLACK_BYTES,
            model_bytes: 0,
        }
    }

    /// Which episode it is.
    #[must_use]
    pub fn key(&self) -> EpisodeKey {
        self.key
    }

    /// The newest sequence number; the floor of an empty episode.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.floor + self.log.len() as u64
    }

    /// Bytes of text that the model has said (live output of tools not counted).
    #[must_use]
    pub fn model_bytes(&self) -> usize {
        self.model_bytes
    }

    /// Adds `piece`; the bytes it adds for readers.
    pub fn push(&mut self, piece: Piece<'_>) -> usize {
        match piece {
            Piece::Start { index, kind, tool_call_id, name } => {
                let part = self.part_at(index, kind);
                let state = &mut self.parts[part];
                state.tool_call_id = Some(tool_call_id.to_owned());
                state.name = Some(name.to_owned());
                self.record(part, What::Start, tool_call_id.len() + name.len())
            }
            Piece::Delta { index, kind, text } => self.append(index, kind, text),
            Piece::Done { index, part } => self.finish(index, part),
        }
    }

    fn append(&mut self, index: u32, kind: PreviewKind, text: &str) -> usize {
        let part = self.part_at(index, kind);
        let state = &mut self.parts[part];
        if state.done.is_some() || text.is_empty() {
            return 0;
        }
        let start = state.text.len();
        state.text.push_str(text);
        let end = state.text.len();
        if state.kind != PreviewKind::ToolResult {
            self.model_bytes += text.len();
        }
        let added = self.record(part, What::Delta { start, end }, text.len());
        self.compact_if_due();
        added
    }

    fn finish(&mut self, index: u32, done: StoredPart) -> usize {
        let kind = kind_of(&done.part);
        let part = self.part_at(index, kind);
        let state = &mut self.parts[part];
        if let Part::ToolCall { tool_call_id, name, .. }
        | Part::ToolResult { tool_call_id, name, .. } = &done.part
        {
            state.tool_call_id.get_or_insert_with(|| tool_call_id.clone());
            state.name.get_or_insert_with(|| name.clone());
        }
        // Text that was streamed whole needs no repetition.
        let said = matches!(&done.part, Part::Text { text } | Part::Reasoning { text } if *text == state.text);
        let size = weight(&done.part);
        state.done = Some(done);
        let added = if said { 0 } else { self.record(part, What::Value, size) };
        self.compact_if_due();
        added
    }

    /// What a reader at `seq` is to be sent, up to about `max_bytes` of text.
    #[must_use]
    pub fn since(&self, seq: u64, max_bytes: usize) -> Walk {
        let reset = seq < self.floor || seq > self.last_seq();
        let mut at = if reset { self.floor } else { seq };
        let mut walk = Walk { reset, ..Walk::default() };
        let mut bytes = 0;
        while at < self.last_seq() && bytes < max_bytes {
            let (preview, next) = self.run_from(at, max_bytes - bytes);
            bytes += ENTRY_BYTES
                + preview.delta.as_ref().map_or(0, String::len)
                + preview.value.as_ref().map_or(0, weight);
            walk.parts.push(preview);
            at = next;
        }
        walk.seq = at;
        walk
    }

    /// One event: the entries after `seq` that belong together, and the seq of the last of them.
    fn run_from(&self, seq: u64, max_bytes: usize) -> (PreviewPart, u64) {
        let begin = usize::try_from(seq - self.floor).unwrap_or(usize::MAX);
        let first = self.log[begin];
        let state = &self.parts[first.part as usize];
        let (mut name, mut range, mut value) = (None, None, None);
        let mut taken = 0;
        for entry in self.log[begin..].iter().take_while(|entry| entry.part == first.part) {
            match entry.what {
                What::Start if taken == 0 => name.clone_from(&state.name),
                What::Delta { start, end } => match &mut range {
                    None => range = Some((start, end)),
                    Some((from, to)) if end - *from <= max_bytes => *to = end,
                    Some(_) => break,
                },
                What::Value if taken == 0 => {
                    value = state.done.as_ref().map(|done| done.part.clone());
                }
                What::Start | What::Value => break,
            }
            taken += 1;
            if value.is_some() {
                break;
            }
        }
        let last = seq + taken;
        let preview = PreviewPart {
            history_version: self.key.history,
            attempt: self.key.attempt,
            seq: last,
            index: state.index,
            kind: state.kind,
            tool_call_id: state.tool_call_id.clone(),
            name: name.or_else(|| value.is_some().then(|| state.name.clone()).flatten()),
            delta: range.map(|(from, to)| state.text[from..to].to_owned()),
            value,
        };
        (preview, last)
    }

    /// The model's parts as they are to be stored if nothing more comes: complete ones as they
    /// are; open text as far as it came; an open call only if its arguments are an object.
    #[must_use]
    pub fn partial(&self) -> Vec<StoredPart> {
        self.in_order().filter_map(PartState::partial).collect()
    }

    /// The parts that are complete, in order of their index.
    #[must_use]
    pub fn complete(&self) -> Vec<StoredPart> {
        self.in_order().filter_map(|state| state.done.clone()).collect()
    }

    fn in_order(&self) -> impl Iterator<Item = &PartState> {
        let mut parts: Vec<&PartState> = self.parts.iter().collect();
        parts.sort_by_key(|state| state.index);
        parts.into_iter()
    }

    fn part_at(&mut self, index: u32, kind: PreviewKind) -> usize {
        // The part that speaks is nearly always the newest.
        if let Some(at) = self.parts.iter().rposition(|state| state.index == index) {
            return at;
        }
        self.parts.push(PartState {
            index,
            kind,
            tool_call_id: None,
            name: None,
            text: String::new(),
            done: None,
        });
        self.parts.len() - 1
    }

    fn record(&mut self, part: usize, what: What, bytes: usize) -> usize {
        let part = u32::try_from(part).unwrap_or(u32::MAX);
        self.log.push(Entry { part, what });
        self.log_bytes += bytes + ENTRY_BYTES;
        bytes + ENTRY_BYTES
    }

    fn compact_if_due(&mut self) {
        if self.log_bytes <= self.compact_at {
            return;
        }
        let kept: usize = self.parts.iter().map(PartState::kept_bytes).sum();
        // Twice what is kept: so that the work stays proportional to what was said.
        self.compact_at = 2 * kept + SLACK_BYTES;
        if self.log_bytes > self.compact_at {
            self.compact();
        }
    }

    /// Rewrites the log as one entry per part and moves the floor: readers begin again.
    fn compact(&mut self) {
        self.floor = self.last_seq();
        self.log.clear();
        self.log_bytes = 0;
        for part in 0..self.parts.len() {
            let state = &mut self.parts[part];
            let (ended, streamed) = (state.done.is_some(), state.trim());
            if state.tool_call_id.is_some() && !ended {
                self.record(part, What::Start, 0);
            }
            if streamed > 0 {
                self.record(part, What::Delta { start: 0, end: streamed }, streamed);
            } else if ended {
                let size = self.parts[part].done.as_ref().map_or(0, |done| weight(&done.part));
                self.record(part, What::Value, size);
            }
        }
    }
}

impl PartState {
    /// Text that must be sent to a fresh reader.
    fn kept_bytes(&self) -> usize {
        let text = match (&self.done, self.kind) {
            (None, PreviewKind::ToolResult) => self.text.len().min(LIVE_TAIL_BYTES),
            (None, _) => self.text.len(),
            (Some(done), _) => weight(&done.part),
        };
        text + 2 * ENTRY_BYTES
    }

    /// Drops what no fresh reader needs; the length of the text that is left.
    fn trim(&mut self) -> usize {
        if self.done.is_some() {
            self.text = String::new();
        } else if self.kind == PreviewKind::ToolResult && self.text.len() > LIVE_TAIL_BYTES {
            let cut = self.text.ceil_char_boundary(self.text.len() - LIVE_TAIL_BYTES);
            self.text.drain(..cut);
            self.text.shrink_to_fit();
        }
        self.text.len()
    }

    fn partial(&self) -> Option<StoredPart> {
        if let Some(done) = &self.done {
            return Some(done.clone());
        }
        let text = self.text.clone();
        let part = match self.kind {
            PreviewKind::Text if !text.is_empty() => Part::Text { text },
            PreviewKind::Reasoning if !text.is_empty() => Part::Reasoning { text },
            PreviewKind::ToolCall => Part::ToolCall {
                tool_call_id: self.tool_call_id.clone()?,
                name: self.name.clone()?,
                args: serde_json::from_str::<serde_json::Map<_, _>>(&text).ok()?.into(),
            },
            PreviewKind::Text
            | PreviewKind::Reasoning
            | PreviewKind::ToolResult
            // Half a summary is of no use to anybody.
            | PreviewKind::Compaction => return None,
        };
        Some(part.into())
    }
}

fn kind_of(part: &Part) -> PreviewKind {
    match part {
        Part::Reasoning { .. } => PreviewKind::Reasoning,
        Part::ToolCall { .. } => PreviewKind::ToolCall,
        Part::ToolResult { .. } => PreviewKind::ToolResult,
        Part::Text { .. } | Part::File { .. } | Part::Notice { .. } | Part::AgentReport { .. } => {
            PreviewKind::Text
        }
        Part::Compaction { .. } => PreviewKind::Compaction,
    }
}

/// About how many bytes a part takes as JSON; exact enough for limits.
fn weight(part: &Part) -> usize {
    fn of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::String(text) => text.len() + 2,
            serde_json::Value::Array(items) => {
                2 + items.iter().map(|item| of(item) + 1).sum::<usize>()
            }
            serde_json::Value::Object(fields) => {
                2 + fields.iter().map(|(key, item)| key.len() + 4 + of(item)).sum::<usize>()
            }
            _ => 8,
        }
    }
    ENTRY_BYTES
        + match part {
            Part::Text { text }
            | Part::Reasoning { text }
            | Part::Notice { text, .. }
            | Part::AgentReport { text, .. } => text.len(),
            Part::File { file } => file.name.len() + 256,
            Part::Compaction { mark } => mark.summary.len(),
            Part::ToolCall { args, .. } => of(args),
            Part::ToolResult { result, .. } => of(result),
        }
}

mod copy;
#[cfg(test)]
mod tests;

pub use copy::{EntryCopy, EpisodeCopy};
