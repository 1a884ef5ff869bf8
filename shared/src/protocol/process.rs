//! Processes: start, watch, read, signal.
//!
//! Output is one ordered log of bytes per process, both streams together. Offset 0 is the first
//! byte ever written; an offset keeps its meaning after bytes in the middle were dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::call::methods;
use crate::ids::ProcessId;

/// Starts a process. The answer comes when it runs, or could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartProcess {
    /// Chosen by the control plane, so that a repeated start names the same process.
    pub process_id: ProcessId,
    /// What to run.
    pub program: Program,
    /// Relative to the workspace's root, or absolute inside it; none: the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Added to the daemon's allow-listed environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Standard input: closed, these bytes and then closed, or kept open.
    #[serde(default)]
    pub stdin: Stdin,
    /// Why it runs, as the agent's `chat_…` id; empty for a person's. Shown in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// Bytes of output kept before the middle is dropped; none: the default of `limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_kept_bytes: Option<u64>,
}

/// Starts a process in a sandbox, or not at all.
///
/// A method of its own and not a field of [`StartProcess`]: a daemon that does not know it answers
/// `unsupported` and runs nothing, where it would have passed over a field and run it without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartSandboxed {
    /// What to start. `TMPDIR` is the sandbox's own.
    pub start: StartProcess,
    /// What it may not do. One that the daemon does not know is refused with `invalid_request`.
    pub sandbox: SandboxKind,
}

/// What a sandbox keeps a process from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxKind {
    /// It reads what its user may read, and writes only below a directory of its own that is removed
    /// at its end; it has no network, reaches no process that it did not start, gains no
    /// privilege, and nothing of it outlives it.
    ReadOnly,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Program {
    /// A command line for the POSIX shell: `sh -c`.
    Shell {
        /// The text.
        command: String,
    },
    /// A program and its arguments, without a shell. The first is looked up in `PATH`.
    Argv {
        /// At least one.
        argv: Vec<String>,
    },
}

/// What the process reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    Closed,
    /// These bytes, then the end.
    Bytes {
        /// At most 1 MiB.
        #[serde(with = "crate::wire::bytes")]
        data: Vec<u8>,
    },
    /// What `process/stdin` sends, until it closes.
    Open,
}

/// A process as the daemon knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    /// Which.
    pub process_id: ProcessId,
    /// What runs, for people: the command line, cut at 1,024 bytes.
    pub command: String,
    /// Absolute working directory.
    pub cwd: String,
    /// The chat it runs for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// The operating system's pid, while it runs. For people; never used to name the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_pid: Option<u32>,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Where it stands.
    pub state: ProcessState,
    /// Bytes written so far; the offset one past the last.
    pub output_total: u64,
    /// What was dropped: `[from, to)`; equal when nothing was.
    pub dropped_from: u64,
    /// See [`ProcessView::dropped_from`].
    pub dropped_to: u64,
    /// What else is known of it; none: nothing remarkable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<ProcessFacts>>,
}

/// What is known of a process besides where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// What it used, once its leader ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ProcessUsage>,
    /// The kernel killed something of it for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed: Option<OomKilled>,
    /// Bytes of its output that were lost because the disk was full. They count as dropped as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool_full: Option<u64>,
    /// It was refused more processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<PidsLimit>,
    /// Who still holds its output open after its leader ended, at the time of asking; at most 8. How
    /// many there are in all says the state's `output_held_by`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_holders: Vec<SystemProcess>,
    /// How it was stopped, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// The sandbox it runs in; none: it runs in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxFacts>,
}

/// By which means the operating system holds a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxFacts {
    /// Version of the kernel's Landlock that is used, 1 or more.
    pub landlock_abi: u32,
    /// A filter of system calls is in force.
    pub seccomp: bool,
}

impl std::fmt::Display for SandboxFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "landlock ABI {}", self.landlock_abi)?;
        f.write_str(if self.seccomp { ", seccomp" } else { "" })
    }
}

