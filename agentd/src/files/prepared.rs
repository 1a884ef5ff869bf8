//! A change that is ready to happen: new contents are synced beside the old, nothing is replaced.
//!
//! ```text
//! Staging ──► Prepared ──commit──► renamed, directories synced
//!                │ dropped                 ▲
//!                ▼                         │ rolls forward
//!             temporary files removed    recover(record)
//! ```
//!
//! Several files are swapped with their temporary files (`RENAME_EXCHANGE`), so that a failure in
//! the middle can be swapped back; where the file system cannot do that, they are renamed in order.
//! A record names inodes, so that recovery can tell a swapped file from one that still waits.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use shared::fault;
use shared::protocol::Reply;
use shared::protocol::files::{Deleted, Edited, Written};

use super::error::FileError;
use super::path::{AskedPath, shown};
use super::root::Root;
use super::temp::{TempNote, TempNotes, fill};
use super::walk::{Found, Last, Missing, Place};

/// The answer of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileReply {
    /// Of `files/write`.
    Written(Written),
    /// Of `files/edit`.
    Edited(Edited),
    /// Of `files/delete`.
    Deleted(Deleted),
}

impl FileReply {
    /// The encoded `Reply::Ok` of the method that asked.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Written(reply) => shared::wire::encode(&Reply::Ok(reply)),
            Self::Edited(reply) => shared::wire::encode(&Reply::Ok(reply)),
            Self::Deleted(reply) => shared::wire::encode(&Reply::Ok(reply)),
        }
    }
}

/// What a file was when the change was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified_s: i64,
    modified_ns: u64,
    changed_s: i64,
    changed_ns: u64,
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified_s: stat.st_mtime,
            modified_ns: stat.st_mtime_nsec,
            changed_s: stat.st_ctime,
            changed_ns: stat.st_ctime_nsec,
        }
    }
}

/// What happens to one name.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Action {
    /// The temporary file takes its place.
    Replace { temp: String, inode: u64 },
    /// It goes.
    Remove { is_directory: bool },
}

/// One name of a change, as the record keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ChangeRecord {
    #[serde(with = "shared::wire::bytes")]
    path: Vec<u8>,
    was: Option<Identity>,
    action: Action,
}

#[derive(Serialize, Deserialize)]
struct Record {
    changes: Vec<ChangeRecord>,
    reply: FileReply,
}

struct Change {
    place: Place,
    record: ChangeRecord,
    is_done: bool,
}

/// Collects the temporary files of one change.
pub(super) struct Staging {
    changes: Vec<Change>,
    note: Option<TempNote>,
}

impl Staging {
    /// Nothing yet.
    pub fn begin(notes: &TempNotes) -> Result<Self, FileError> {
        let note = notes.begin().map_err(|error| FileError::io("the state directory", &error))?;
        Ok(Self { changes: Vec::new(), note: Some(note) })
    }

