//! The directory everything durable of the daemon lives in: 0700, and locked by one daemon.
//!
//! ```text
//! lock              held by the running daemon (flock); its text is the holder's pid
//! format            version of all of it; a newer one is refused before anything is changed
//! workspace.json    what `join` was told: the root
//! identity/         key, certificate, CA, where the control plane is      (link)
//! agentd.sock       0600, for `agentd status` and `agentd ps`
//! journal/          which operation was done, with its answer             (journal)
//! processes/        records of processes, and the output of each          (process)
//! files/            temporary files of writes in progress                 (files)
//! ```
//!
//! Bounded: the journal compacts itself, finished processes give way by age, count and bytes, and
//! temporary files are removed at the next start.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::file_lock::lock_within;

/// Version of everything below a state directory. Raised when an older daemon could not go on with
/// it; that daemon then refuses it and changes nothing.
const FORMAT: u32 = 1;
/// How long a holder that seems gone is waited for.
const GONE_HOLDER_ENDS_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of the holder's pid in the lock file.
const PID_WIDTH: usize = 12;
/// Longest path of a Unix socket, in bytes, without the closing NUL.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// Where things are in a state directory. Says nothing of whether they exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLayout {
    path: PathBuf,
}

/// A state directory that this process has locked. The lock ends with the value, or the process.
#[derive(Debug)]
pub struct StateDir {
    layout: StateLayout,
    _lock: File,
}

/// What `join` remembers for `run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceFile {
    /// Absolute path of the workspace's root.
    pub root: PathBuf,
}

/// Why a state directory cannot be used. The message completes "could not use the state directory: …".
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another daemon runs on it.
    #[error("another agentd{} holds {path}; stop it, or use another --state-dir", holder(*.pid))]
    Held {
        /// The directory.
        path: PathBuf,
        /// The holder's pid, when it could be read.
        pid: Option<u32>,
    },
    /// It belongs to somebody else.
    #[error("{path} belongs to user {owner}, agentd runs as user {user}")]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who runs.
        user: u32,
    },
    /// A later version of the program has used it.
    #[error(
        "{path} was written by a newer agentd (format {found}, this one knows {FORMAT}); install that version again, or use another --state-dir"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There is something else at the path.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The operating system says no.
    #[error("{path} cannot be {action}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl StateLayout {
    /// The layout of `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the operation journal lives.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Where process records and output live.
    #[must_use]
    pub fn processes(&self) -> PathBuf {
        self.path.join("processes")
    }

    /// Where key and certificates live.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.path.join("identity")
    }

    /// Where temporary files of writes in progress live.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// The socket for the local command line; under the run-time directory of `/tmp` never, so
    /// that only the owner of the state directory can reach it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("agentd.sock")
    }

    /// Whether the socket's path fits into a socket address.
    #[must_use]
    pub fn socket_fits(&self) -> bool {
        self.socket().as_os_str().len() <= SOCKET_PATH_MAX_BYTES
    }

    /// Refuses what a newer version has written. Where nothing is written nothing is wrong.
    pub fn check_format(&self) -> Result<(), StateDirError> {
        let path = self.path.join("format");
        let io = |action, source| StateDirError::Io { path: path.clone(), action, source };
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(found) if found > FORMAT => {
                    Err(StateDirError::Newer { path: self.path.clone(), found })
                }
                Ok(_) => Ok(()),
                Err(error) => {
                    Err(io("understood", io::Error::new(io::ErrorKind::InvalidData, error)))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(io("read", source)),
        }
    }

    /// What `join` remembered; none before the first.
    pub fn workspace(&self) -> Result<Option<WorkspaceFile>, StateDirError> {
        let path = self.path.join("workspace.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateDirError::Io { path, action: "read", source }),
        };
        let invalid = |source| StateDirError::Io {
            path,
            action: "understood",
            source: io::Error::new(io::ErrorKind::InvalidData, source),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(invalid)
    }
}

impl StateDir {
    /// Creates the directory where it is missing, makes it private, and locks it.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let io = |action| {
            let path = path.to_owned();
            move |source| StateDirError::Io { path, action, source }
        };
        let parents = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parents {
            std::fs::create_dir_all(parent).map_err(io("created"))?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io("created")(error)),
        }
        check_private(path)?;
        // Later `chdir`s and relative flags must not move it.
        let path = std::fs::canonicalize(path).map_err(io("resolved"))?;
        let lock = lock(&path)?;
        let layout = StateLayout::new(path);
        layout.check_format()?;
        note_format(layout.path())?;
        for sub in [layout.journal(), layout.processes(), layout.identity(), layout.files()] {
            create_private(&sub)?;
        }
        Ok(Self { layout, _lock: lock })
    }

    /// Where things are.
    #[must_use]
    pub const fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// Remembers the root for the next `run`. Durable when it returns.
    pub fn remember(&self, workspace: &WorkspaceFile) -> Result<(), StateDirError> {
        let path = self.layout.path.join("workspace.json");
        let temporary = self.layout.path.join("workspace.json.new");
        let io = |source| StateDirError::Io { path: path.clone(), action: "written", source };
        let text = serde_json::to_vec_pretty(workspace).map_err(|error| io(error.into()))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(io)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&temporary, &path).map_err(io)?;
        File::open(&self.layout.path).and_then(|dir| dir.sync_all()).map_err(io)
    }
}

