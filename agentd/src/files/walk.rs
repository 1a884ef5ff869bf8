//! Walks a path one component at a time, never following a link that it has not read itself.
//!
//! Each step opens one name with `O_NOFOLLOW` below the directory reached so far; a link's text is
//! read and walked in its place, with the root as the only meaning of an absolute text that is
//! inside; `..` goes back by the names that were walked, not by the file system's own `..`. So the
//! walk cannot leave the root, whatever is renamed meanwhile, and it never opens a magic link.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::FileError;
use super::path::{AskedPath, below, join, split};

/// Links followed in one walk, as in the kernel.
const LINKS_MAX: usize = 40;

/// What to do with a link at the very end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Walk on to what it points to.
    Follow,
    /// Take the link itself.
    Keep,
}

/// What to do where a directory is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Say that it is not there.
    Refuse,
    /// Make it.
    Make,
}

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Place {
    /// Open as a path only; see [`Place::readable`].
    pub directory: Arc<OwnedFd>,
    /// Names from the root to the directory, free of links.
    pub parents: Vec<OsString>,
    /// The name in it.
    pub name: OsString,
    /// What is there.
    pub stat: Option<Stat>,
}

impl Place {
    /// The path from the root, free of links.
    pub fn path(&self) -> OsString {
        let mut names: Vec<&OsStr> = self.parents.iter().map(OsString::as_os_str).collect();
        names.push(&self.name);
        join(&names)
    }

    /// The directory, opened so that it can be synced.
    pub fn readable(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, ".", flags, Mode::empty())
    }
}

/// Where a walk ended.
#[derive(Debug)]
pub(super) enum Found {
    /// At a directory.
    Directory {
        /// Open as a path only.
        directory: Arc<OwnedFd>,
        /// From the root, free of links; `.` for the root.
        path: OsString,
        /// Where it hangs; none for the root.
        place: Option<Place>,
    },
    /// At something else, which `stat` describes.
    Entry(Place),
    /// The directory is there, the name is not.
    Absent(Place),
}

/// One walk. Used once.
pub(super) struct Walk<'a> {
    root: Arc<OwnedFd>,
    real_root: &'a Path,
    current: Arc<OwnedFd>,
    names: Vec<OsString>,
    todo: VecDeque<OsString>,
    links: usize,
}

impl<'a> Walk<'a> {
    /// Starts at the root.
    pub fn new(root: Arc<OwnedFd>, real_root: &'a Path) -> Self {
        let current = Arc::clone(&root);
        Self { root, real_root, current, names: Vec::new(), todo: VecDeque::new(), links: 0 }
    }

    /// Walks to the end of `path`.
    pub fn run(
        mut self,
        path: &AskedPath,
        last: Last,
        missing: Missing,
    ) -> Result<Found, FileError> {
        self.todo = path.components.iter().cloned().collect();
        let refused = |errno| FileError::system(&path.shown, errno);
        while let Some(name) = self.todo.pop_front() {
            if name == "." {
                continue;
            }
            if name == ".." {
                self.step_back(&path.shown)?;
                continue;
            }
            let is_last = self.todo.is_empty();
            let entry = match self.peek(&name) {
                Ok(entry) => entry,
                Err(Errno::NOENT) if is_last => return Ok(Found::Absent(self.place(name, None))),
                Err(Errno::NOENT) if missing == Missing::Make => {
                    self.make(&name).map_err(refused)?
                }
                Err(errno) => return Err(refused(errno)),
            };
            let stat = rustix::fs::fstat(&entry).map_err(refused)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if !is_last || last == Last::Follow => {
                    self.follow(&entry, &path.shown)?;
                }
                FileType::Directory => {
                    if is_last {
                        let place = self.place(name.clone(), Some(stat));
                        self.names.push(name);
                        let path = join(&self.names);
                        let directory = Arc::new(entry);
                        return Ok(Found::Directory { directory, path, place: Some(place) });
                    }
                    self.names.push(name);
                    self.current = Arc::new(entry);
                }
                _ if is_last => return Ok(Found::Entry(self.place(name, Some(stat)))),
                _ => return Err(refused(Errno::NOTDIR)),
            }
        }
        let path = join(&self.names);
        Ok(Found::Directory { directory: self.current, path, place: None })
    }

    fn place(&self, name: OsString, stat: Option<Stat>) -> Place {
        let directory = Arc::clone(&self.current);
        Place { directory, parents: self.names.clone(), name, stat }
    }

    fn peek(&self, name: &OsStr) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.current.as_fd(), name, flags, Mode::empty())
    }

    /// Makes a directory and syncs its parent; somebody else making it first is fine.
    fn make(&self, name: &OsStr) -> rustix::io::Result<OwnedFd> {
        match rustix::fs::mkdirat(&self.current, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                if let Ok(parent) = rustix::fs::openat(&self.current, ".", flags, Mode::empty()) {
                    rustix::fs::fsync(parent)?;
                }
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        self.peek(name)
    }

    /// Puts the link's text in front of what is left to walk.
    fn follow(&mut self, link: &OwnedFd, shown: &str) -> Result<(), FileError> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(FileError::system(shown, Errno::LOOP));
        }
        let text = rustix::fs::readlinkat(link, "", Vec::new())
            .map_err(|errno| FileError::system(shown, errno))?;
        let mut components = split(text.as_bytes());
        if text.as_bytes().starts_with(b"/") {
            components = below(&components, self.real_root)
                .ok_or_else(|| FileError::PathEscape { path: shown.to_owned() })?;
            self.current = Arc::clone(&self.root);
            self.names.clear();
        }
        for component in components.into_iter().rev() {
            self.todo.push_front(component);
        }
        Ok(())
    }

    fn step_back(&mut self, shown: &str) -> Result<(), FileError> {
        if self.names.pop().is_none() {
            return Err(FileError::PathEscape { path: shown.to_owned() });
        }
        let mut current = Arc::clone(&self.root);
        for name in &self.names {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&current, name, flags, Mode::empty());
            current = Arc::new(opened.map_err(|errno| match errno {
                // It was a directory a moment ago; what it is now was not asked for.
                Errno::LOOP | Errno::NOTDIR => FileError::system(shown, Errno::NOENT),
                errno => FileError::system(shown, errno),
            })?);
        }
        self.current = current;
        Ok(())
    }
}