impl ProcessFacts {
    /// As a view has it: none when nothing is known.
    #[must_use]
    pub fn if_any(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// What a leader, and everything that it waited for, used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Time in its own code, in milliseconds.
    pub user_ms: u64,
    /// Time in the kernel, in milliseconds.
    pub system_ms: u64,
    /// Most memory that one of them held at once, in bytes.
    pub max_rss_bytes: u64,
}

/// Something of a process was killed for want of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKilled {
    /// How many were killed, 1 or more.
    pub kills: u64,
    /// The limit that was met, in bytes; none: the machine's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Most that all of the process used together, in bytes; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
}

/// A process was refused more processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsLimit {
    /// How often, 1 or more.
    pub refused: u64,
    /// How many processes and threads it may have; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A process of the operating system, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemProcess {
    /// Its pid at the time of asking.
    pub pid: u32,
    /// Its command line, cut at 128 bytes.
    pub command: String,
}

/// How a process was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// What ended it, the strongest that was used.
    pub means: StopMeans,
    /// Processes that could not be ended; the kernel holds them.
    #[serde(default)]
    pub left: u32,
    /// Some of those, at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub survivors: Vec<SystemProcess>,
}

/// What ended a process that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMeans {
    /// The polite signal was enough, or nothing was there any more.
    Signal,
    /// The kernel killed its control group at once.
    CgroupKill,
    /// Its control group was frozen, and each in it killed.
    FreezeKill,
    /// Its group and every descendant was killed, until there were none.
    Walk,
    /// One that a newer daemon knows.
    #[serde(other)]
    Other,
}

/// Where a process stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// Its leader ended; this is final.
    Exited {
        /// How.
        exit: Exit,
        /// Unix milliseconds.
        ended_at_ms: i64,
        /// Processes that still hold the output open, at the time of asking.
        #[serde(default)]
        output_held_by: u32,
    },
    /// It was never started: the program could not be executed.
    NotStarted {
        /// The error's stable code and text.
        error: super::WireError,
    },
    /// Its supervisor is gone and its end is not known.
    Lost {
        /// Unix milliseconds at which this was noticed.
        noticed_at_ms: i64,
    },
}

/// How a process ended. Code and signal are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Exit {
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

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetProcess {
    /// Which.
    pub process_id: ProcessId,
}

/// Processes of the workspace: running ones first, then the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListProcesses {
    /// Only those of this chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// 1 to 1,000; none: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of [`ListProcesses`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessList {
    /// In the order said there.
    pub items: Vec<ProcessView>,
    /// How many there are in all.
    pub total: u64,
}

/// Waits until the process has ended and its output is complete, or until `timeout_ms`.
///
/// Answers with the state then; a time-out is not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitProcess {
    /// Which.
    pub process_id: ProcessId,
    /// 0 to 600,000: 0 answers at once.
    pub timeout_ms: u64,
}

/// The view of a process's output for a model: head and tail, with a count of what is between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewOutput {
    /// Which.
    pub process_id: ProcessId,
    /// What part of the output.
    pub window: OutputWindow,
}

/// What part of the output a view shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "window", rename_all = "snake_case")]
pub enum OutputWindow {
    /// The first and the last bytes; the limits of `limits` when none.
    HeadTail {
        /// Bytes at the start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head_bytes: Option<u32>,
        /// Bytes at the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tail_bytes: Option<u32>,
    },
    /// From an offset on, at most `limit_bytes`.
    From {
        /// Absolute.
        offset: u64,
        /// At most 64 KiB.
        limit_bytes: u32,
    },
    /// The last lines.
    TailLines {
        /// 1 to 2,000.
        lines: u32,
    },
    /// Lines that match, with their line numbers and offsets. Linear-time engine.
    Grep {
        /// A regular expression, at most 4,096 bytes.
        pattern: String,
        /// Lines before and after each match, 0 to 20.
        #[serde(default)]
        context: u32,
        /// Most matches, 1 to 1,000.
        limit: u32,
    },
}

