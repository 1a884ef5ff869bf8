//! Writing a whole file: a new file beside the old one, synced, which then takes its name.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use shared::limits::WRITE_BYTES_MAX;
use shared::protocol::files::{Expect, WriteFile, Written};

use super::error::FileError;
use super::path::{AskedPath, file_path};
use super::prepared::{FileReply, Prepared, Staging};
use super::read::{hash_text, whole_content};
use super::root::{Root, require_regular};
use super::temp::TempNotes;
use super::walk::{Found, Last, Missing, Place};

/// Prepares a [`WriteFile`].
pub(super) fn plan_write(
    root: &Root,
    notes: &TempNotes,
    request: &WriteFile,
    content: &[u8],
    started: Instant,
) -> Result<Prepared, FileError> {
    let path = root.parse(&request.path)?;
    check_size(&path, content.len() as u64)?;
    if content.len() as u64 != request.len {
        let (said, came) = (request.len, content.len());
        return Err(FileError::InvalidRequest(format!("{said} bytes were announced, {came} came")));
    }
    if path.components.is_empty() || path.names_a_directory() {
        // Nothing may be made for such a path, but where it leads still comes first.
        if let Err(escape @ FileError::PathEscape { .. }) =
            root.locate(&path, Last::Follow, Missing::Refuse)
        {
            return Err(escape);
        }
        return Err(FileError::IsADirectory { path: path.shown });
    }
    let place = match root.locate(&path, Last::Follow, Missing::Make)? {
        Found::Directory { .. } => return Err(FileError::IsADirectory { path: path.shown }),
        Found::Entry(place) | Found::Absent(place) => place,
    };
    let old = place.stat.is_some().then(|| open_old(&place, &path)).transpose()?;
    check_expected(&request.expect, &path, old.as_ref().map(Old::readable), started)?;
    let reply = FileReply::Written(Written {
        path: file_path(place.path().as_encoded_bytes()),
        created: old.is_none(),
        hash: hash_text(blake3::hash(content)),
        size: content.len() as u64,
    });
    let mut staging = Staging::begin(notes)?;
    let readable = old.as_ref().and_then(|old| old.file.as_ref().ok());
    staging
        .replace(place, content, readable, request.mode)
        .map_err(|errno| FileError::system(&path.shown, errno))?;
    Ok(staging.finish(reply))
}

/// Refuses content over 16 MiB.
pub(super) fn check_size(path: &AskedPath, size: u64) -> Result<(), FileError> {
    let limit = WRITE_BYTES_MAX as u64;
    if size > limit {
        return Err(FileError::TooLarge { path: path.shown.clone(), size, limit });
    }
    Ok(())
}

/// A regular file that may be written. It may still be one that may not be read.
pub(super) struct Old {
    pub file: Result<OwnedFd, Errno>,
}

impl Old {
    fn readable(&self) -> Result<&OwnedFd, Errno> {
        self.file.as_ref().map_err(|errno| *errno)
    }
}

/// Opens the file that will be replaced. A rename would not ask whether the file may be written,
/// so this does.
pub(super) fn open_old(place: &Place, path: &AskedPath) -> Result<Old, FileError> {
    let refused = |errno| FileError::system(&path.shown, errno);
    if let Some(stat) = &place.stat {
        require_regular(stat, &path.shown)?;
    }
    rustix::fs::accessat(&place.directory, &place.name, Access::WRITE_OK, AtFlags::EACCESS)
        .map_err(refused)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty());
    if let Ok(file) = &file {
        require_regular(&rustix::fs::fstat(file).map_err(refused)?, &path.shown)?;
    }
    Ok(Old { file })
}

/// Checks the precondition against the open file; none: nothing is there.
pub(super) fn check_expected(
    expect: &Expect,
    path: &AskedPath,
    old: Option<Result<&OwnedFd, Errno>>,
    started: Instant,
) -> Result<(), FileError> {
    let shown = || path.shown.clone();
    match (expect, old) {
        (Expect::Any, _) | (Expect::Absent, None) => Ok(()),
        (Expect::Absent, Some(_)) => Err(FileError::Exists { path: shown() }),
        (Expect::Hash { .. }, None) => Err(FileError::Changed {
            path: shown(),
            why: "it does not exist".to_owned(),
            actual: None,
        }),
        (Expect::Hash { hash }, Some(file)) => {
            let file = file.map_err(|errno| FileError::system(&path.shown, errno))?;
            let file = file.try_clone().map_err(|error| FileError::io(&path.shown, &error))?;
            let content = whole_content(&file.into(), path, started)?;
            check_hash(path, Some(hash), content.as_deref())
        }
    }
}

/// Compares a hash with the content; none: the content is over the limit.
pub(super) fn check_hash(
    path: &AskedPath,
    expected: Option<&String>,
    content: Option<&[u8]>,
) -> Result<(), FileError> {
    let Some(expected) = expected else { return Ok(()) };
    let actual = content.map(|content| hash_text(blake3::hash(content)));
    if actual.as_ref() == Some(expected) {
        return Ok(());
    }
    let why = "its content has another hash; read it again".to_owned();
    Err(FileError::Changed { path: path.shown.clone(), why, actual })
}
