//! One record file: replay, append, rewrite. Blocking; the recorder calls it off the executor.
//!
//! ```text
//! file    = "HOLDREC1", batch…, zeros (room that was prepared ahead)
//! batch   = "HFB\x01", payload length u32, sequence u64, checksum [16], payload     (little-endian)
//! payload = record…        record = length u32, bytes
//! ```
//!
//! The checksum is BLAKE3 of the fields before it and of the payload, cut to 16 bytes. A batch is
//! written only after the one before it is on disk. So a damaged batch with nothing valid behind
//! it is the torn end of a crash, and is cut; with a valid, later one behind it, it is corruption
//! of something that was acknowledged, and the file is refused.
//!
//! Room is prepared ahead with zeros: an append then changes no metadata (half the cost of a
//! growing file), and a full disk is met before a promise and not in the middle of one. Behind that
//! lies *ballast*: room that is allocated to the file and that only records of [`Urgency::Finish`]
//! use. It is in the file itself, so that nobody else can take it when the disk is full.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::fault::{self, Disk};

use super::batch::{
    BATCH_HEADER_BYTES, BATCH_MAGIC, BATCH_MAX_BYTES, RECORD_HEADER_BYTES, Records, checksum,
    encode_batch,
};
use super::room::is_no_space;

const FILE_MAGIC: &[u8; 8] = b"HOLDREC1";
/// Records that a rewrite holds in memory at a time, unless one alone is larger.
const REWRITE_BATCH_BYTES: usize = 1024 * 1024;

/// Where a record is; reads it also after the file was rewritten or removed.
#[derive(Clone, Debug)]
pub struct Location {
    file: Arc<File>,
    offset: u64,
    len: u32,
}

/// Whether a record may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Begins something; can be refused when the disk is full.
    Begin,
    /// Says how something ended; has a reserve.
    Finish,
}

/// Why a record file cannot be opened. The message completes "could not open …".
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something that was acknowledged is damaged.
    #[error(
        "{path} is damaged at byte {offset}: records after it are intact, so this is no torn \
         write; restore the file from a backup, or move it away and accept that outcomes are lost"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
    },
    /// Another kind of file, or a newer format.
    #[error("{path} is not a record file of this version")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The operating system says no.
    #[error("{path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// Why records were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full. Nothing was written; a later try may do.
    #[error("the disk is full")]
    NoSpace,
    /// Whether the records are on disk is not known, and never will be. Final.
    #[error("the records could not be made durable")]
    Failed(#[source] io::Error),
}

/// An open record file. Its end is known; the room behind it is zeros.
pub struct RecordFile {
    path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) end: u64,
    pub(super) prepared_end: u64,
    next_sequence: u64,
    failed: bool,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// What goes wrong in a test, counted down per call.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Faults {
    pub(super) disk_full: bool,
    pub(super) failing_sync: bool,
}

impl Location {
    /// The record's bytes.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        self.file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }

