//! Room ahead of the end of a record file: zeros, so that an append changes no metadata, and ballast
//! behind them for a full disk.

use std::io;
use std::os::unix::fs::FileExt;

use super::file::{AppendError, RecordFile, Urgency};

/// Zeros that are written ahead at a time.
const PREPARE_BYTES: u64 = 256 * 1024;
/// Room behind the end of the file that is allocated for a full disk. Each of the two files has it.
const BALLAST_BYTES: u64 = 4 * 1024 * 1024;
/// Prepared room that only records of [`Urgency::Finish`] may use.
const RESERVE_BYTES: u64 = 64 * 1024;

impl RecordFile {
    /// Makes sure that the batch fits into prepared room.
    pub(super) fn prepare(&mut self, batch: u64, urgency: Urgency) -> Result<(), AppendError> {
        let needed = self.end + batch;
        let wanted = needed + RESERVE_BYTES;
        if wanted <= self.prepared_end {
            return Ok(());
        }
        match self.grow(wanted + PREPARE_BYTES) {
            Ok(()) => return Ok(()),
            Err(error) if is_no_space(&error) => {}
            Err(error) => return Err(self.fail(error)),
        }
        match urgency {
            Urgency::Begin => Err(AppendError::NoSpace),
            Urgency::Finish if needed <= self.prepared_end => Ok(()),
            // Into the ballast.
            Urgency::Finish => match self.write_zeros(needed) {
                Ok(()) => Ok(()),
                Err(error) if is_no_space(&error) => Err(AppendError::NoSpace),
                Err(error) => Err(self.fail(error)),
            },
        }
    }

    /// Prepares room up to `until`, and ballast behind it before that: a beginning must not take it.
    fn grow(&mut self, until: u64) -> io::Result<()> {
        self.allocate_ballast(until)?;
        self.write_zeros(until)
    }

    /// Makes sure that there is ballast behind `until`. Some file systems know no allocation: they
    /// have the reserve of prepared room alone.
    pub(super) fn allocate_ballast(&self, until: u64) -> io::Result<()> {
        let len = (until + BALLAST_BYTES).saturating_sub(self.prepared_end);
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&*self.file, flags, self.prepared_end, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            allocated => Ok(allocated?),
        }
    }

    fn write_zeros(&mut self, until: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.disk_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut at = self.prepared_end;
        let zeros = [0; 16 * 1024];
        while at < until {
            let part = zeros.len().min(usize::try_from(until - at).unwrap_or(usize::MAX));
            self.file.write_all_at(&zeros[..part], at)?;
            at += part as u64;
        }
        self.file.sync_all()?;
        self.prepared_end = until;
        Ok(())
    }
}

pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