/// Notes our format where there is none yet.
fn note_format(dir: &Path) -> Result<(), StateDirError> {
    let path = dir.join("format");
    if path.exists() {
        return Ok(());
    }
    // Not synced: a machine that loses it has lost nothing that matters, and notes it again.
    std::fs::write(&path, FORMAT.to_string()).map_err(|source| StateDirError::Io {
        path,
        action: "written",
        source,
    })
}

fn check_private(path: &Path) -> Result<(), StateDirError> {
    let io = |action, source| StateDirError::Io { path: path.to_owned(), action, source };
    let meta = std::fs::metadata(path).map_err(|source| io("examined", source))?;
    if !meta.is_dir() {
        return Err(StateDirError::NotADirectory { path: path.to_owned() });
    }
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user {
        return Err(StateDirError::WrongOwner { path: path.to_owned(), owner: meta.uid(), user });
    }
    if meta.mode() & 0o077 != 0 {
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, private).map_err(|source| io("made private", source))?;
    }
    Ok(())
}

fn create_private(path: &Path) -> Result<(), StateDirError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StateDirError::Io { path: path.to_owned(), action: "created", source }),
    }
}

/// Takes the lock, or names the holder. Writes the pid only once the lock is held.
///
/// The lock decides and the pid is for people: a daemon that has just taken the lock has not
/// written it yet, and the forked child of a killed one holds the lock until its exec. So a holder
/// that seems gone is waited for, and asked for again.
fn lock(dir: &Path) -> Result<File, StateDirError> {
    let path = dir.join("lock");
    let io = |action, source| StateDirError::Io { path: path.clone(), action, source };
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let mut shown = open().map_err(|source| io("opened", source))?;
    let held = |pid| StateDirError::Held { path: dir.to_owned(), pid };
    let file = open().map_err(|source| io("opened", source))?;
    let limit = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Duration::ZERO,
        Err(rustix::io::Errno::WOULDBLOCK) => match read_pid(&mut shown) {
            Some(pid) if !is_gone(pid) => return Err(held(Some(pid))),
            _ => GONE_HOLDER_ENDS_WITHIN,
        },
        Err(error) => return Err(io("locked", error.into())),
    };
    let locked = lock_within(file, limit).map_err(|source| io("locked", source))?;
    let file = locked.ok_or_else(|| held(read_pid(&mut shown)))?;
    // Written over the one before, which is as long: a full disk has no room for a new one.
    let pid = format!("{:<PID_WIDTH$}", std::process::id());
    file.write_all_at(pid.as_bytes(), 0).map_err(|source| io("written", source))?;
    Ok(file)
}

/// Whether no process has this pid any more.
fn is_gone(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_told_the_holders_pid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let held = StateDir::open(&path).unwrap();
        match StateDir::open(&path) {
            Err(StateDirError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("expected the lock to be held, got {other:?}"),
        }
        drop(held);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn the_directory_and_what_is_in_it_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/state");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let state = StateDir::open(&path).unwrap();
        state.remember(&WorkspaceFile { root: "/srv/code".into() }).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&state.layout().journal()), 0o700);
        assert_eq!(mode(&path.join("lock")), 0o600);
        assert_eq!(mode(&path.join("workspace.json")), 0o600);
        let read_back = state.layout().workspace().unwrap().unwrap();
        assert_eq!(read_back.root, Path::new("/srv/code"));
    }

    #[test]
    fn a_directory_of_a_newer_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        drop(StateDir::open(&path).unwrap());
        assert_eq!(std::fs::read_to_string(path.join("format")).unwrap(), "1");
        std::fs::write(path.join("format"), "2\n").unwrap();
        std::fs::remove_dir(path.join("journal")).unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(matches!(error, StateDirError::Newer { found: 2, .. }), "{error}");
        assert!(!path.join("journal").exists(), "nothing was made");
        std::fs::write(path.join("format"), "x").unwrap();
        assert!(StateDir::open(&path).unwrap_err().to_string().contains("understood"));
    }

    /// The pid of a holder that was killed stands in the file until the next one has written its
    /// own: whoever comes in between is told of the new holder and does not wait for its end.
    #[test]
    fn a_holder_that_has_not_written_its_pid_yet_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let held = StateDir::open(&path).unwrap();
        // No process has it: it is over the kernel's limit.
        std::fs::write(path.join("lock"), "4194305").unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(matches!(error, StateDirError::Held { .. }), "{error}");
        drop(held);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateDir::open(file.path()).unwrap_err();
        assert!(matches!(error, StateDirError::NotADirectory { .. }), "{error}");
    }
}
