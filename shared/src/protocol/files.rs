//! Files of the workspace, confined to its root.
//!
//! Paths are relative to the root, or absolute and inside it. A path may be given as bytes where
//! it is not UTF-8. Hashes are `b3:` and the hex BLAKE3 of the whole content.

use serde::{Deserialize, Serialize};

use super::call::methods;

/// A path: text where it is UTF-8, bytes where it is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FilePath {
    /// For people, with control characters and invalid bytes escaped; exact unless `bytes` is there.
    pub path: String,
    /// The exact bytes, where `path` is not exact.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::wire::optional_bytes"
    )]
    pub bytes: Option<Vec<u8>>,
}

impl From<&str> for FilePath {
    fn from(path: &str) -> Self {
        Self { path: path.to_owned(), bytes: None }
    }
}

/// Reads lines of a text file, for a model. Never an error for size: partial, with `next_line`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadLines {
    /// Which file.
    pub path: FilePath,
    /// First line, 1-based; none: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Most lines; none: 2,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Answer of [`ReadLines`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// The file's path from the root.
    pub path: FilePath,
    /// Lines in order, without their ends.
    pub lines: Vec<String>,
    /// Number of the first of them, 1-based.
    pub first_line: u64,
    /// Where to go on; none: this was the end.
    pub next_line: Option<u64>,
    /// Lines in the file, if it was read to its end.
    pub total_lines: Option<u64>,
    /// Bytes in the file.
    pub size: u64,
    /// Hash of the whole content, for `expect_hash`; none if the file is over 16 MiB.
    pub hash: Option<String>,
    /// Lines that were cut at 1,024 bytes.
    pub lines_cut: u32,
    /// The file changed while it was read.
    pub changed_during_read: bool,
    /// How the text is stored: `utf-8`, `utf-8-bom`, `utf-16le`, `utf-16be`.
    pub encoding: String,
    /// How its lines end: `lf`, `crlf`, `mixed`, `none`.
    pub line_ending: String,
}

/// Reads raw bytes. The answer's head is followed by raw frames with exactly `len` bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadBytes {
    /// Which file.
    pub path: FilePath,
    /// First byte; beyond the end: an empty page.
    pub offset: u64,
    /// Clamped to 4 MiB.
    pub limit_bytes: u64,
}

/// Head of the answer of [`ReadBytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BytesPage {
    /// Where the page starts.
    pub offset: u64,
    /// Bytes that follow.
    pub len: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Hash of the whole content; none if the file is over 16 MiB or not regular content.
    pub hash: Option<String>,
    /// Unix milliseconds.
    pub modified_at_ms: i64,
    /// Permission bits.
    pub mode: u32,
    /// The file changed while it was read.
    pub changed_during_read: bool,
}

/// Writes a whole file: temporary file, fsync, rename. Keeps mode and follows links inside the root.
///
/// The content follows the request as raw frames with exactly `len` bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteFile {
    /// Which file; missing directories are made.
    pub path: FilePath,
    /// Bytes that follow, at most 16 MiB.
    pub len: u64,
    /// What must be there now.
    #[serde(default)]
    pub expect: Expect,
    /// Permission bits of a new file; none: 0644 less the umask. An old file keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// A precondition of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "expect", rename_all = "snake_case")]
pub enum Expect {
    /// Anything.
    #[default]
    Any,
    /// Nothing is there.
    Absent,
    /// A file with this hash.
    Hash {
        /// As in [`Lines::hash`].
        hash: String,
    },
}

/// Answer of [`WriteFile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The file's path from the root.
    pub path: FilePath,
    /// Whether the file is new.
    pub created: bool,
    /// Hash of the new content.
    pub hash: String,
    /// Bytes of the new content.
    pub size: u64,
}

/// Edits files: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditFiles {
    /// 1 to 64, each file once.
    pub files: Vec<FileEdits>,
}

