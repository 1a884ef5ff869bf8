//! What a process looks like from outside. The daemon's own type stops here.

use serde::Serialize;
use shared::ids::ProcessId;
use shared::protocol::process::{Exit, ProcessState, ProcessView as Wire};
use utoipa::ToSchema;

use crate::time::Timestamp;

/// A process.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProcessView {
    /// Its id; never the operating system's.
    #[schema(value_type = String)]
    pub id: ProcessId,
    /// The command line, for people, cut at 1,024 bytes.
    pub command: String,
    /// Absolute working directory.
    pub cwd: String,
    /// The chat it runs for; none: a person's.
    pub chat_id: Option<String>,
    /// Where it stands.
    pub state: ProcessStateView,
    /// The operating system's pid, while it runs; for people.
    pub os_pid: Option<u32>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit: Option<ExitView>,
    /// Bytes of output so far.
    pub output_total: u64,
    /// What was dropped: from this offset …
    pub dropped_from: u64,
    /// … to this one, exclusive. Equal: nothing was.
    pub dropped_to: u64,
    /// Why it was not started.
    pub error: Option<ProcessErrorView>,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessStateView {
    /// It runs.
    Running,
    /// It ended.
    Exited,
    /// It could not be started.
    NotStarted,
    /// Its supervisor is gone, and nobody knows how it ended.
    Lost,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ExitView {
    /// It called exit.
    Code {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signal {
        /// Its number.
        signal: i32,
        /// Whether it left a core file.
        core: bool,
    },
}

/// Why a process was not started.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProcessErrorView {
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
}

impl From<Wire> for ProcessView {
    fn from(wire: Wire) -> Self {
        let (state, ended_at, exit, error) = match wire.state {
            ProcessState::Running => (ProcessStateView::Running, None, None, None),
            ProcessState::Exited { exit, ended_at_ms, .. } => {
                let exit = match exit {
                    Exit::Code { code } => ExitView::Code { code },
                    Exit::Signal { signal, core } => ExitView::Signal { signal, core },
                };
                (ProcessStateView::Exited, Some(ended_at_ms), Some(exit), None)
            }
            ProcessState::NotStarted { error } => {
                let error = ProcessErrorView { code: error.code, message: error.message };
                (ProcessStateView::NotStarted, None, None, Some(error))
            }
            ProcessState::Lost { noticed_at_ms } => {
                (ProcessStateView::Lost, Some(noticed_at_ms), None, None)
            }
        };
        Self {
            id: wire.process_id,
            command: wire.command,
            cwd: wire.cwd,
            chat_id: wire.chat_id,
            state,
            os_pid: wire.os_pid,
            started_at: Timestamp(wire.started_at_ms),
            ended_at: ended_at.map(Timestamp),
            exit,
            output_total: wire.output_total,
            dropped_from: wire.dropped_from,
            dropped_to: wire.dropped_to,
            error,
        }
    }
}
