//! Chats and what belongs to them: messages, queue, operations, episodes.
//!
//! Every method that writes is one transaction whose first statement raises the chat's
//! `snapshot_version`, and so takes the lock of its row; a worker's fence stands in the `WHERE` of
//! that statement. The rules are the machine's ([`crate::chat::machine`]); this folder runs its
//! effects.

mod actions;
mod agents;
mod asked;
mod entries;
mod rows;

mod branches;
mod copy;
mod effects;
mod family;
mod guard;
mod limits;
mod names;
mod queue;
mod spend;

mod episodes;
mod read;
mod user;
mod worker;

pub use actions::{
    Acted, Decide, Decision, NewRule, OverdueCall, RuleRow, RuleScope, Settle, Verdict,
};
pub use agents::{AgentStep, NewAgent};
pub use asked::{
    ChatFilter, ChatListCursor, ChatPatch, ChatSnapshot, Checkpoint, Created, Delivery, Edited,
    Finished, MessagePage, NewChat, PageOf, SendMessage, Sent, Step, ToolStored,
};
pub use entries::{MessageRow, OperationPhase, OperationRow, QueuedRow};
pub use limits::{RunningLimits, Waiting};
pub use names::{NameDue, Names};
pub use rows::{Acquired, ChatRow, TitleSource, WorkerFence};
pub use spend::Spent;

use std::sync::{Arc, OnceLock};

use super::Base;

pub(super) const STATEMENTS: &[&[&str]] = &[
    guard::STATEMENTS,
    effects::STATEMENTS,
    queue::STATEMENTS,
    branches::STATEMENTS,
    actions::STATEMENTS,
    family::STATEMENTS,
    agents::STATEMENTS,
    spend::STATEMENTS,
    user::STATEMENTS,
    worker::STATEMENTS,
    limits::STATEMENTS,
    names::STATEMENTS,
    episodes::STATEMENTS,
    read::STATEMENTS,
];

/// The chats. Cheap to clone.
#[derive(Clone)]
pub struct ChatStore {
    base: Base,
    limits: Arc<OnceLock<RunningLimits>>,
}

impl ChatStore {
    pub(super) fn new(base: Base) -> Self {
        Self { base, limits: Arc::default() }
    }
}
