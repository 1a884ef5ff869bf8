//! The lock beside a SQLite file: one process at a time, and whether the last one closed it.
//!
//! ```text
//! absent ──open──► "open" ──close, drop──► "closing" ──► (the log is merged and removed)
//! ```
//!
//! After a crash the text is still "open" and the log must be there; if it is not, somebody moved
//! the file without its log, and committed writes would be lost in silence.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use super::error::OpenError;
use super::header::{beside, file_error};

const OPEN: &str = "open\n";
const CLOSING: &str = "closing\n";

/// Holds a file for this process until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: Mutex<File>,
}

impl FileLock {
    /// Takes the lock. Errors: [`OpenError::Locked`].
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let name = beside(path, ".lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(|source| file_error(&name, "made", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file: Mutex::new(file) }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(file_error(&name, "locked", source)),
        }
    }

    /// Whether the last process that had the file ended without closing it.
    pub(super) fn was_left_open(&self) -> bool {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        read.is_ok() && text == OPEN
    }

    /// From now on the log belongs to the file.
    pub(super) fn opened(&self) {
        self.note(OPEN);
    }

    /// From now on the log may be merged and removed.
    pub(in crate::store) fn closing(&self) {
        self.note(CLOSING);
    }

    /// A hint for the next start; that it cannot be written is no reason to stop.
    fn note(&self, text: &str) {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let noted = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64));
        if let Err(error) = noted {
            tracing::warn!(%error, "the note beside the database was not written");
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        self.closing();
    }
}
