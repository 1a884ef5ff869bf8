//! What a keeper and a daemon say to each other: frames of `shared::wire` over a Unix socket.
//!
//! A keeper may be older or younger than the daemon that finds it: fields and variants are added
//! only, unknown fields are ignored, and an unknown message is passed over. The first message of a
//! keeper carries its version.
//!
//! ```text
//! daemon ◄── Hello, then Status whenever something changed ── keeper      (at most a few unseen)
//!        ──► Seen, Input + raw frames, Signal, Stop, Release ──►
//!        ◄── Written, Signalled, Stopped ──
//! ```

use serde::{Deserialize, Serialize};
use shared::ids::{OpId, ProcessId};
use shared::protocol::process::{Exit, ProcessFacts, Stopped};

use crate::process::log::LogState;

/// Of this file. Raised when a message gets a new meaning, which it should not.
pub(in crate::process) const VERSION: u16 = 1;
/// [`VERSION`]; in a debug build another one when `HOLDFAST_KEEPER_VERSION` asks for it, so that a
/// test has neighbours of other versions.
pub(super) fn own_version() -> u16 {
    #[cfg(debug_assertions)]
    if let Some(asked) = std::env::var("HOLDFAST_KEEPER_VERSION").ok().and_then(|v| v.parse().ok())
    {
        return asked;
    }
    VERSION
}

/// Statuses that a keeper sends before the daemon has seen the first of them.
pub(super) const UNSEEN_MAX: u32 = 4;

/// A keeper to a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::process) enum Said {
    /// First, once.
    Hello {
        /// See [`VERSION`].
        version: u16,
        /// Whom it keeps.
        process: ProcessId,
        /// Its own pid.
        keeper: u32,
        /// Whether standard input is open.
        has_input: bool,
        /// Whether it understands [`Asked::Stop`].
        #[serde(default)]
        can_stop: bool,
    },
    /// Everything as it is now; absolute, so that a later one replaces an earlier one.
    Status(Box<Status>),
    /// What became of an [`Asked::Input`].
    Written { ask: u64, written: u64, outcome: InputOutcome },
    /// What became of an [`Asked::Signal`].
    Signalled { ask: u64, is_sent: bool },
    /// What became of an [`Asked::Stop`].
    Stopped { ask: u64, stopped: Stopped },
}

/// Everything as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Status {
    pub(in crate::process) life: Life,
    pub(in crate::process) output: LogState,
    /// Inodes of the output pipes.
    #[serde(default)]
    pub(in crate::process) pipes: Vec<u64>,
    /// What it used, and whether memory or processes ran out; as far as it is known by now.
    #[serde(default)]
    pub(in crate::process) facts: ProcessFacts,
}

/// Where the leader stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::process) enum Life {
    /// Not executed yet.
    Preparing,
    /// Never will be.
    NotExecuted(Refusal),
    /// It runs.
    Running(Leader),
    /// It ended.
    Ended {
        leader: Leader,
        exit: Exit,
        /// Milliseconds ago, by a clock that does not jump.
        ago_ms: u64,
    },
}

/// A process of the operating system, for ever: boot, pid and start time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Leader {
    pub(in crate::process) pid: u32,
    pub(in crate::process) start_time: u64,
    pub(in crate::process) boot_id: String,
}

/// Why the operating system did not execute the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Refusal {
    /// Whether `execve` itself refused; else something before it.
    pub(in crate::process) is_exec: bool,
    pub(in crate::process) errno: i32,
}

/// How a write to standard input went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::process) enum InputOutcome {
    /// All of it was taken.
    Done,
    /// Nobody reads any more, or it was closed before.
    Closed,
    /// It was not read for too long.
    Blocked,
}

/// A daemon to a keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::process) enum Asked {
    /// One status was taken in.
    Seen {
        /// The workspace keeps too much output: keep as little as can be.
        squeeze: bool,
    },
    /// Write the `len` bytes that follow in raw frames. The same operation is written once.
    Input { ask: u64, op: OpId, len: u64, close: bool },
    /// Signal the group while its leader is there. The same operation signals once.
    Signal { ask: u64, op: Option<OpId>, number: i32 },
    /// End the leader and everything that it started: ask, wait, kill. Goes on without the daemon.
    Stop { ask: u64, grace_ms: u64 },
    /// Everything is on record elsewhere: leave.
    Release,
}
