//! Every number both programs must share, with its unit in the name.
//!
//! The sizes are limits: they are checked before anything is allocated. Sources: `docs/design`
//! names the measurement or the model behind each that is not obvious.

use std::time::Duration;

/// Largest message (MessagePack) frame, in bytes.
pub const MESSAGE_FRAME_MAX_BYTES: usize = 1024 * 1024;
/// Largest raw frame, in bytes.
pub const RAW_FRAME_MAX_BYTES: usize = 256 * 1024;
/// Streams that a daemon may have open towards the control plane. Each one a peer may open costs
/// memory on an idle connection (375 KiB at 4,096, 40 KiB at 100), and the control plane holds
/// thousands of connections, so the number is small.
pub const STREAMS_PER_PEER: u32 = 64;
/// Streams that the control plane may have open towards a daemon. A daemon holds one connection,
/// so followers and waits of many chats cost it little (22 KiB).
pub const STREAMS_TO_DAEMON: u32 = 256;
/// Longest wait for the first hello on a fresh link.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval of QUIC keep-alives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Silence after which a link counts as lost and the workspace is shown as unreachable.
pub const LINK_IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Shortest and longest reconnect pause (full jitter between zero and the bound).
pub const RECONNECT_MIN: Duration = Duration::from_millis(250);
/// See [`RECONNECT_MIN`].
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// Life of a daemon's certificate; it is renewed at half of it.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Operations in one acknowledgement.
pub const ACKNOWLEDGED_MAX: usize = 1_000;

/// Bytes of output kept per process before the middle is dropped.
pub const PROCESS_OUTPUT_KEPT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of output kept per workspace; finished processes give way first, oldest first.
pub const WORKSPACE_OUTPUT_KEPT_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Finished process records kept per workspace.
pub const FINISHED_PROCESSES_KEPT: usize = 10_000;
/// How long a finished process record is kept.
pub const FINISHED_PROCESS_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Processes that may run at once in one workspace.
pub const PROCESSES_RUNNING_MAX: usize = 512;
/// Bytes at the start and at the end of the output that the model is shown.
pub const MODEL_OUTPUT_HEAD_BYTES: usize = 16 * 1024;
/// See [`MODEL_OUTPUT_HEAD_BYTES`].
pub const MODEL_OUTPUT_TAIL_BYTES: usize = 16 * 1024;
/// Longest line the model is shown, in bytes, cut at a character border.
pub const MODEL_OUTPUT_LINE_BYTES: usize = 2_048;
/// Largest page of output in one answer, in bytes.
pub const OUTPUT_PAGE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of output that one follower is sent in a second; as many more at the start and after a
/// silence. A faster process is followed late, and what is dropped meanwhile is told.
pub const FOLLOW_BYTES_PER_SECOND: u64 = 1024 * 1024;
/// Largest single argument of a process, in bytes (the kernel's `MAX_ARG_STRLEN`, NUL included).
pub const ARGUMENT_MAX_BYTES: usize = 128 * 1024;
/// Largest total of arguments and environment, in bytes.
pub const ARGUMENTS_TOTAL_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Largest single write to a process's standard input, in bytes.
pub const STDIN_WRITE_MAX_BYTES: usize = 1024 * 1024;

/// PTYs that may run at once in one workspace.
pub const PTYS_RUNNING_MAX: usize = 512;
/// Viewers that may be attached to one PTY at once.
pub const PTY_VIEWERS_MAX: usize = 64;
/// Largest single input to a PTY, in bytes.
pub const PTY_INPUT_MAX_BYTES: usize = 64 * 1024;
/// Most lines above the screen that a viewer is given when it attaches.
pub const PTY_SCROLLBACK_LINES_MAX: u32 = 10_000;
/// Longest name of a viewer, in bytes.
pub const PTY_VIEWER_MAX_BYTES: usize = 64;

/// Lines of a file in one read for the model.
pub const READ_LINES_MAX: u64 = 2_000;
/// Bytes of a file in one read for the model.
pub const READ_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one line in a read for the model; longer lines are cut and say so.
pub const READ_LINE_BYTES_MAX: usize = 1_024;
/// Bytes of a file in one raw read.
pub const READ_RAW_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest file that may be written or edited, in bytes.
pub const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Files in one multi-file edit.
pub const EDIT_FILES_MAX: usize = 64;
/// Edits in one file of a multi-file edit.
pub const EDITS_PER_FILE_MAX: usize = 256;
/// Entries in one page of a directory list or a glob.
pub const LIST_ENTRIES_MAX: usize = 1_000;
/// Matches in one page of a search.
pub const SEARCH_MATCHES_MAX: usize = 1_000;
/// Longest pattern of a search or a glob, in bytes.
pub const PATTERN_MAX_BYTES: usize = 4_096;
/// Time budget of a walk; what is found by then is returned and marked as cut.
pub const WALK_BUDGET: Duration = Duration::from_secs(10);
/// Longest path, in bytes.
pub const PATH_MAX_BYTES: usize = 4_096;
/// Longest file name, in bytes.
pub const NAME_MAX_BYTES: usize = 255;

/// Longest result of one operation that the journal keeps, in bytes.
pub const OUTCOME_MAX_BYTES: usize = 1024 * 1024;
/// Largest file that is attached to a chat, in bytes.
pub const ATTACHMENT_MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Files that a chat may have, and files that a person may have uploaded and not sent.
pub const ATTACHMENTS_PER_CHAT: u32 = 50;
