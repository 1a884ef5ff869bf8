//! Temporary files of changes that are not finished, and the notes that find them after a crash.
//!
//! A note is a small file in the daemon's state directory with one line per temporary file, written
//! before the file is made and removed after the change. A crash leaves the note, and the next
//! start removes what it names; nobody has to search the workspace. Notes are not synced: a power
//! cut can leave a temporary file behind, never a wrong file.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::owner::as_daemon;
use super::path::AskedPath;
use super::root::Root;
use super::walk::{Found, Last, Missing, Place};

/// Hands out names and notes. Cheap to clone.
#[derive(Clone)]
pub(super) struct TempNotes {
    directory: Arc<Path>,
    next: Arc<AtomicU64>,
}

impl TempNotes {
    /// Keeps its notes in `directory`, which is made if it is missing.
    pub fn open(directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.into(), next: Arc::new(AtomicU64::new(0)) })
    }

    /// Begins the note of one change.
    pub fn begin(&self) -> std::io::Result<TempNote> {
        loop {
            let path = self.directory.join(format!("{}.temps", self.unique()));
            match as_daemon(|| std::fs::File::create_new(&path)) {
                Ok(file) => return Ok(TempNote { notes: self.clone(), path, file }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes every noted temporary file and the notes. Only while no change is under way.
    pub fn sweep(&self, root: &Root) -> std::io::Result<usize> {
        let mut removed = 0;
        for note in std::fs::read_dir(&self.directory)? {
            let note = note?.path();
            for line in std::fs::read_to_string(&note)?.lines() {
                removed += usize::from(remove_noted(root, line));
            }
            std::fs::remove_file(&note)?;
        }
        Ok(removed)
    }

    /// Unique while the daemon runs; what an earlier one left is met with `O_EXCL` and passed over.
    fn unique(&self) -> String {
        format!("{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Removes one temporary file; answers whether it was there. A line cut by a crash names nothing.
fn remove_noted(root: &Root, line: &str) -> bool {
    let Ok(bytes) = hex::decode(line) else { return false };
    let Some(at) = bytes.iter().rposition(|byte| *byte == b'/') else { return false };
    if !bytes[at + 1..].starts_with(b".holdfast-") {
        return false;
    }
    let components = super::path::split(&bytes);
    let asked = AskedPath { components, shown: "a temporary file".to_owned() };
    match root.locate(&asked, Last::Keep, Missing::Refuse) {
        Ok(Found::Entry(place)) => {
            rustix::fs::unlinkat(&place.directory, &place.name, AtFlags::empty()).is_ok()
        }
        _ => false,
    }
}

/// The note of one change. Removed by [`TempNote::close`].
pub(super) struct TempNote {
    notes: TempNotes,
    path: PathBuf,
    file: std::fs::File,
}

impl TempNote {
    /// Makes a noted, empty temporary file next to `place`.
    pub fn make(&mut self, place: &Place, mode: Mode) -> rustix::io::Result<(OsString, OwnedFd)> {
        loop {
            let name = OsString::from(format!(".holdfast-{}.tmp", self.notes.unique()));
            let sibling = Place {
                directory: Arc::clone(&place.directory),
                parents: place.parents.clone(),
                name,
                stat: None,
            };
            let mut bytes = sibling.path().into_vec();
            bytes.splice(0..0, *b"./"); // so that a name at the root has a slash, too
            writeln!(self.file, "{}", hex::encode(bytes))
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            match rustix::fs::openat(&place.directory, &sibling.name, flags | OFlags::CLOEXEC, mode)
            {
                Ok(file) => return Ok((sibling.name, file)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The change is over: nothing is left to remove.
    pub fn close(self) {
        if let Err(error) = as_daemon(|| std::fs::remove_file(&self.path)) {
            tracing::warn!(%error, "a note of temporary files could not be removed");
        }
    }
}

/// Fills a temporary file: content, then owner, mode and attributes of `old`, then sync.
pub(super) fn fill(
    temp: &OwnedFd,
    content: &[u8],
    old: Option<(&Stat, Option<&OwnedFd>)>,
) -> rustix::io::Result<()> {
    let mut rest = content;
    while !rest.is_empty() {
        match rustix::io::write(temp, rest) {
            Ok(len) => rest = &rest[len..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    if let Some((stat, readable)) = old {
        take_over(temp, stat, readable)?;
    }
    rustix::fs::fsync(temp)
}

/// Makes `temp` look like the file it replaces, as far as the daemon may.
fn take_over(temp: &OwnedFd, old: &Stat, readable: Option<&OwnedFd>) -> rustix::io::Result<()> {
    let mine = rustix::fs::fstat(temp)?;
    let mut bits = old.st_mode & 0o7777;
    if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid) {
        let (user, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
        if rustix::fs::fchown(temp, Some(user), Some(group)).is_err() {
            // Another owner must not get set-user-id bits that the former owner granted.
            bits &= 0o777;
        }
    }
    if let Some(readable) = readable {
        copy_attributes(readable, temp);
    }
    rustix::fs::fchmod(temp, Mode::from_raw_mode(bits))
}

/// Copies user attributes and the access list; what cannot be copied is left out.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) {
    let mut names = Vec::with_capacity(4_096);
    if rustix::fs::flistxattr(from.as_fd(), rustix::buffer::spare_capacity(&mut names)).is_err() {
        return;
    }
    let wanted = names
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user.") || *name == b"system.posix_acl_access");
    for name in wanted {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut value = Vec::with_capacity(64 * 1024);
        if rustix::fs::fgetxattr(from, name, rustix::buffer::spare_capacity(&mut value)).is_ok() {
            let _ = rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty());
        }
    }
}
