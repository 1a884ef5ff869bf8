//! Walks directories as ripgrep does: ignore files count, hidden files do too, `.git` does not.
//!
//! The walker of the `ignore` crate goes by path, so a directory may become a link under its feet.
//! It only proposes: whatever is told or opened goes through [`Root`] again, by the confined way.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ignore::WalkBuilder;
use shared::limits::WALK_BUDGET;
use shared::protocol::files::FilePath;

use super::error::FileError;
use super::path::AskedPath;
use super::root::Root;

/// Threads of one walk.
const THREADS_MAX: usize = 8;

/// Where a walk begins.
pub(super) struct Start {
    /// Absolute and free of links.
    pub absolute: PathBuf,
    /// The root is cut off what is found.
    pub root: PathBuf,
    /// Whether it is a directory.
    pub is_directory: bool,
}

impl Start {
    /// Resolves the start of a walk; none is the root.
    pub fn find(root: &Root, path: Option<&FilePath>) -> Result<Self, FileError> {
        let asked = path.map_or_else(|| Ok(AskedPath::root()), |path| root.parse(path))?;
        let stat = root.stat(&asked)?;
        let is_directory =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
        let relative = root.real_path_of(&asked)?;
        let absolute = if relative == Path::new(".") {
            root.real().to_owned()
        } else {
            root.real().join(relative)
        };
        Ok(Self { absolute, root: root.real().to_owned(), is_directory })
    }

    /// A walker over everything that is not ignored.
    pub fn walker(&self) -> WalkBuilder {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let mut builder = WalkBuilder::new(&self.absolute);
        builder
            .hidden(false)
            .require_git(false)
            .follow_links(false)
            .git_global(false)
            .threads(threads)
            .filter_entry(|entry| entry.file_name() != ".git");
        builder
    }

    /// The path from the root of something that the walker proposes.
    pub fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The confined form of a relative path.
pub(super) fn asked(relative: &Path) -> AskedPath {
    let bytes = relative.as_os_str().as_encoded_bytes();
    AskedPath { components: super::path::split(bytes), shown: super::path::shown(bytes) }
}

/// Ends a walk that takes too long; what is found by then is told and marked as cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    started: Instant,
}

impl Budget {
    /// Ten seconds from `started` on.
    pub fn new(started: Instant) -> Self {
        Self { started }
    }

    /// Whether it is used up.
    pub fn is_over(self) -> bool {
        self.started.elapsed() > WALK_BUDGET
    }
}
