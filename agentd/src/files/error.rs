//! Why something with a file did not happen, with its stable code.

use rustix::io::Errno;
use shared::protocol::{ErrorCode, WireError};

/// The cause. The message completes "could not …: …" and never tells what lies outside the root.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path leads out of the workspace, by text or through a link.
    #[error("{path} leads out of the workspace")]
    PathEscape {
        /// As it was asked for.
        path: String,
    },
    /// The text is no path.
    #[error("the path is not valid: {why}")]
    InvalidPath {
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name or the whole path is over its limit.
    #[error("the {what} is longer than {limit} bytes")]
    NameTooLong {
        /// `name` or `path`.
        what: &'static str,
        /// In bytes.
        limit: usize,
    },
    /// Neither a regular file nor a directory.
    #[error("{path} is {kind}, not a regular file")]
    NotARegularFile {
        /// As it was asked for.
        path: String,
        /// With its article.
        kind: &'static str,
    },
    /// A directory, where a file is needed.
    #[error("{path} is a directory")]
    IsADirectory {
        /// As it was asked for.
        path: String,
    },
    /// The content is over the limit.
    #[error("{path} would have {size} bytes; the limit is {limit}")]
    TooLarge {
        /// As it was asked for.
        path: String,
        /// In bytes.
        size: u64,
        /// In bytes.
        limit: u64,
    },
    /// The file is not text.
    #[error("{path} is not text ({guess}, {size} bytes)")]
    Binary {
        /// As it was asked for.
        path: String,
        /// In bytes.
        size: u64,
        /// A guess at its type.
        guess: &'static str,
    },
    /// A line range that the file does not have.
    #[error("{why}; the file has {lines} lines")]
    InvalidRange {
        /// What is wrong with it.
        why: String,
        /// Lines in the file.
        lines: u64,
    },
    /// The file is not what the caller expects.
    #[error("{path} is not what it was: {why}")]
    Changed {
        /// As it was asked for.
        path: String,
        /// What is there instead.
        why: String,
        /// Its hash, if it is a file that was read.
        actual: Option<String>,
    },
    /// Something is there already.
    #[error("{path} exists")]
    Exists {
        /// As it was asked for.
        path: String,
    },
    /// The root may not be removed or replaced.
    #[error("{path} is the root of the workspace")]
    Root {
        /// As it was asked for.
        path: String,
    },
    /// The request contradicts itself or a limit.
    #[error("{0}")]
    InvalidRequest(String),
    /// An edit that can never apply.
    #[error("edit {number} of {path}: {why}")]
    InvalidEdit {
        /// As it was asked for.
        path: String,
        /// 1-based.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The old text is not in the file.
    #[error("edit {number} of {path}: the old text is not in the file\n{hints}")]
    NoMatch {
        /// As it was asked for.
        path: String,
        /// 1-based.
        number: usize,
        /// The nearest lines.
        hints: String,
    },
    /// The old text is in the file several times.
    #[error(
        "edit {number} of {path}: the old text is there {count} times, at lines {lines}; \
         add lines around it, or replace all"
    )]
    Ambiguous {
        /// As it was asked for.
        path: String,
        /// 1-based.
        number: usize,
        /// How often.
        count: usize,
        /// Where, for people.
        lines: String,
    },
    /// Two edits touch the same text.
    #[error("edits {first} and {second} of {path} touch the same text")]
    Overlap {
        /// As it was asked for.
        path: String,
        /// 1-based.
        first: usize,
        /// 1-based.
        second: usize,
    },
    /// Not a valid glob or regular expression.
    #[error("the pattern is not valid: {0}")]
    InvalidPattern(String),
    /// A pattern over its limit.
    #[error("the pattern has {len} bytes; the limit is {limit}")]
    PatternTooLong {
        /// In bytes.
        len: usize,
        /// In bytes.
        limit: usize,
    },
    /// The file system did not answer in time.
    #[error("{path}: the file system did not answer within {seconds} s")]
    Timeout {
        /// As it was asked for.
        path: String,
        /// How long it was given.
        seconds: u64,
    },
    /// The operating system said no.
    #[error("{path}: {source}")]
    System {
        /// As it was asked for.
        path: String,
        /// The error number.
        #[source]
        source: Errno,
    },
}

impl FileError {
    /// Wraps what the operating system said about `path`.
    pub(super) fn system(path: &str, source: Errno) -> Self {
        let path = path.to_owned();
        match source {
            Errno::ISDIR => Self::IsADirectory { path },
            // What `open` says of a socket and of a device without a driver.
            Errno::NXIO | Errno::NODEV => Self::NotARegularFile { path, kind: "a special file" },
            source => Self::System { path, source },
        }
    }

