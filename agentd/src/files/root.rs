//! The root: the one directory that every path stays below.
//!
//! Reads ask the kernel to confine the path (`openat2` with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_MAGICLINKS`), which is one system call and has no race. Where the kernel cannot
//! answer (`ENOSYS`, `EPERM` from a seccomp filter, 64 times `EAGAIN`) or says only that something
//! is odd (`EXDEV`, `ELOOP`), the walk of `walk.rs` decides: it also knows absolute links that stay
//! inside. Changes always walk, because they need the directory of the file behind the links.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use shared::protocol::files::FilePath;

use super::error::FileError;
use super::path::AskedPath;
use super::walk::{Found, Last, Missing, Walk};

/// Tries of `openat2` while renames elsewhere make the kernel unsure.
const EAGAIN_TRIES: usize = 64;

/// The workspace's root directory. Cheap to clone.
#[derive(Clone)]
pub(super) struct Root {
    /// Replaced when the directory was removed and made again, as a fresh clone does.
    directory: Arc<Mutex<Arc<OwnedFd>>>,
    /// Free of symbolic links.
    real: Arc<Path>,
    /// As it was configured; also accepted at the start of absolute paths.
    given: Arc<Path>,
    /// False where `openat2` is not to be had; tests turn it off.
    kernel: bool,
}

