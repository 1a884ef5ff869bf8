//! The execution state of a chat: computed, never stored.

use std::fmt;

use super::super::event::ChatStatus;

/// The columns from which the state follows. Counts are those of the chat's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The status.
    pub status: ChatStatus,
    /// Whether it is archived.
    pub archived: bool,
    /// Messages in the queue.
    pub queue: u32,
    /// Those of them that steer.
    pub steered: u32,
    /// Calls of the open batch without an answer; zero: no batch is open.
    pub unanswered: u32,
    /// Those of them that wait for a person or a client.
    pub awaited: u32,
    /// Whether a worker has it.
    pub owned: bool,
    /// Whether a worker waits before the next attempt.
    pub retrying: bool,
}

/// One of the thirteen states in which a chat may be, or none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExecutionState {
    /// There is no such chat yet.
    N,
    /// At rest.
    W,
    /// Stopped by an error, nothing queued.
    E0,
    /// Stopped by an error; the queue waits for the user.
    E1,
    /// A turn is in progress, nothing queued.
    R0,
    /// A turn is in progress, and messages wait.
    R1,
    /// A stop was asked for, nothing queued.
    I0,
    /// A stop was asked for, and the head of the queue comes next.
    I1,
    /// Waits for a person or a client, nothing queued.
    A0,
    /// Waits for a person or a client, and messages wait.
    A1,
    /// Archived at rest.
    XW,
    /// Archived after an error.
    XE0,
    /// Archived after an error, with a queue.
    XE1,
    /// The columns contradict each other.
    Invalid,
}

impl ExecutionState {
    /// Every valid state.
    pub const ALL: [Self; 13] = [
        Self::N,
        Self::W,
        Self::E0,
        Self::E1,
        Self::R0,
        Self::R1,
        Self::I0,
        Self::I1,
        Self::A0,
        Self::A1,
        Self::XW,
        Self::XE0,
        Self::XE1,
    ];

    /// The state of a chat with these facts.
    #[must_use]
    pub const fn of(facts: &Facts) -> Self {
        let empty = facts.queue == 0;
        let calls_fit = match facts.status {
            ChatStatus::Waiting | ChatStatus::Error => facts.unanswered == 0 && facts.awaited == 0,
            // What waits for people alone is for nobody to drive.
            ChatStatus::Running => {
                facts.awaited < facts.unanswered || facts.unanswered == 0 && facts.awaited == 0
            }
            ChatStatus::Interrupting => facts.awaited <= facts.unanswered,
            ChatStatus::RequiresAction => facts.awaited == facts.unanswered && facts.unanswered > 0,
        };
        if !calls_fit {
            return Self::Invalid;
        }
        match (facts.status, empty, facts.archived) {
            (ChatStatus::Waiting, true, false) => Self::W,
            (ChatStatus::Waiting, true, true) => Self::XW,
            (ChatStatus::Error, true, false) => Self::E0,
            (ChatStatus::Error, false, false) => Self::E1,
            (ChatStatus::Error, true, true) => Self::XE0,
            (ChatStatus::Error, false, true) => Self::XE1,
            (ChatStatus::Running, true, false) => Self::R0,
            (ChatStatus::Running, false, false) => Self::R1,
            (ChatStatus::Interrupting, true, false) => Self::I0,
            (ChatStatus::Interrupting, false, false) => Self::I1,
            (ChatStatus::RequiresAction, true, false) => Self::A0,
            (ChatStatus::RequiresAction, false, false) => Self::A1,
            (ChatStatus::Waiting, false, _)
            | (
                ChatStatus::Running | ChatStatus::Interrupting | ChatStatus::RequiresAction,
                _,
                true,
            ) => Self::Invalid,
        }
    }

    /// The short name, as in the drawing.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::N => "N",
            Self::W => "W",
            Self::E0 => "E0",
            Self::E1 => "E1",
            Self::R0 => "R0",
            Self::R1 => "R1",
            Self::I0 => "I0",
            Self::I1 => "I1",
            Self::A0 => "A0",
            Self::A1 => "A1",
            Self::XW => "XW",
            Self::XE0 => "XE0",
            Self::XE1 => "XE1",
            Self::Invalid => "invalid",
        }
    }

    /// Whether it waits for people, clients or agents.
    #[must_use]
    pub const fn is_awaiting(self) -> bool {
        matches!(self, Self::A0 | Self::A1)
    }

    /// Whether a worker has something to do: a turn to drive or a stop to carry out.
    #[must_use]
    pub const fn is_runnable(self) -> bool {
        matches!(self, Self::R0 | Self::R1 | Self::I0 | Self::I1)
    }
}

impl fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
