//! The working directory of a process: opened beneath the root, and used by its descriptor.
//!
//! A path that was checked by its text could lead elsewhere a moment later; a descriptor cannot.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use shared::limits::PATH_MAX_BYTES;
use shared::protocol::ErrorCode;

use super::error::StartError;

/// Tries while a rename elsewhere in the tree disturbs the lookup.
const DISTURBED_MAX: usize = 64;

/// A directory inside the root.
#[derive(Debug)]
pub(super) struct WorkingDirectory {
    /// What the child changes to.
    pub(super) fd: OwnedFd,
    /// Its absolute path at the time it was opened.
    pub(super) path: PathBuf,
}

/// Opens `asked`, relative to `root` or absolute inside it; none is the root itself.
pub(super) fn open(root: &Path, asked: Option<&str>) -> Result<WorkingDirectory, StartError> {
    let asked = asked.unwrap_or(".");
    let error =
        |code, problem| StartError::Cwd { cwd: asked.chars().take(256).collect(), code, problem };
    if asked.len() > PATH_MAX_BYTES {
        return Err(error(ErrorCode::NameTooLong, "its path is too long"));
    }
    let relative = if Path::new(asked).is_absolute() {
        // By whole components: /srv/code-evil is not inside /srv/code.
        let inside = Path::new(asked).strip_prefix(root);
        inside.map_err(|_| error(ErrorCode::PathEscape, "it is outside the workspace"))?
    } else {
        Path::new(asked)
    };
    if leaves(relative) {
        return Err(error(ErrorCode::PathEscape, "it is outside the workspace"));
    }
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let opened = open_beneath(root, relative).map_err(|errno| match errno {
        Errno::XDEV => error(ErrorCode::PathEscape, "it is outside the workspace"),
        Errno::NOENT => error(ErrorCode::CwdNotFound, "it does not exist"),
        Errno::NOTDIR => error(ErrorCode::NotADirectory, "it is not a directory"),
        Errno::LOOP => error(ErrorCode::SymlinkLoop, "its symbolic links do not end"),
        Errno::NAMETOOLONG => error(ErrorCode::NameTooLong, "its name is too long"),
        Errno::MFILE | Errno::NFILE => StartError::TooManyOpenFiles,
        Errno::ACCESS | Errno::PERM => error(ErrorCode::PermissionDenied, "it may not be entered"),
        _ => error(ErrorCode::IoFailed, "it cannot be opened"),
    })?;
    rustix::fs::accessat(&opened, ".", Access::EXEC_OK, AtFlags::empty())
        .map_err(|_| error(ErrorCode::PermissionDenied, "it may not be entered"))?;
    let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let path = std::fs::read_link(link).unwrap_or_else(|_| root.join(relative));
    Ok(WorkingDirectory { fd: opened, path })
}

fn open_beneath(root: &Path, relative: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < DISTURBED_MAX => tries += 1,
            opened => return opened,
        }
    }
}

/// Whether the text alone goes above where it starts. Asked before the disk is, so that the answer
/// says nothing about what exists outside.
fn leaves(path: &Path) -> bool {
    let mut depth = 0_i32;
    for component in path.components() {
        match component {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
        if depth < 0 {
            return true;
        }
    }
    false
}