impl Root {
    /// Opens `path`, which must be a directory.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let real = std::fs::canonicalize(path)?;
        let directory = open_root(&real)?;
        Ok(Self {
            directory: Arc::new(Mutex::new(Arc::new(directory))),
            real: real.into(),
            given: std::path::absolute(path)?.into(),
            kernel: true,
        })
    }

    /// The same root without the help of `openat2`, as behind a seccomp filter.
    #[cfg(test)]
    pub fn without_openat2(mut self) -> Self {
        self.kernel = false;
        self
    }

    /// The root's own path, free of symbolic links.
    pub fn real(&self) -> &Path {
        &self.real
    }

    fn current(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.directory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The directory itself; opened again if it was removed meanwhile.
    pub fn directory(&self) -> Arc<OwnedFd> {
        let mut current = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = rustix::fs::fstat(current.as_fd()).is_ok_and(|stat| stat.st_nlink == 0);
        if gone && let Ok(fresh) = open_root(&self.real) {
            *current = Arc::new(fresh);
        }
        Arc::clone(&current)
    }

    /// Takes a path of a request apart.
    pub fn parse(&self, path: &FilePath) -> Result<AskedPath, FileError> {
        AskedPath::parse(path, &[&self.real, &self.given])
    }

    /// Opens what is at `path`, following links inside the root. Never waits for a FIFO's writer.
    pub fn open_at(&self, path: &AskedPath, flags: OFlags) -> Result<OwnedFd, FileError> {
        let careful = OFlags::NONBLOCK | OFlags::NOCTTY;
        // `openat2` refuses flags that mean nothing to it.
        let careful = if flags.contains(OFlags::PATH) { OFlags::empty() } else { careful };
        let flags = flags | OFlags::CLOEXEC | careful;
        if self.kernel {
            match confined(self.current().as_fd(), &path.joined(), flags) {
                Ok(file) => return Ok(file),
                // Perhaps the root itself is another one by now; the walk below asks.
                Err(Errno::NOENT) => {}
                // `walk` tells an escape from an absolute link inside, and a loop from a magic link.
                Err(Errno::XDEV | Errno::LOOP | Errno::AGAIN | Errno::NOSYS | Errno::PERM) => {}
                Err(errno) => return Err(FileError::system(&path.shown, errno)),
            }
        }
        self.open_by_walk(&self.directory(), path, flags)
    }

    /// Opens a regular file for reading and says what it is; refuses anything else at once.
    pub fn open_file(&self, path: &AskedPath) -> Result<(std::fs::File, Stat), FileError> {
        let file = self.open_at(path, OFlags::RDONLY)?;
        let stat = rustix::fs::fstat(&file).map_err(|e| FileError::system(&path.shown, e))?;
        require_regular(&stat, &path.shown)?;
        Ok((std::fs::File::from(file), stat))
    }

    /// The same for a path that a walk over the root proposes, with the least work: a walk proposes
    /// many thousands. `directory` comes from [`directory`](Self::directory), once per walk.
    pub fn open_proposed(
        &self,
        directory: &OwnedFd,
        relative: &Path,
    ) -> Result<std::fs::File, FileError> {
        let shown = || super::path::shown(relative.as_os_str().as_encoded_bytes());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match self.kernel {
            true => confined(directory.as_fd(), relative.as_os_str(), flags),
            false => Err(Errno::NOSYS),
        };
        match opened {
            Ok(file) => {
                let stat = rustix::fs::fstat(&file);
                require_regular(&stat.map_err(|e| FileError::system(&shown(), e))?, "it")?;
                Ok(std::fs::File::from(file))
            }
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
                let bytes = relative.as_os_str().as_encoded_bytes();
                let asked = AskedPath { components: super::path::split(bytes), shown: shown() };
                self.open_file(&asked).map(|(file, _)| file)
            }
            Err(errno) => Err(FileError::system(&shown(), errno)),
        }
    }

    /// Opens a directory for reading.
    pub fn open_directory(&self, path: &AskedPath) -> Result<OwnedFd, FileError> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// What is at `path`, without opening it.
    pub fn stat(&self, path: &AskedPath) -> Result<Stat, FileError> {
        let entry = self.open_at(path, OFlags::PATH)?;
        rustix::fs::fstat(&entry).map_err(|errno| FileError::system(&path.shown, errno))
    }

    /// What is at `path` itself, a link included, reached by the confined way.
    pub fn stat_entry(&self, path: &AskedPath) -> Result<Stat, FileError> {
        let entry = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        rustix::fs::fstat(&entry).map_err(|errno| FileError::system(&path.shown, errno))
    }

    /// Finds the place of `path` for a change: the open directory and the name in it.
    pub fn locate(
        &self,
        path: &AskedPath,
        last: Last,
        missing: Missing,
    ) -> Result<Found, FileError> {
        Walk::new(self.directory(), &self.real).run(path, last, missing)
    }

    /// The path from the root of an open file or directory, if it is still below the root.
    pub fn real_path_of(&self, path: &AskedPath) -> Result<PathBuf, FileError> {
        match self.locate(path, Last::Follow, Missing::Refuse)? {
            Found::Directory { path, .. } => Ok(path.into()),
            Found::Entry(place) | Found::Absent(place) => Ok(place.path().into()),
        }
    }

    fn open_by_walk(
        &self,
        root: &Arc<OwnedFd>,
        path: &AskedPath,
        flags: OFlags,
    ) -> Result<OwnedFd, FileError> {
        let refused = |errno| FileError::system(&path.shown, errno);
        for _ in 0..EAGAIN_TRIES {
            let walk = Walk::new(Arc::clone(root), &self.real);
            let opened = match walk.run(path, Last::Follow, Missing::Refuse)? {
                Found::Directory { directory, .. } => {
                    rustix::fs::openat(&directory, ".", flags, Mode::empty())
                }
                Found::Entry(place) | Found::Absent(place) => {
                    let flags = flags | OFlags::NOFOLLOW;
                    rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty())
                }
            };
            match opened {
                // Became a link since the walk looked: walk again.
                Err(Errno::LOOP) => {}
                other => return other.map_err(refused),
            }
        }
        Err(refused(Errno::LOOP))
    }
}

/// Refuses all but regular files.
pub(super) fn require_regular(stat: &Stat, shown: &str) -> Result<(), FileError> {
    let path = || shown.to_owned();
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => return Err(FileError::IsADirectory { path: path() }),
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Symlink => "a symbolic link",
        FileType::Unknown => "of an unknown kind",
    };
    Err(FileError::NotARegularFile { path: path(), kind })
}

fn open_root(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn confined(root: BorrowedFd<'_>, path: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..EAGAIN_TRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}