/// The edits of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEdits {
    /// Which file; it must exist.
    pub path: FilePath,
    /// 1 to 256. Each is searched in the original content; they may not overlap.
    pub edits: Vec<Edit>,
    /// Refuse if the content is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_hash: Option<String>,
}

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Exact text, unless only line ends or white space at line ends differ.
    pub old_text: String,
    /// What stands there afterwards.
    pub new_text: String,
    /// Replace every occurrence; otherwise it must be unique.
    #[serde(default)]
    pub replace_all: bool,
}

/// Answer of [`EditFiles`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// In the order of the request.
    pub files: Vec<EditedFile>,
}

/// One edited file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditedFile {
    /// The file's path from the root.
    pub path: FilePath,
    /// Hash of the new content.
    pub hash: String,
    /// Unified diff with three lines of context, cut at 64 KiB.
    pub diff: String,
    /// Lines added and removed.
    pub added: u64,
    /// See [`EditedFile::added`].
    pub removed: u64,
}

/// Removes a file, a link or an empty directory. Never the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteFile {
    /// Which.
    pub path: FilePath,
    /// What must be there now; `absent` is refused.
    #[serde(default)]
    pub expect: Expect,
}

/// Answer of [`DeleteFile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// The path from the root.
    pub path: FilePath,
}

/// Lists a directory, by name in byte order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListDirectory {
    /// Which; `.` is the root.
    pub path: FilePath,
    /// Go on after this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<FilePath>,
    /// 1 to 1,000; none: 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of [`ListDirectory`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryPage {
    /// The directory's path from the root.
    pub path: FilePath,
    /// In order.
    pub entries: Vec<DirectoryEntry>,
    /// There is more after the last.
    pub more: bool,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// Its name.
    pub name: FilePath,
    /// What it is: `file`, `directory`, `symlink`, `fifo`, `socket`, `device`.
    pub kind: String,
    /// Bytes, for a file.
    pub size: u64,
    /// Unix milliseconds.
    pub modified_at_ms: i64,
    /// Where a link points, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Paths that match, newest first, honouring ignore files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobFiles {
    /// Such as `**/*.rs`, at most 4,096 bytes.
    pub pattern: String,
    /// Where to look; none: the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<FilePath>,
    /// 1 to 1,000; none: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of [`GlobFiles`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobResult {
    /// From the root.
    pub paths: Vec<FilePath>,
    /// More matched, or the time budget ended the walk.
    pub truncated: bool,
}

/// Lines that match a regular expression, honouring ignore files. Linear-time engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchFiles {
    /// A regular expression, at most 4,096 bytes.
    pub pattern: String,
    /// Take the pattern as plain text.
    #[serde(default)]
    pub literal: bool,
    /// Ignore case.
    #[serde(default)]
    pub ignore_case: bool,
    /// A file or a directory; none: the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<FilePath>,
    /// Only files that match this glob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob: Option<String>,
    /// Lines before and after, 0 to 20.
    #[serde(default)]
    pub context: u32,
    /// 1 to 1,000; none: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of [`SearchFiles`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchResult {
    /// Grouped by file, in path order.
    pub files: Vec<FileMatches>,
    /// Matches in all.
    pub matches: u64,
    /// Files looked at.
    pub files_searched: u64,
    /// More matched, or the time budget ended the walk.
    pub truncated: bool,
}

/// Matches in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMatches {
    /// From the root.
    pub path: FilePath,
    /// Matching and context lines, in order.
    pub lines: Vec<MatchLine>,
}

/// One line of a search result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchLine {
    /// 1-based.
    pub line: u64,
    /// Cut at 1,024 bytes around the match.
    pub text: String,
    /// Whether it matches, or is context.
    pub is_match: bool,
}

methods! {
    ReadLines => "files/lines", Read, Lines;
    ReadBytes => "files/read", Read, BytesPage;
    WriteFile => "files/write", Operation, Written;
    EditFiles => "files/edit", Operation, Edited;
    DeleteFile => "files/delete", Operation, Deleted;
    ListDirectory => "files/list", Read, DirectoryPage;
    GlobFiles => "files/glob", Read, GlobResult;
    SearchFiles => "files/search", Read, SearchResult;
}