    /// Bytes of the record.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the record has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl RecordFile {
    /// Opens or creates the file and passes every record to `visit`, oldest first.
    pub fn open(path: &Path, mut visit: impl FnMut(Location, &[u8])) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let _ = std::fs::remove_file(rewrite_path(path));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let mut this = Self::at(path, file, len);
        if !this.check_magic(len)? {
            this.create().map_err(io)?;
            return Ok(this);
        }
        while let Some((sequence, payload)) = this.batch_at(this.end, len).map_err(io)? {
            let start = this.end + BATCH_HEADER_BYTES as u64;
            for (offset, record) in (Records { payload: &payload, at: 0 }) {
                let len = u32::try_from(record.len()).expect("a payload is under 8 MiB");
                let file = Arc::clone(&this.file);
                visit(Location { file, offset: start + offset as u64, len }, record);
            }
            this.end = start + payload.len() as u64;
            this.next_sequence = sequence + 1;
        }
        this.cut_torn_end(len)?;
        // What was cut was given back; a disk that is full already gives none.
        let _ = this.allocate_ballast(this.prepared_end);
        Ok(this)
    }

    /// Passes every record of the file at `path` to `visit`, oldest first, and changes nothing: what
    /// a crash has torn is passed over. For readers beside the daemon; no file is one without records.
    pub fn read(path: &Path, mut visit: impl FnMut(&[u8])) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        let len = file.metadata().map_err(io)?.len();
        let mut this = Self::at(path, file, len);
        if !this.check_magic(len)? {
            return Ok(());
        }
        while let Some((sequence, payload)) = this.batch_at(this.end, len).map_err(io)? {
            (Records { payload: &payload, at: 0 }).for_each(|(_, record)| visit(record));
            this.end += (BATCH_HEADER_BYTES + payload.len()) as u64;
            this.next_sequence = sequence + 1;
        }
        Ok(())
    }

    /// At the beginning of `file`, of which `len` bytes are there.
    fn at(path: &Path, file: File, len: u64) -> Self {
        Self {
            path: path.to_owned(),
            file: Arc::new(file),
            end: FILE_MAGIC.len() as u64,
            prepared_end: len,
            next_sequence: 1,
            failed: false,
            #[cfg(test)]
            faults: Faults::default(),
        }
    }

    /// Bytes up to the end of the last record.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end == FILE_MAGIC.len() as u64
    }

    /// Appends `records` as one batch, durable when it returns. All of them or none.
    pub fn append(
        &mut self,
        records: &[impl AsRef<[u8]>],
        urgency: Urgency,
    ) -> Result<Vec<Location>, AppendError> {
        if self.failed {
            return Err(AppendError::Failed(io::Error::other("an earlier write failed")));
        }
        let full = match urgency {
            Urgency::Begin => fault::rarely("records: full at a begin"),
            Urgency::Finish => fault::rarely("records: full at an end"),
        };
        if full {
            return Err(AppendError::NoSpace);
        }
        let batch = encode_batch(self.next_sequence, records);
        self.prepare(batch.len() as u64, urgency)?;
        match self.file.write_all_at(&batch, self.end) {
            Ok(()) => {}
            // Copy-on-write file systems need room even to overwrite.
            Err(error) if is_no_space(&error) => return Err(AppendError::NoSpace),
            Err(error) => return Err(self.fail(error)),
        }
        fault::disk(&self.path, Disk::Wrote { at: self.end, len: batch.len() as u64 });
        self.sync().map_err(|error| self.fail(error))?;
        let mut at = self.end + BATCH_HEADER_BYTES as u64;
        let mut locations = Vec::with_capacity(records.len());
        for record in records {
            let len = u32::try_from(record.as_ref().len()).expect("a payload is under 8 MiB");
            let offset = at + RECORD_HEADER_BYTES as u64;
            locations.push(Location { file: Arc::clone(&self.file), offset, len });
            at = offset + u64::from(len);
        }
        self.end += batch.len() as u64;
        self.next_sequence += 1;
        Ok(locations)
    }

    /// Replaces the file by one that holds `records` alone; gives their new places in order.
    /// On an error the old file goes on as it was. Holds one batch in memory at a time.
    pub fn rewrite(
        &mut self,
        records: impl IntoIterator<Item = io::Result<Vec<u8>>>,
    ) -> io::Result<Vec<Location>> {
        let path = rewrite_path(&self.path);
        let written = self.write_beside(&path, records);
        let (fresh, locations) = written.inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        std::fs::rename(&path, &self.path)?;
        fault::disk(&self.path, Disk::Renamed);
        sync_parent(&self.path)?;
        *self = Self { path: self.path.clone(), ..fresh };
        Ok(locations)
    }

    fn write_beside(
        &self,
        path: &Path,
        records: impl IntoIterator<Item = io::Result<Vec<u8>>>,
    ) -> io::Result<(Self, Vec<Location>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut fresh = Self {
            path: path.to_owned(),
            file: Arc::new(file.open(path)?),
            end: FILE_MAGIC.len() as u64,
            prepared_end: 0,
            next_sequence: self.next_sequence,
            failed: false,
            #[cfg(test)]
            faults: Faults::default(),
        };
        fresh.create()?;
        let mut locations = Vec::new();
        let mut batch: Vec<Vec<u8>> = Vec::new();
        let mut batch_bytes = 0;
        for record in records {
            let record = record?;
            if batch_bytes + record.len() > REWRITE_BATCH_BYTES {
                locations.extend(fresh.append_all(&std::mem::take(&mut batch))?);
                batch_bytes = 0;
            }
            batch_bytes += record.len() + RECORD_HEADER_BYTES;
            batch.push(record);
        }
        locations.extend(fresh.append_all(&batch)?);
        Ok((fresh, locations))
    }

    fn append_all(&mut self, batch: &[Vec<u8>]) -> io::Result<Vec<Location>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.append(batch, Urgency::Finish).map_err(|error| match error {
            AppendError::NoSpace => io::ErrorKind::StorageFull.into(),
            AppendError::Failed(source) => source,
        })
    }

    /// False when the file is new, or was torn before its first eight bytes were whole.
    fn check_magic(&self, len: u64) -> Result<bool, OpenError> {
        let magic_len = FILE_MAGIC.len() as u64;
        let present = usize::try_from(len.min(magic_len)).expect("at most eight");
        let mut magic = [0; FILE_MAGIC.len()];
        self.file
            .read_exact_at(&mut magic[..present], 0)
            .map_err(|source| OpenError::Io { path: self.path.clone(), source })?;
        if len >= magic_len && magic == *FILE_MAGIC {
            return Ok(true);
        }
        let torn = FILE_MAGIC.starts_with(&magic[..present]) || magic == [0; FILE_MAGIC.len()];
        if torn && len <= magic_len {
            return Ok(false);
        }
        Err(OpenError::Foreign { path: self.path.clone() })
    }

    fn create(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(FILE_MAGIC, 0)?;
        self.file.sync_all()?;
        self.prepared_end = FILE_MAGIC.len() as u64;
        sync_parent(&self.path)
    }

    /// The valid batch at `offset`, if there is one: its sequence and its payload.
    fn batch_at(&self, offset: u64, len: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut header = [0; BATCH_HEADER_BYTES];
        if offset + BATCH_HEADER_BYTES as u64 > len {
            return Ok(None);
        }
        self.file.read_exact_at(&mut header, offset)?;
        let payload_len = u32::from_le_bytes(header[4..8].try_into().expect("four bytes"));
        let end = offset + BATCH_HEADER_BYTES as u64 + u64::from(payload_len);
        let plausible =
            header[..4] == *BATCH_MAGIC && payload_len as usize <= BATCH_MAX_BYTES && end <= len;
        if !plausible {
            return Ok(None);
        }
        let mut payload = vec![0; payload_len as usize];
        self.file.read_exact_at(&mut payload, offset + BATCH_HEADER_BYTES as u64)?;
        let sequence = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
        let intact = header[16..] == checksum(&header[..16], &payload);
        Ok((intact && sequence >= self.next_sequence).then_some((sequence, payload)))
    }

    /// What lies behind the last valid batch is nothing, or the torn write of a crash, or damage.
    fn cut_torn_end(&mut self, len: u64) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: self.path.clone(), source };
        if self.is_zero_from(self.end, len).map_err(io)? {
            return Ok(());
        }
        if self.valid_batch_after(self.end, len).map_err(io)? {
            return Err(OpenError::Corrupt { path: self.path.clone(), offset: self.end });
        }
        tracing::warn!(path = %self.path.display(), at = self.end, "cut the torn end of a write");
        self.file.set_len(self.end).and_then(|()| self.file.sync_all()).map_err(io)?;
        self.prepared_end = self.end;
        Ok(())
    }

    fn is_zero_from(&self, mut offset: u64, len: u64) -> io::Result<bool> {
        let mut chunk = vec![0; 64 * 1024];
        while offset < len {
            let part = chunk.len().min(usize::try_from(len - offset).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut chunk[..part], offset)?;
            if chunk[..part].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            offset += part as u64;
        }
        Ok(true)
    }

    fn valid_batch_after(&self, offset: u64, len: u64) -> io::Result<bool> {
        let mut chunk = vec![0; 64 * 1024];
        let mut start = offset + 1;
        while start + (BATCH_HEADER_BYTES as u64) <= len {
            let part = chunk.len().min(usize::try_from(len - start).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut chunk[..part], start)?;
            for at in memchr::memmem::find_iter(&chunk[..part], BATCH_MAGIC) {
                if self.batch_at(start + at as u64, len)?.is_some() {
                    return Ok(true);
                }
            }
            // Chunks overlap, so that a magic across their border is found.
            start += (part - (BATCH_MAGIC.len() - 1)).max(1) as u64;
        }
        Ok(false)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.failing_sync {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync_data()?;
        fault::disk(&self.path, Disk::Synced);
        Ok(())
    }

    pub(super) fn fail(&mut self, error: io::Error) -> AppendError {
        self.failed = true;
        AppendError::Failed(error)
    }
}

fn rewrite_path(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    fault::disk(path, Disk::DirectorySynced);
    Ok(())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