    /// As [`system`](Self::system), for `std::io`.
    pub(super) fn io(path: &str, error: &std::io::Error) -> Self {
        Self::system(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// The stable code; clients branch on this and never on the message.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::PathEscape { .. } => ErrorCode::PathEscape,
            Self::InvalidPath { .. } => ErrorCode::InvalidPath,
            Self::NameTooLong { .. } => ErrorCode::NameTooLong,
            Self::NotARegularFile { .. } => ErrorCode::NotARegularFile,
            Self::IsADirectory { .. } => ErrorCode::IsADirectory,
            Self::TooLarge { .. } => ErrorCode::FileTooLarge,
            Self::Binary { .. } => ErrorCode::BinaryFile,
            Self::InvalidRange { .. } => ErrorCode::InvalidRange,
            Self::Changed { .. } => ErrorCode::FileChanged,
            Self::Exists { .. } => ErrorCode::AlreadyExists,
            Self::Root { .. } => ErrorCode::RootRefused,
            Self::InvalidRequest(_) => ErrorCode::InvalidRequest,
            Self::InvalidEdit { .. } => ErrorCode::InvalidEdit,
            Self::NoMatch { .. } => ErrorCode::NoMatch,
            Self::Ambiguous { .. } => ErrorCode::AmbiguousMatch,
            Self::Overlap { .. } => ErrorCode::OverlappingEdits,
            Self::InvalidPattern(_) => ErrorCode::InvalidPattern,
            Self::PatternTooLong { .. } => ErrorCode::PatternTooLong,
            Self::Timeout { .. } => ErrorCode::IoTimeout,
            Self::System { source, .. } => code_of(*source),
        }
    }

    /// The wire form of an error before anything was changed.
    #[must_use]
    pub fn into_refusal(self) -> WireError {
        let wire = WireError::refused(self.code(), bounded(self.to_string()));
        self.add_details(wire)
    }

    /// The wire form of an error in the middle of a change.
    #[must_use]
    pub fn into_failure(self) -> WireError {
        let wire = WireError::failed(self.code(), bounded(self.to_string()));
        self.add_details(wire)
    }

    fn add_details(self, wire: WireError) -> WireError {
        match self {
            Self::TooLarge { size, limit, .. } => wire.with("size", size).with("limit", limit),
            Self::Binary { size, guess, .. } => wire.with("size", size).with("type", guess),
            Self::InvalidRange { lines, .. } => wire.with("lines", lines),
            Self::Ambiguous { count, lines, .. } => wire.with("count", count).with("lines", lines),
            Self::Changed { actual: Some(actual), .. } => wire.with("actual", actual),
            Self::NameTooLong { limit, .. } | Self::PatternTooLong { limit, .. } => {
                wire.with("limit", limit)
            }
            _ => wire,
        }
    }
}

fn code_of(errno: Errno) -> ErrorCode {
    match errno {
        Errno::NOENT => ErrorCode::FileNotFound,
        Errno::NOTDIR => ErrorCode::NotADirectory,
        Errno::LOOP => ErrorCode::SymlinkLoop,
        Errno::ACCESS | Errno::PERM => ErrorCode::PermissionDenied,
        Errno::ROFS => ErrorCode::ReadOnlyFs,
        Errno::NOSPC => ErrorCode::DiskFull,
        Errno::DQUOT => ErrorCode::QuotaExceeded,
        Errno::FBIG => ErrorCode::FileTooLarge,
        Errno::NAMETOOLONG => ErrorCode::NameTooLong,
        Errno::MFILE | Errno::NFILE => ErrorCode::TooManyOpenFiles,
        Errno::NOTEMPTY => ErrorCode::DirectoryNotEmpty,
        Errno::EXIST => ErrorCode::AlreadyExists,
        Errno::TIMEDOUT => ErrorCode::IoTimeout,
        _ => ErrorCode::IoFailed,
    }
}

/// Cuts a message at the wire's 2 KiB, at a character border.
fn bounded(mut message: String) -> String {
    const MESSAGE_MAX_BYTES: usize = 2_048;
    if message.len() > MESSAGE_MAX_BYTES {
        message.truncate(message.floor_char_boundary(MESSAGE_MAX_BYTES - 3));
        message.push('…');
    }
    message
}
