//! What the first bytes of a file and of its log say, read without SQLite and so without a write.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// `HLDF`: written into the header of every file that this program makes.
pub(super) const APPLICATION_ID: u32 = 0x484c_4446;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
/// The two byte orders of the checksums.
const LOG_MAGIC: [u32; 2] = [0x377f_0682, 0x377f_0683];

/// Whether a file is there, and if so, that it is ours by its first bytes.
///
/// Answers the schema number in the header; it may lag behind the one in the log.
pub(super) fn inspect(path: &Path) -> Result<Option<i64>, OpenError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(file_error(path, "read", source)),
    };
    let foreign = |what| OpenError::Foreign { path: path.to_owned(), what };
    if meta.file_type().is_symlink() {
        return Err(foreign("a symbolic link"));
    }
    if !meta.is_file() {
        return Err(foreign("not a regular file"));
    }
    if let Some(user) = effective_user().filter(|user| *user != meta.uid()) {
        return Err(OpenError::WrongOwner { path: path.to_owned(), owner: meta.uid(), user });
    }
    if meta.len() == 0 {
        return Err(foreign("an empty file"));
    }
    let mut header = [0; HEADER_BYTES];
    let mut file = open(path)?;
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(foreign("not a database"));
        }
        Err(source) => return Err(file_error(path, "read", source)),
    }
    if &header[..MAGIC.len()] != MAGIC {
        return Err(foreign("not a database"));
    }
    if number(&header, APPLICATION_ID_AT) != APPLICATION_ID {
        return Err(foreign("a database of another program"));
    }
    inspect_log(path)?;
    Ok(Some(i64::from(number(&header, USER_VERSION_AT))))
}

/// A log that does not begin like one would be overwritten by SQLite with the first write.
fn inspect_log(path: &Path) -> Result<(), OpenError> {
    let log = beside(path, "-wal");
    let mut start = [0; 4];
    let mut file = match File::open(&log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(file_error(&log, "read", source)),
    };
    match file.read_exact(&mut start) {
        Ok(()) if LOG_MAGIC.contains(&u32::from_be_bytes(start)) => Ok(()),
        // A crash may leave it empty or shorter than its header.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        // All zero: made, and cut off before the first frame.
        Ok(()) if start == [0; 4] => Ok(()),
        Ok(()) => Err(OpenError::ForeignLog { path: path.to_owned() }),
        Err(source) => Err(file_error(&log, "read", source)),
    }
}

fn open(path: &Path) -> Result<File, OpenError> {
    // Writing is what the store needs; nothing is written here.
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| file_error(path, "opened for writing", source))
}

fn number(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// The user this program runs as, where the system says.
fn effective_user() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|meta| meta.uid())
}

/// `path` with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn file_error(path: &Path, action: &'static str, source: io::Error) -> OpenError {
    OpenError::File { path: path.to_owned(), action, source }
}
