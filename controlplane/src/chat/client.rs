//! What a client makes of the events of one chat. `web/src/lib/live` has the same in TypeScript.
//!
//! Pure. A client that applies every event in order equals the database and the hub, whatever was
//! disconnected and resumed on the way; the tests of `stream` hold it to that.

use std::collections::BTreeMap;

use shared::ids::MessageId;

use super::content::{Part, Usage};
use super::event::{
    ActionView, ChatErrorView, ChatEvent, ChatHead, ChatStatus, Cursor, Envelope, MessageView,
    PreviewKind, PreviewPart, QueuedView,
};

/// A chat as a client knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientState {
    /// Pass it back to resume.
    pub cursor: Option<Cursor>,
    /// By id; shown in ascending order of `seq`.
    pub messages: BTreeMap<MessageId, MessageView>,
    /// The queue.
    pub queue: Vec<QueuedView>,
    /// The status.
    pub status: Option<ChatStatus>,
    /// Title, mode, model.
    pub head: Option<ChatHead>,
    /// The last error.
    pub error: Option<ChatErrorView>,
    /// What is asked of a person.
    pub actions: Vec<ActionView>,
    /// Answers of the open batch while it waits.
    pub results: Vec<Part>,
    /// The pause before the next attempt: how many failed, and why.
    pub retry: Option<(i64, ChatErrorView)>,
    /// Who was asked, who answers for the rest of the turn, and why.
    pub fallback: Option<(String, String, String)>,
    /// Tokens of the newest step.
    pub usage: Option<Usage>,
    /// The running episode, by part.
    pub preview: BTreeMap<u32, ClientPart>,
    /// The last sequence number that was applied to the preview.
    pub preview_seq: u64,
    /// Whether the snapshot after the last subscription is complete.
    pub ready: bool,
}

/// A part of the preview as a client knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPart {
    /// What it is.
    pub kind: PreviewKind,
    /// The call.
    pub tool_call_id: Option<String>,
    /// The tool's name.
    pub name: Option<String>,
    /// What was appended so far.
    pub text: String,
    /// The whole part, which replaces the text.
    pub value: Option<Part>,
}

impl ClientState {
    /// Applies one event.
    pub fn apply(&mut self, envelope: &Envelope) {
        match &envelope.event {
            ChatEvent::Message { message } => self.put_message(message),
            ChatEvent::MessageRemoved { id } => drop(self.messages.remove(id)),
            ChatEvent::Part { part } => self.put_part(part),
            ChatEvent::PreviewReset => {
                self.preview.clear();
                self.preview_seq = 0;
            }
            ChatEvent::Status { status } => {
                self.status = Some(*status);
                (self.retry, self.fallback) = (None, None);
            }
            ChatEvent::Queue { items } => self.queue.clone_from(items),
            ChatEvent::Retry { attempt, error, .. } => self.retry = Some((*attempt, error.clone())),
            ChatEvent::Results { items } => self.results.clone_from(items),
            ChatEvent::ActionRequired { actions } => self.actions.clone_from(actions),
            ChatEvent::Chat { chat } => self.head = Some(chat.clone()),
            ChatEvent::Usage { usage } => self.usage = Some(usage.clone()),
            ChatEvent::Error { error } => self.error.clone_from(error),
            ChatEvent::Resync { .. } => *self = Self::default(),
            ChatEvent::Ready => self.ready = true,
            ChatEvent::Fallback { selected_model, answered_by, reason } => {
                self.fallback = Some((selected_model.clone(), answered_by.clone(), reason.clone()));
            }
            ChatEvent::Ping => {}
        }
        self.cursor = Some(envelope.cursor);
    }

    /// The history in order.
    #[must_use]
    pub fn history(&self) -> Vec<&MessageView> {
        let mut messages: Vec<&MessageView> = self.messages.values().collect();
        messages.sort_by_key(|message| message.seq);
        messages
    }

    fn put_message(&mut self, message: &MessageView) {
        let known = self.messages.get(&message.id).map_or(i64::MIN, |known| known.revision);
        if known <= message.revision {
            self.messages.insert(message.id, message.clone());
        }
    }

    fn put_part(&mut self, piece: &PreviewPart) {
        if piece.seq <= self.preview_seq {
            return;
        }
        self.preview_seq = piece.seq;
        let part = self.preview.entry(piece.index).or_insert_with(|| ClientPart {
            kind: piece.kind,
            tool_call_id: None,
            name: None,
            text: String::new(),
            value: None,
        });
        if piece.tool_call_id.is_some() {
            part.tool_call_id.clone_from(&piece.tool_call_id);
        }
        if piece.name.is_some() {
            part.name.clone_from(&piece.name);
        }
        part.text.push_str(piece.delta.as_deref().unwrap_or_default());
        if piece.value.is_some() {
            part.value.clone_from(&piece.value);
            part.text.clear();
        }
    }
}
