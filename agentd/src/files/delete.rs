//! Removing one name: a file, a link, an empty directory. Never the root.

use std::time::Instant;

use rustix::fs::{FileType, Mode, OFlags};
use shared::protocol::files::{DeleteFile, Deleted, Expect};

use super::error::FileError;
use super::path::file_path;
use super::prepared::{FileReply, Prepared, Staging};
use super::root::Root;
use super::temp::TempNotes;
use super::walk::{Found, Last, Missing};
use super::write::check_expected;

/// Prepares a [`DeleteFile`].
pub(super) fn plan_delete(
    root: &Root,
    notes: &TempNotes,
    request: &DeleteFile,
    started: Instant,
) -> Result<Prepared, FileError> {
    if request.expect == Expect::Absent {
        return Err(FileError::InvalidRequest("what is absent cannot be deleted".to_owned()));
    }
    let path = root.parse(&request.path)?;
    let place = match root.locate(&path, Last::Keep, Missing::Refuse)? {
        Found::Directory { place: None, .. } => return Err(FileError::Root { path: path.shown }),
        Found::Directory { place: Some(place), .. } | Found::Entry(place) => place,
        Found::Absent(_) => return Err(FileError::system(&path.shown, rustix::io::Errno::NOENT)),
    };
    let kind = place.stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
    if matches!(request.expect, Expect::Hash { .. }) {
        if kind != Some(FileType::RegularFile) {
            return Err(FileError::NotARegularFile { path: path.shown, kind: "something else" });
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty());
        let file = file.as_ref().map_err(|errno| *errno);
        check_expected(&request.expect, &path, Some(file), started)?;
    }
    let reply = FileReply::Deleted(Deleted { path: file_path(place.path().as_encoded_bytes()) });
    let is_directory = kind == Some(FileType::Directory);
    if is_directory {
        check_empty(&place, &path.shown)?;
    }
    let mut staging = Staging::begin(notes)?;
    staging.remove(place, is_directory);
    Ok(staging.finish(reply))
}

/// Refuses a directory with entries before anything is recorded.
fn check_empty(place: &super::walk::Place, shown: &str) -> Result<(), FileError> {
    let refused = |errno| FileError::system(shown, errno);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory =
        rustix::fs::openat(&place.directory, &place.name, flags, Mode::empty()).map_err(refused)?;
    for entry in rustix::fs::Dir::new(directory).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Err(refused(rustix::io::Errno::NOTEMPTY));
        }
    }
    Ok(())
}
