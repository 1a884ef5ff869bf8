//! What a machine's disk may forget when its power fails.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;
use shared::fault::Disk;

/// Writes that were not synced yet, by file.
#[derive(Default)]
pub struct Disks {
    loose: BTreeMap<PathBuf, Vec<(u64, u64)>>,
    /// Where the last write of a file ended.
    ends: BTreeMap<PathBuf, u64>,
}

impl Disks {
    /// Something was done to a file.
    pub fn tell(&mut self, path: &Path, what: Disk) {
        match what {
            Disk::Wrote { at, len } => {
                self.loose.entry(path.to_owned()).or_default().push((at, len));
                self.ends.insert(path.to_owned(), at + len);
            }
            Disk::Synced => drop(self.loose.remove(path)),
            // What was written beside it has its name now.
            Disk::Renamed => {
                let beside = path.with_extension("new");
                drop(self.loose.remove(path));
                let _ = self.ends.remove(path);
                if let Some(writes) = self.loose.remove(&beside) {
                    self.loose.insert(path.to_owned(), writes);
                }
                if let Some(end) = self.ends.remove(&beside) {
                    self.ends.insert(path.to_owned(), end);
                }
            }
            Disk::DirectorySynced => {}
        }
    }

    /// Writes that were not synced are kept in part; behind them lies what a write that was under
    /// way has left.
    pub fn power_fails(&mut self, folder: &Path, rng: &mut StdRng) {
        for (path, writes) in std::mem::take(&mut self.loose) {
            if path.starts_with(folder) {
                for (at, len) in writes {
                    let kept = rng.random_range(0..=len);
                    overwrite(&path, at + kept, &vec![0; usize::try_from(len - kept).unwrap_or(0)]);
                }
            }
        }
        for (path, end) in self.ends.iter().filter(|(path, _)| path.starts_with(folder)) {
            if rng.random_bool(0.5) {
                // The head of a batch and something that is no payload.
                let mut torn = b"HFB\x01\x40\0\0\0".to_vec();
                torn.extend((0..rng.random_range(0..90)).map(|_| rng.random::<u8>()));
                overwrite(path, *end, &torn);
            }
        }
        self.ends.clear();
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path);
    let written = file.and_then(|file| file.write_all_at(bytes, at));
    written.expect("the folder of a world can be written");
}
