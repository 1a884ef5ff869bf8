//! Why a process could not be started. The message completes "could not start the process: …".

use std::io;

use shared::limits::{ARGUMENT_MAX_BYTES, ARGUMENTS_TOTAL_MAX_BYTES};
use shared::protocol::{ErrorCode, WireError};

use crate::records::RecorderError;

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// There is no room for what its keeper writes down.
    #[error("the disk of the state directory is full")]
    DiskFull,
    /// A value that no process can take.
    #[error("{what} {problem}")]
    Invalid { what: String, problem: &'static str },
    #[error(
        "{what} has {bytes} bytes; the limits are {ARGUMENT_MAX_BYTES} bytes for one and \
         {ARGUMENTS_TOTAL_MAX_BYTES} for all: pass it in a file or on standard input"
    )]
    TooLarge { what: String, bytes: usize },
    #[error("the working directory {cwd}: {problem}")]
    Cwd { cwd: String, code: ErrorCode, problem: &'static str },
    #[error("{running} processes run, the limit is {limit}")]
    TooMany { running: usize, limit: usize },
    #[error("the id is in use by another process")]
    IdInUse,
    #[error("the program {program} was not started: {}", .cause.text())]
    Spawn { program: String, cause: SpawnCause },
    #[error("no file descriptor is free; processes that run are not harmed")]
    TooManyOpenFiles,
    #[error("the operating system has no room for another process: {0}")]
    NoRoom(io::Error),
    #[error("nothing was begun: {0}")]
    Record(RecorderError),
    #[error("what its keeper needs could not be made: {0}")]
    Prepare(io::Error),
    #[error("its keeper ended before anything was executed")]
    NoKeeper,
    #[error("no sandbox, so nothing was run: {0}")]
    Sandbox(String),
}

/// Why the operating system did not execute a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpawnCause {
    NotFound,
    PermissionDenied,
    IsDirectory,
    ExecFormat,
    NoInterpreter,
    TextBusy,
    Other(i32),
}

impl SpawnCause {
    /// The stable word on the wire.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::PermissionDenied => "permission_denied",
            Self::IsDirectory => "is_directory",
            Self::ExecFormat | Self::NoInterpreter => "exec_format",
            Self::TextBusy => "text_busy",
            Self::Other(_) => "os_error",
        }
    }

    fn text(self) -> String {
        match self {
            Self::NotFound => "there is no such program in PATH or at that path".to_owned(),
            Self::PermissionDenied => "it may not be executed".to_owned(),
            Self::IsDirectory => "it is a directory".to_owned(),
            Self::ExecFormat => {
                "it is neither a program for this machine nor a script with a #! line".to_owned()
            }
            Self::NoInterpreter => "the interpreter of its #! line does not exist".to_owned(),
            Self::TextBusy => "it is open for writing".to_owned(),
            Self::Other(errno) => io::Error::from_raw_os_error(errno).to_string(),
        }
    }
}

impl StartError {
    /// What the operating system says to something that is made for a process.
    pub(super) fn of_io(error: io::Error) -> Self {
        use rustix::io::Errno;
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::TOOMANYREFS) => Self::TooManyOpenFiles,
            Some(Errno::AGAIN | Errno::NOMEM) => Self::NoRoom(error),
            Some(Errno::NOSPC | Errno::DQUOT) => Self::DiskFull,
            _ => Self::Prepare(error),
        }
    }

    /// The stable code.
    pub(super) const fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::InvalidArgument,
            Self::TooLarge { .. } => ErrorCode::ArgumentTooLarge,
            Self::Cwd { code, .. } => *code,
            Self::TooMany { .. } | Self::NoRoom(_) => ErrorCode::ProcessLimit,
            Self::IdInUse => ErrorCode::OperationConflict,
            Self::Spawn { .. } => ErrorCode::SpawnFailed,
            Self::TooManyOpenFiles => ErrorCode::TooManyOpenFiles,
            Self::DiskFull => ErrorCode::DiskFull,
            Self::Record(_) => ErrorCode::JournalUnavailable,
            Self::Sandbox(_) => ErrorCode::SandboxUnavailable,
            Self::Prepare(_) | Self::NoKeeper => ErrorCode::Internal,
        }
    }
}

impl From<StartError> for WireError {
    fn from(error: StartError) -> Self {
        let wire = Self::refused(error.code(), format!("could not start the process: {error}"));
        match &error {
            StartError::Spawn { cause, program } => {
                wire.with("cause", cause.word()).with("program", program)
            }
            StartError::Invalid { what, .. } => wire.with("field", what),
            StartError::TooLarge { what, bytes } => wire
                .with("field", what)
                .with("bytes", bytes)
                .with("limit_one", ARGUMENT_MAX_BYTES)
                .with("limit_all", ARGUMENTS_TOTAL_MAX_BYTES),
            StartError::TooMany { running, limit } => {
                wire.with("count", running).with("limit", limit)
            }
            _ => wire,
        }
    }
}
