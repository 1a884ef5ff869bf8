//! What a process looks like from outside. The daemon's own type stops here.

use serde::Serialize;
use shared::ids::ProcessId;
use shared::protocol::process::{
    Exit, ProcessFacts, ProcessState, ProcessView as Wire, StopMeans, SystemProcess,
};
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
    /// Processes that still hold its output open after it ended.
    pub output_held_by: u32,
    /// What else is known of it.
    pub facts: Option<ProcessFactsView>,
    /// Why it was not started.
    pub error: Option<ProcessErrorView>,
}

/// What is known of a process besides where it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProcessFactsView {
    /// What it used, once it ended.
    pub usage: Option<UsageView>,
    /// The kernel killed something of it for want of memory.
    pub oom_killed: Option<OomView>,
    /// It was refused more processes.
    pub processes_refused: Option<PidsView>,
    /// Bytes of output that a full disk has cost; none: no disk was full.
    pub spool_full_bytes: Option<u64>,
    /// Who holds its output open after its end, at most 8.
    pub output_holders: Vec<SystemProcessView>,
    /// How it was stopped, if it was.
    pub stopped: Option<StoppedView>,
    /// By which means it is kept from changing anything, such as `landlock ABI 7, seccomp`; none: it is
    /// in no sandbox.
    pub sandbox: Option<String>,
}

/// What a process, and everything that it waited for, used.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct UsageView {
    /// Time in its own code.
    pub user_ms: u64,
    /// Time in the kernel.
    pub system_ms: u64,
    /// Most memory that one of them held at once.
    pub max_rss_bytes: u64,
}

/// Something of a process was killed for want of memory.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct OomView {
    /// How many were killed.
    pub kills: u64,
    /// The limit that was met; none: the machine's memory.
    pub limit_bytes: Option<u64>,
    /// Most that it used; none: not known.
    pub peak_bytes: Option<u64>,
}

/// A process was refused more processes.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct PidsView {
    /// How often.
    pub refused: u64,
    /// How many it may have; none: not known.
    pub limit: Option<u64>,
}

/// A process of the operating system, for people.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SystemProcessView {
    /// Its pid at the time of asking.
    pub os_pid: u32,
    /// Its command line, cut at 128 bytes.
    pub command: String,
}

/// How a process was stopped.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoppedView {
    /// The strongest means that was used: `signal`, `cgroup_kill`, `freeze_kill`, `walk`, `other`.
    pub means: &'static str,
    /// Processes that could not be ended; the kernel holds them.
    pub left: u32,
    /// Some of those, at most 8.
    pub survivors: Vec<SystemProcessView>,
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

/// Where a process stands, taken apart: what processes and PTYs show alike.
pub struct Standing {
    /// In one word.
    pub state: ProcessStateView,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit: Option<ExitView>,
    /// Why it was not started.
    pub error: Option<ProcessErrorView>,
    /// Processes that hold its output after its end.
    pub output_held_by: u32,
}

impl From<ProcessState> for Standing {
    fn from(state: ProcessState) -> Self {
        let nothing = Self {
            state: ProcessStateView::Running,
            ended_at: None,
            exit: None,
            error: None,
            output_held_by: 0,
        };
        match state {
            ProcessState::Running => nothing,
            ProcessState::Exited { exit, ended_at_ms, output_held_by } => Self {
                state: ProcessStateView::Exited,
                ended_at: Some(Timestamp(ended_at_ms)),
                exit: Some(match exit {
                    Exit::Code { code } => ExitView::Code { code },
                    Exit::Signal { signal, core } => ExitView::Signal { signal, core },
                }),
                output_held_by,
                ..nothing
            },
            ProcessState::NotStarted { error } => Self {
                state: ProcessStateView::NotStarted,
                error: Some(ProcessErrorView { code: error.code, message: error.message }),
                ..nothing
            },
            ProcessState::Lost { noticed_at_ms } => Self {
                state: ProcessStateView::Lost,
                ended_at: Some(Timestamp(noticed_at_ms)),
                ..nothing
            },
        }
    }
}

impl From<ProcessFacts> for ProcessFactsView {
    fn from(wire: ProcessFacts) -> Self {
        Self {
            usage: wire.usage.map(|usage| UsageView {
                user_ms: usage.user_ms,
                system_ms: usage.system_ms,
                max_rss_bytes: usage.max_rss_bytes,
            }),
            oom_killed: wire.oom_killed.map(|oom| OomView {
                kills: oom.kills,
                limit_bytes: oom.limit_bytes,
                peak_bytes: oom.peak_bytes,
            }),
            processes_refused: wire
                .pids_limit
                .map(|pids| PidsView { refused: pids.refused, limit: pids.limit }),
            spool_full_bytes: wire.spool_full,
            output_holders: wire.output_holders.into_iter().map(SystemProcessView::from).collect(),
            stopped: wire.stopped.map(|stopped| StoppedView {
                means: match stopped.means {
                    StopMeans::Signal => "signal",
                    StopMeans::CgroupKill => "cgroup_kill",
                    StopMeans::FreezeKill => "freeze_kill",
                    StopMeans::Walk => "walk",
                    StopMeans::Other => "other",
                },
                left: stopped.left,
                survivors: stopped.survivors.into_iter().map(SystemProcessView::from).collect(),
            }),
            sandbox: wire.sandbox.map(|sandbox| sandbox.to_string()),
        }
    }
}

impl From<SystemProcess> for SystemProcessView {
    fn from(wire: SystemProcess) -> Self {
        Self { os_pid: wire.pid, command: wire.command }
    }
}

impl From<Wire> for ProcessView {
    fn from(wire: Wire) -> Self {
        let Standing { state, ended_at, exit, error, output_held_by } = wire.state.into();
        Self {
            id: wire.process_id,
            command: wire.command,
            cwd: wire.cwd,
            chat_id: wire.chat_id,
            state,
            os_pid: wire.os_pid,
            started_at: Timestamp(wire.started_at_ms),
            ended_at,
            exit,
            output_total: wire.output_total,
            dropped_from: wire.dropped_from,
            dropped_to: wire.dropped_to,
            output_held_by,
            facts: wire.facts.map(|facts| (*facts).into()),
            error,
        }
    }
}
