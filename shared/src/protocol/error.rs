//! The errors of the wire. Clients branch on [`ErrorCode`] and never on the message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Was anything done? The control plane adds the third answer, *unknown*, when the link is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was done.
    Refused,
    /// It was tried and went wrong; the message says how far it got.
    Failed,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// Stable code, see [`ErrorCode`]. A text, so that a newer peer's code survives.
    pub code: String,
    /// For people: what is wrong, which value, what to do. Bounded to 2 KiB by the maker.
    pub message: String,
    /// Refused or failed.
    pub outcome: Outcome,
    /// Values a client may show or use, such as `from`, `to`, `limit`, `cause`, `count`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl WireError {
    /// A refusal: nothing was done.
    pub fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(code, Outcome::Refused, message.into())
    }

    /// A failure: it was tried.
    pub fn failed(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(code, Outcome::Failed, message.into())
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.details.insert(key.to_owned(), value.to_string());
        self
    }

    /// The code, if this build knows it.
    #[must_use]
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.as_str() == self.code)
    }

    fn new(code: ErrorCode, outcome: Outcome, message: String) -> Self {
        Self { code: code.as_str().to_owned(), message, outcome, details: BTreeMap::new() }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// Every stable code that may cross the wire. Closed list; a code is never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// All codes, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The text that crosses the wire and that clients branch on.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The HTTP status that the API answers with.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }
        }
    };
}

codes! {
    // The wire itself
    /// The peer does not know the method.
    Unsupported = "unsupported", 501;
    /// A frame is over its limit.
    FrameTooLarge = "frame_too_large", 413;
    /// The stream ended inside a frame.
    TruncatedFrame = "truncated_frame", 400;
    /// The body is not what the method takes; names the field.
    InvalidRequest = "invalid_request", 400;
    /// A message kind that does not exist.
    UnknownMessage = "unknown_message", 400;
    /// A message that does not fit the state of the link.
    ProtocolViolation = "protocol_violation", 400;
    /// No common protocol version.
    VersionUnsupported = "version_unsupported", 426;
    /// The hello has a field out of bounds.
    InvalidHello = "invalid_hello", 400;
    /// The certificate is not that of an enrolled workspace.
    DaemonAuthFailed = "daemon_auth_failed", 401;
    /// Too much at once; try again.
    Busy = "busy", 503;
    /// The daemon is ending; ask again after the reconnect.
    ShuttingDown = "shutting_down", 503;
    /// A fault of the daemon; its log has more.
    Internal = "internal", 500;
    /// The deadline of the call passed.
    DeadlineExceeded = "deadline_exceeded", 504;

    // The journal
    /// The operation id was used for something else.
    OperationConflict = "operation_conflict", 409;
    /// The fence is older than the newest the daemon has seen.
    StaleEpoch = "stale_epoch", 409;
    /// The operation was cancelled before it began.
    OperationCancelled = "operation_cancelled", 409;
    /// The operation began and its outcome is lost with the machine or the disk.
    OutcomeUnknown = "outcome_unknown", 500;
    /// The journal cannot be written, so nothing is begun.
    JournalUnavailable = "journal_unavailable", 503;

    // Enrolment
    /// Unknown, used or expired join token, or one of another workspace.
    JoinTokenInvalid = "join_token_invalid", 401;

    // Processes
    /// The operating system does not give the sandbox that was asked for; nothing was run.
    SandboxUnavailable = "sandbox_unavailable", 501;
    /// The caller's mode allows no changes, and this would be one.
    ReadOnlyMode = "read_only_mode", 403;
    /// The program was not started; `cause` says why.
    SpawnFailed = "spawn_failed", 422;
    /// A value that no process can take; names the index.
    InvalidArgument = "invalid_argument", 400;
    /// An argument or all of them are over the kernel's limit.
    ArgumentTooLarge = "argument_too_large", 413;
    /// The working directory does not exist.
    CwdNotFound = "cwd_not_found", 404;
    /// A path that should be a directory is not one.
    NotADirectory = "not_a_directory", 400;
    /// A number outside its range; names the range.
    OutOfRange = "out_of_range", 400;
    /// No such process.
    ProcessNotFound = "process_not_found", 404;
    /// The process ended and its record was dropped; says when it ended.
    ProcessPruned = "process_pruned", 410;
    /// The asked range of output was dropped; `from` and `to` say what.
    RangeDropped = "range_dropped", 416;
    /// Standard input is closed.
    StdinClosed = "stdin_closed", 409;
    /// The process does not read its standard input.
    StdinBlocked = "stdin_blocked", 409;
    /// Too many processes run.
    ProcessLimit = "process_limit", 429;
    /// The process has ended, so it can take no signal.
    ProcessEnded = "process_ended", 409;
    /// No descriptor is free.
    TooManyOpenFiles = "too_many_open_files", 503;

    // Terminals
    /// No such PTY.
    PtyNotFound = "pty_not_found", 404;
    /// The program of the PTY has ended.
    PtyExited = "exited", 409;
    /// Another viewer writes; take over first.
    ReadOnly = "read_only", 403;
    /// As many viewers as may be are attached to the PTY.
    TooManyViewers = "too_many_viewers", 429;

    // Files
    /// The path leads out of the workspace.
    PathEscape = "path_escape", 403;
    /// Nothing is at the path.
    FileNotFound = "file_not_found", 404;
    /// The path names a directory.
    IsADirectory = "is_a_directory", 400;
    /// Neither a regular file nor a directory.
    NotARegularFile = "not_a_regular_file", 400;
    /// A name is over 255 bytes or a path over 4,096.
    NameTooLong = "name_too_long", 400;
    /// The path is malformed: empty, NUL.
    InvalidPath = "invalid_path", 400;
    /// A chain of symbolic links that does not end.
    SymlinkLoop = "symlink_loop", 400;
    /// The operating system says no.
    PermissionDenied = "permission_denied", 403;
    /// The file system is read-only.
    ReadOnlyFs = "read_only_fs", 403;
    /// The disk is full.
    DiskFull = "disk_full", 507;
    /// The quota is used up.
    QuotaExceeded = "quota_exceeded", 507;
    /// Content over the limit.
    FileTooLarge = "file_too_large", 413;
    /// The file is not text.
    BinaryFile = "binary_file", 415;
    /// A line range that is reversed, zero or beyond the end.
    InvalidRange = "invalid_range", 416;
    /// The file is not what the caller last saw.
    FileChanged = "file_changed", 412;
    /// The old text is not in the file; the message shows the nearest lines.
    NoMatch = "no_match", 409;
    /// The old text is in the file several times; `count` says how often.
    AmbiguousMatch = "ambiguous_match", 409;
    /// Two edits touch the same text.
    OverlappingEdits = "overlap", 409;
    /// The edit's old text is empty, or equal to the new text.
    InvalidEdit = "invalid_edit", 400;
    /// The target exists and should not.
    AlreadyExists = "already_exists", 409;
    /// The directory has entries.
    DirectoryNotEmpty = "directory_not_empty", 409;
    /// The root itself may not be removed.
    RootRefused = "root_refused", 403;
    /// Not a valid pattern; says where.
    InvalidPattern = "invalid_pattern", 400;
    /// A pattern over its limit.
    PatternTooLong = "pattern_too_long", 400;
    /// The file system did not answer.
    IoTimeout = "io_timeout", 504;
    /// Any other error of the operating system; the message has its name.
    IoFailed = "io_failed", 500;
}
