//! What the process records say, as MessagePack with field names, so that a later version can add.

use serde::{Deserialize, Serialize};
use shared::ids::{OpId, ProcessId};
use shared::protocol::WireError;
use shared::protocol::process::{Exit, ProcessFacts, SandboxFacts};

use super::terminal::StartedTerminal;

/// One record. Applying the same one twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// Durable before the program is executed.
    Started(Started),
    /// Which process of the operating system it is. May be lost in a crash.
    Running { process: ProcessId, pid: u32, start_time: u64, boot_id: String },
    /// It was not executed.
    NotStarted { process: ProcessId, error: WireError },
    /// Durable before anybody is told that its leader ended.
    Exited { process: ProcessId, exit: Exit, at_ms: i64 },
    /// Its output is complete. May be lost in a crash.
    Complete { process: ProcessId, total: u64 },
    /// What it used, what ran out, how it was stopped; a later one replaces an earlier one. May be lost
    /// in a crash.
    Facts { process: ProcessId, facts: ProcessFacts },
    /// Its keeper ended before it.
    Lost { process: ProcessId, at_ms: i64 },
    /// It was entered and provably never executed: as if it had not been entered.
    NeverRan { process: ProcessId },
    /// Its record and its output were dropped.
    Pruned { process: ProcessId, ended_at_ms: i64 },
}

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) process: ProcessId,
    pub(super) op: OpId,
    pub(super) command: String,
    pub(super) cwd: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chat: Option<String>,
    pub(super) at_ms: i64,
    /// Names the boot of the machine; empty in records of a daemon without keepers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) boot_id: String,
    /// Present when it has a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) terminal: Option<StartedTerminal>,
    /// Present when it runs in a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sandbox: Option<SandboxFacts>,
}

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        shared::wire::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match shared::wire::decode(bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(%error, "a process record of a newer version is passed over");
                None
            }
        }
    }
}
