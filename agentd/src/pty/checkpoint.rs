//! A screen on disk: from where a daemon that is started again goes on.
//!
//! ```text
//! <log>.screen    BLAKE3 of the rest (32 bytes), then MessagePack { version, screen: { emulator, offset, sizes } }
//! ```
//!
//! Replaced as a whole. One that is missing, damaged or of another version costs time and nothing
//! else: then the log is read from where it begins.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::live::Fed;

/// Of the emulator's written form.
const VERSION: u16 = 2;
/// Largest file that is read: two screens of a million cells with a look each.
const FILE_MAX_BYTES: u64 = 256 * 1024 * 1024;
const HASH_BYTES: usize = 32;

#[derive(Serialize)]
struct Written<'a> {
    version: u16,
    screen: &'a Fed,
}

#[derive(Deserialize)]
struct Checkpoint {
    version: u16,
    screen: Fed,
}

/// The bytes of a checkpoint.
pub(super) fn encode(screen: &Fed) -> Vec<u8> {
    let body = shared::wire::encode(&Written { version: VERSION, screen });
    let mut bytes = blake3::hash(&body).as_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

/// Puts `bytes` in the place of what stood there. Blocks; not synced: what a crash of the machine
/// leaves is found to be damaged.
pub(super) fn write(log: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = log.with_extension("screen-new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    std::fs::rename(&new, log.with_extension("screen"))
}

/// The last checkpoint that is whole. Blocks.
pub(super) fn read(log: &Path) -> Option<Fed> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(log.with_extension("screen")).ok()?;
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let (hash, body) = bytes.split_at_checked(HASH_BYTES)?;
    if blake3::hash(body).as_bytes() != hash {
        tracing::debug!(path = %log.display(), "a checkpoint of a screen is damaged");
        return None;
    }
    let Checkpoint { version, screen } = shared::wire::decode(body).ok()?;
    (version == VERSION && screen.emulator.is_sound()).then_some(screen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::protocol::pty::PtySize;

    #[test]
    fn a_checkpoint_is_read_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("pty_x");
        assert!(read(&log).is_none());
        let mut screen = Fed { offset: 77, ..Fed::new(PtySize::default()) };
        screen.emulator.feed("漢\x1b[31mred\x1b[?1049h\x1b[5;5Hvim\x1b[1".as_bytes());
        let bytes = encode(&screen);
        write(&log, &bytes).unwrap();
        assert!(read(&log).unwrap() == screen);
        for damaged in [&bytes[..bytes.len() - 1], &bytes[1..], &[][..]] {
            write(&log, damaged).unwrap();
            assert!(read(&log).is_none());
        }
    }
}