    /// Writes `content` beside `place` and syncs it. `old` is the open file it will replace.
    pub fn replace(
        &mut self,
        place: Place,
        content: &[u8],
        old: Option<&OwnedFd>,
        mode: Option<u32>,
    ) -> rustix::io::Result<()> {
        let note = self.note.as_mut().ok_or(Errno::INVAL)?;
        let bits = if place.stat.is_some() { 0o600 } else { 0o644 };
        let (temp, file) = note.make(&place, rustix::fs::Mode::from_raw_mode(bits))?;
        let made = rustix::fs::fstat(&file)?;
        let record = ChangeRecord {
            path: place.path().into_vec(),
            was: place.stat.as_ref().map(Identity::of),
            action: Action::Replace {
                temp: temp.to_string_lossy().into_owned(),
                inode: made.st_ino,
            },
        };
        let is_new = place.stat.is_none();
        self.changes.push(Change { place, record, is_done: false });
        if let (true, Some(bits)) = (is_new, mode) {
            rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(bits & 0o777))?;
        }
        let stat = self.changes.last().and_then(|change| change.place.stat);
        fill(&file, content, stat.as_ref().map(|stat| (stat, old)))?;
        fault::point("w4 file staged");
        Ok(())
    }

    /// Notes that `place` goes.
    pub fn remove(&mut self, place: Place, is_directory: bool) {
        let record = ChangeRecord {
            path: place.path().into_vec(),
            was: place.stat.as_ref().map(Identity::of),
            action: Action::Remove { is_directory },
        };
        self.changes.push(Change { place, record, is_done: false });
    }

    /// All is there; `reply` is what will be answered.
    pub fn finish(self, reply: FileReply) -> Prepared {
        Prepared { staging: self, reply, turn: None }
    }

    /// Opens again what a record names, to go on with it.
    fn reopen(root: &Root, records: Vec<ChangeRecord>) -> Result<Self, FileError> {
        let mut changes = Vec::new();
        for record in records {
            let components = super::path::split(&record.path);
            let asked = AskedPath { components, shown: shown(&record.path) };
            let place = match root.locate(&asked, Last::Keep, Missing::Refuse) {
                Ok(Found::Entry(place) | Found::Absent(place)) => place,
                Ok(Found::Directory { place: Some(place), .. }) => place,
                Ok(Found::Directory { place: None, .. }) => {
                    return Err(FileError::Root { path: asked.shown });
                }
                Err(error) => return Err(error),
            };
            changes.push(Change { place, record, is_done: false });
        }
        Ok(Self { changes, note: None })
    }

    fn commit(&mut self) -> Result<(), FileError> {
        for change in &self.changes {
            change.check_unchanged()?;
        }
        fault::point("w4 files checked");
        let several = self.changes.len() > 1;
        for index in 0..self.changes.len() {
            if let Err(errno) = self.changes[index].perform(several) {
                let shown = shown(&self.changes[index].record.path);
                for change in self.changes[..index].iter_mut().rev() {
                    change.undo();
                }
                return Err(FileError::system(&shown, errno));
            }
        }
        self.sync_directories()
    }

    /// Syncs each directory once, so that the new names survive a power cut.
    fn sync_directories(&self) -> Result<(), FileError> {
        let mut synced: Vec<&[OsString]> = Vec::new();
        for Change { place, record, .. } in &self.changes {
            if synced.contains(&place.parents.as_slice()) {
                continue;
            }
            synced.push(&place.parents);
            match place.readable().and_then(rustix::fs::fsync) {
                // A directory that may not be read cannot be synced; the change itself is done.
                Ok(()) | Err(Errno::ACCESS | Errno::INVAL) => {}
                Err(errno) => return Err(FileError::system(&shown(&record.path), errno)),
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for change in &self.changes {
            change.remove_temp();
        }
        if let Some(note) = self.note.take() {
            note.close();
        }
    }
}

impl Change {
    fn now(&self) -> rustix::io::Result<Option<Identity>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(&self.place.directory, &self.place.name, flags) {
            Ok(stat) => Ok(Some(Identity::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn check_unchanged(&self) -> Result<(), FileError> {
        let path = || shown(&self.record.path);
        let now = self.now().map_err(|errno| FileError::system(&path(), errno))?;
        if now == self.record.was {
            return Ok(());
        }
        let why = "it changed while this change was prepared".to_owned();
        Err(FileError::Changed { path: path(), why, actual: None })
    }

    fn perform(&mut self, several: bool) -> rustix::io::Result<()> {
        let Place { directory, name, .. } = &self.place;
        match &self.record.action {
            Action::Remove { is_directory } => {
                let flags = if *is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                rustix::fs::unlinkat(directory, name, flags)?;
            }
            Action::Replace { temp, .. } if several && self.record.was.is_some() => {
                let swap = RenameFlags::EXCHANGE;
                match rustix::fs::renameat_with(directory, temp, directory, name, swap) {
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        rustix::fs::renameat(directory, temp, directory, name)?;
                    }
                    other => other?,
                }
            }
            Action::Replace { temp, .. } => {
                rustix::fs::renameat(directory, temp, directory, name)?;
            }
        }
        self.is_done = true;
        fault::point("w4 file changed");
        Ok(())
    }

    /// Takes one file of several back. A plain rename cannot be taken back; it is told.
    fn undo(&mut self) {
        let Place { directory, name, .. } = &self.place;
        if let (true, Action::Replace { temp, .. }) = (self.is_done, &self.record.action) {
            let undone = if self.record.was.is_some() {
                rustix::fs::renameat_with(directory, temp, directory, name, RenameFlags::EXCHANGE)
            } else {
                rustix::fs::renameat(directory, name, directory, temp)
            };
            if let Err(error) = undone {
                tracing::error!(path = ?self.record.path, %error, "a file could not be taken back");
            }
        }
    }

    fn remove_temp(&self) {
        if let Action::Replace { temp, .. } = &self.record.action {
            let _ = rustix::fs::unlinkat(&self.place.directory, temp.as_str(), AtFlags::empty());
        }
    }

    /// Whether the rename of an earlier run of the daemon already happened.
    fn happened(&self) -> rustix::io::Result<bool> {
        let now = self.now()?;
        let Action::Replace { temp, inode } = &self.record.action else {
            return Ok(now != self.record.was);
        };
        if now.is_some_and(|now| now.inode == *inode) {
            return Ok(true);
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(&self.place.directory, temp.as_str(), flags) {
            Ok(stat) => Ok(stat.st_ino != *inode),
            Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(errno),
        }
    }
}

/// A change whose new contents are on disk beside the old ones. Dropped, it leaves no trace.
pub struct Prepared {
    staging: Staging,
    reply: FileReply,
    turn: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Prepared {
    /// What the journal keeps before [`FilesHandle::apply`](super::FilesHandle::apply), so that
    /// [`FilesHandle::recover`](super::FilesHandle::recover) can go on after a crash.
    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        let changes = self.staging.changes.iter().map(|change| change.record.clone()).collect();
        shared::wire::encode(&Record { changes, reply: self.reply.clone() })
    }

    /// Keeps every other change waiting until this one is over.
    pub(super) fn holding(mut self, turn: tokio::sync::OwnedSemaphorePermit) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Makes the change: all of it, or none of it and an error.
    pub(super) fn commit(mut self) -> Result<FileReply, FileError> {
        self.staging.commit()?;
        Ok(self.reply)
    }
}

/// Goes on with a change that was recorded before a crash.
///
/// Rolls forward if any of it happened or all of it still can; otherwise removes its temporary
/// files and says that a file changed meanwhile.
pub(super) fn recover(root: &Root, record: &[u8]) -> Result<FileReply, FileError> {
    let record: Record = shared::wire::decode(record)
        .map_err(|error| FileError::InvalidRequest(format!("the record is damaged: {error}")))?;
    let mut staging = Staging::reopen(root, record.changes)?;
    let mut waiting = Vec::new();
    let mut happened = 0;
    for change in std::mem::take(&mut staging.changes) {
        let system = |errno| FileError::system(&shown(&change.record.path), errno);
        if change.happened().map_err(system)? {
            happened += 1;
            // After a swap this is the old content.
            change.remove_temp();
        } else {
            waiting.push(change);
        }
    }
    staging.changes = waiting;
    if happened == 0 {
        staging.commit()?;
    } else {
        for change in &mut staging.changes {
            change
                .perform(false)
                .map_err(|errno| FileError::system(&shown(&change.record.path), errno))?;
        }
        staging.sync_directories()?;
    }
    Ok(record.reply)
}