/// Answer of [`ViewOutput`]: valid UTF-8, lines cut at 2,048 bytes, never split in a character.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    /// The process at the moment of the view, read *before* the text: "exited" implies that the
    /// text is final.
    pub process: ProcessView,
    /// What to show. Gaps are marked in the text with their exact size.
    pub text: String,
    /// Bytes of output that the text does not show.
    pub omitted_bytes: u64,
    /// Offset one past the last byte that was looked at; pass it as the next `From`.
    pub next_offset: u64,
    /// Lines that were cut for their length.
    pub lines_cut: u32,
}

/// A page of raw output. The answer's head is followed by raw frames with exactly `len` bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOutput {
    /// Which.
    pub process_id: ProcessId,
    /// Absolute. Beyond the end: an empty page.
    pub offset: u64,
    /// Clamped to 4 MiB.
    pub limit_bytes: u64,
    /// Count the offset from the end: the page starts `offset` bytes before it.
    #[serde(default)]
    pub from_end: bool,
}

/// Head of the answer of [`ReadOutput`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPage {
    /// Where the page starts.
    pub offset: u64,
    /// Bytes that follow.
    pub len: u64,
    /// The process at that moment, read before the bytes.
    pub process: ProcessView,
}

/// Follows output from `offset` on. After the head come [`FollowItem`] messages; each `Chunk` is
/// followed by one raw frame with its bytes. The last item is `End`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowOutput {
    /// Which.
    pub process_id: ProcessId,
    /// Absolute.
    pub offset: u64,
}

/// Head of the answer of [`FollowOutput`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The process at the start.
    pub process: ProcessView,
}

/// One thing that a follower is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one end for many chunks, and none is kept")]
pub enum FollowItem {
    /// Bytes; one raw frame follows.
    Chunk {
        /// Of the first byte.
        offset: u64,
        /// Which stream wrote them.
        stream: OutputStream,
        /// Bytes in the raw frame, 1 to 256 KiB.
        len: u32,
    },
    /// Bytes that were dropped before the follower read them.
    Dropped {
        /// First one.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// The process ended and every byte was sent.
    End {
        /// Its final view.
        process: ProcessView,
    },
}

/// Which stream a run of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Sends a signal to the process's group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalProcess {
    /// Which.
    pub process_id: ProcessId,
    /// `TERM`, `KILL`, `INT`, `HUP`, `QUIT`, `USR1`, `USR2`, `STOP`, `CONT`, with or without `SIG`, or
    /// a number from 1 to 64.
    pub signal: String,
}

/// Ends the process: polite signal, grace, then kill of the whole group. Answers when it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopProcess {
    /// Which.
    pub process_id: ProcessId,
    /// 0 to 60,000: time between the polite signal and the kill.
    pub grace_ms: u64,
}

/// Writes to standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteStdin {
    /// Which.
    pub process_id: ProcessId,
    /// At most 1 MiB.
    #[serde(with = "crate::wire::bytes")]
    pub data: Vec<u8>,
    /// Close it afterwards.
    #[serde(default)]
    pub close: bool,
}

/// Answer of [`WriteStdin`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdinWritten {
    /// Bytes the pipe took.
    pub written: u64,
}

methods! {
    StartProcess => "process/start", Operation, ProcessView;
    StartSandboxed => "process/start_sandboxed", Operation, ProcessView;
    GetProcess => "process/get", Read, ProcessView;
    ListProcesses => "process/list", Read, ProcessList;
    WaitProcess => "process/wait", Read, ProcessView;
    ViewOutput => "process/view", Read, OutputView;
    ReadOutput => "process/output", Read, OutputPage;
    FollowOutput => "process/follow", Read, Following;
    SignalProcess => "process/signal", Operation, ProcessView;
    StopProcess => "process/stop", Operation, ProcessView;
    WriteStdin => "process/stdin", Operation, StdinWritten;
}
