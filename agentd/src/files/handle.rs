//! The way in: asks for files from async code; the work runs on blocking threads.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::clock::Clock;
use shared::lifecycle::Lifecycle;
use shared::limits::WALK_BUDGET;
use shared::protocol::WireError;
use shared::protocol::files::{
    BytesPage, DeleteFile, DirectoryPage, EditFiles, GlobFiles, GlobResult, Lines, ListDirectory,
    ReadBytes, ReadLines, SearchFiles, SearchResult, WriteFile,
};
use tokio::sync::Semaphore;

use super::delete::plan_delete;
use super::edit::plan_edit;
use super::error::FileError;
use super::glob::glob;
use super::list::list;
use super::owner::Owner;
use super::prepared::{FileReply, Prepared, recover};
use super::read::{read_bytes, read_lines};
use super::root::Root;
use super::search::search;
use super::temp::TempNotes;
use super::write::plan_write;
use crate::user::Identity;

/// How long a read may take before the file system counts as hung.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a walk, which ends by itself when its budget is used up.
const WALK_TIMEOUT: Duration = WALK_BUDGET.saturating_add(Duration::from_secs(2));

/// Why the files of a workspace cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenFilesError {
    /// The root is missing, is no directory, or may not be entered.
    #[error("the root {root} cannot be opened")]
    Root {
        /// As it was configured.
        root: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The directory for notes of temporary files cannot be made or read.
    #[error("the directory for notes of temporary files cannot be used")]
    Notes(#[source] std::io::Error),
}

/// Serves the files below one root. Cheap to clone.
///
/// Reads may run at once; changes take turns, from the plan until it is applied or dropped.
/// Dropping a call of any method leaves the files whole: the work runs to its end by itself.
#[derive(Clone)]
pub struct FilesHandle {
    root: Root,
    notes: TempNotes,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    turn: Arc<Semaphore>,
    owner: Owner,
}

impl FilesHandle {
    /// Serves `root`; `notes` is a directory of the daemon's own for notes of temporary files.
    ///
    /// Before the first change, [`recover`](Self::recover) every record that the journal holds,
    /// then [`sweep`](Self::sweep).
    pub fn open(
        root: &Path,
        notes: &Path,
        lifecycle: Lifecycle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenFilesError> {
        let shown = root.display().to_string();
        let root =
            Root::open(root).map_err(|source| OpenFilesError::Root { root: shown, source })?;
        let notes = TempNotes::open(notes).map_err(OpenFilesError::Notes)?;
        let (turn, owner) = (Arc::new(Semaphore::new(1)), Owner::default());
        Ok(Self { root, notes, lifecycle, clock, turn, owner })
    }

    /// The same, for files that belong to the user that commands run as; none: to the daemon's.
    #[must_use]
    pub fn owned_by(self, identity: Option<Identity>) -> Self {
        Self { owner: Owner::new(identity), ..self }
    }

    /// The root's own path, free of symbolic links.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.real()
    }

    /// The absolute path of a directory below the root, for a process to start in.
    ///
    /// Errors: as for a read; `not_a_directory` if it is something else.
    pub async fn directory(
        &self,
        path: shared::protocol::files::FilePath,
    ) -> Result<std::path::PathBuf, WireError> {
        let shown = path.path.clone();
        self.read("files.directory", shown, move |root, _| {
            let asked = root.parse(&path)?;
            root.open_directory(&asked)?;
            let relative = root.real_path_of(&asked)?;
            Ok(if relative == Path::new(".") {
                root.real().to_owned()
            } else {
                root.real().join(relative)
            })
        })
        .await
    }

    /// Lines of a text file. Errors: `binary_file`, `invalid_range`, and those of any path.
    pub async fn lines(&self, request: ReadLines) -> Result<Lines, WireError> {
        let shown = request.path.path.clone();
        self.read("files.lines", shown, move |root, now| read_lines(root, &request, now)).await
    }

    /// Raw bytes: the head of the answer, and exactly `len` bytes.
    pub async fn read_bytes(&self, request: ReadBytes) -> Result<(BytesPage, Bytes), WireError> {
        let shown = request.path.path.clone();
        self.read("files.read", shown, move |root, now| read_bytes(root, &request, now)).await
    }

    /// One page of a directory.
    pub async fn list(&self, request: ListDirectory) -> Result<DirectoryPage, WireError> {
        let shown = request.path.path.clone();
        self.read("files.list", shown, move |root, _| list(root, &request)).await
    }

    /// Paths that match.
    pub async fn glob(&self, request: GlobFiles) -> Result<GlobResult, WireError> {
        let shown = request.pattern.clone();
        self.within(WALK_TIMEOUT, "files.glob", shown, move |root, now| glob(root, &request, now))
            .await
    }

    /// Lines that match.
    pub async fn search(&self, request: SearchFiles) -> Result<SearchResult, WireError> {
        let shown = request.pattern.clone();
        let job = move |root: &Root, now| search(root, &request, now);
        self.within(WALK_TIMEOUT, "files.search", shown, job).await
    }

    /// Prepares a write of `content`. Nothing is replaced before [`apply`](Self::apply).
    pub async fn plan_write(
        &self,
        request: WriteFile,
        content: Bytes,
    ) -> Result<Prepared, WireError> {
        self.plan("files.write", move |root, notes, now| {
            plan_write(root, notes, &request, &content, now)
        })
        .await
    }

    /// Prepares an edit of several files.
    pub async fn plan_edit(&self, request: EditFiles) -> Result<Prepared, WireError> {
        self.plan("files.edit", move |root, notes, now| plan_edit(root, notes, &request, now)).await
    }

    /// Prepares the removal of one name.
    pub async fn plan_delete(&self, request: DeleteFile) -> Result<Prepared, WireError> {
        self.plan("files.delete", move |root, notes, now| plan_delete(root, notes, &request, now))
            .await
    }

    /// Makes a prepared change: all of it or none. `file_changed` if somebody else was faster.
    pub async fn apply(&self, prepared: Prepared) -> Result<FileReply, WireError> {
        let owner = self.owner.clone();
        self.lifecycle
            .blocking("files.apply", move || owned(&owner, || prepared.commit()))
            .await
            .map_err(FileError::into_failure)
    }

    /// Goes on with a change whose record was in the journal when the daemon ended: rolls forward,
    /// or, if a file was changed by somebody else meanwhile, takes all of it back.
    pub async fn recover(&self, record: Vec<u8>) -> Result<FileReply, WireError> {
        let (root, owner) = (self.root.clone(), self.owner.clone());
        self.lifecycle
            .blocking("files.recover", move || owned(&owner, || recover(&root, &record)))
            .await
            .map_err(FileError::into_failure)
    }

    /// Removes temporary files that an earlier run left; answers how many there were.
    pub async fn sweep(&self) -> std::io::Result<usize> {
        let (root, notes) = (self.root.clone(), self.notes.clone());
        self.lifecycle.blocking("files.sweep", move || notes.sweep(&root)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        shown: String,
        job: impl FnOnce(&Root, Instant) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, WireError> {
        self.within(IO_TIMEOUT, name, shown, job).await
    }

    async fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        name: &'static str,
        shown: String,
        job: impl FnOnce(&Root, Instant) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, WireError> {
        let (root, owner, now) = (self.root.clone(), self.owner.clone(), self.clock.now());
        let work = self.lifecycle.blocking(name, move || owned(&owner, || job(&root, now)));
        let answer = match tokio::time::timeout(limit, work).await {
            Ok(answer) => answer,
            Err(_) => Err(FileError::Timeout { path: shown, seconds: limit.as_secs() }),
        };
        answer.map_err(FileError::into_refusal)
    }

    async fn plan(
        &self,
        name: &'static str,
        job: impl FnOnce(&Root, &TempNotes, Instant) -> Result<Prepared, FileError> + Send + 'static,
    ) -> Result<Prepared, WireError> {
        let turn = Arc::clone(&self.turn)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed while the handle lives");
        let (root, notes, now) = (self.root.clone(), self.notes.clone(), self.clock.now());
        let owner = self.owner.clone();
        let job = move || {
            owned(&owner, || job(&root, &notes, now)).map(|prepared| prepared.holding(turn))
        };
        self.lifecycle.blocking(name, job).await.map_err(FileError::into_refusal)
    }
}

/// Runs `job` as the owner of the files.
fn owned<T>(owner: &Owner, job: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
    owner.run(job).unwrap_or_else(|error| {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::PERM);
        Err(FileError::system("the workspace", errno))
    })
}
