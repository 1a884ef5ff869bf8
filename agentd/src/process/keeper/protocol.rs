//! What a keeper and a daemon say to each other: frames of `shared::wire` over a Unix socket.
//!
//! A keeper may be older or younger than the daemon that finds it: fields and variants are added
//! only, unknown fields are ignored, and an unknown message is passed over. The first message of a
//! keeper carries its version.
//!
//! ```text
//! daemon ◄── Hello, then Status whenever something changed ── keeper      (at most a few unseen)
//!        ──► Seen, Input + raw frames, Type + raw frames, Resize, Signal, Stop, Release ──►
//!        ◄── Written, Typed, Resized, Signalled, Stopped ──
//! ```

use serde::{Deserialize, Serialize};
use shared::ids::{OpId, ProcessId};
use shared::protocol::process::{Exit, ProcessFacts, Stopped};
use shared::protocol::pty::PtySize;

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
        /// Of a terminal: who typed, up to which number; who typed last stands last.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        typed: Vec<Typed>,
    },
    /// Everything as it is now; absolute, so that a later one replaces an earlier one.
    Status(Box<Status>),
    /// What became of an [`Asked::Input`].
    Written { ask: u64, written: u64, outcome: InputOutcome },
    /// What became of an [`Asked::Type`].
    Typed { ask: u64, outcome: TypingOutcome },
    /// An [`Asked::Resize`] was done.
    Resized { ask: u64, terminal: TerminalStatus },
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
    /// Of a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::process) terminal: Option<TerminalStatus>,
    /// The last bytes of the output, which are in the log as well: few, or none.
    #[serde(default, with = "shared::wire::bytes", skip_serializing_if = "Vec::is_empty")]
    pub(in crate::process) fresh: Vec<u8>,
}

/// What there is of a terminal besides its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct TerminalStatus {
    /// Now.
    pub(in crate::process) size: PtySize,
    /// Sizes on record beside the log, this one included.
    pub(in crate::process) sizes: u64,
}

/// Everything of one viewer up to a number was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Typed {
    pub(in crate::process) viewer: String,
    pub(in crate::process) seq: u64,
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
    /// Whether its sandbox could not be made or entered.
    #[serde(default)]
    pub(in crate::process) is_sandbox: bool,
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

/// How typing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::process) enum TypingOutcome {
    /// The terminal has it, or had it before.
    Done,
    /// The program has ended.
    Closed,
    /// Too much waits already; it was not taken.
    Full,
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
    /// Type the `len` bytes that follow in raw frames, unless `seq` was typed for `viewer` before.
    Type { ask: u64, viewer: String, seq: u64, len: u64 },
    /// Give the terminal another size.
    Resize { ask: u64, size: PtySize },
    /// Signal the group while its leader is there. The same operation signals once.
    Signal { ask: u64, op: Option<OpId>, number: i32 },
    /// End the leader and everything that it started: ask, wait, kill. Goes on without the daemon.
    Stop { ask: u64, grace_ms: u64 },
    /// Everything is on record elsewhere: leave.
    Release,
}
