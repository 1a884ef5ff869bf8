//! What a keeper writes down, for a daemon that was not there: a few frames in one small file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use shared::protocol::process::{Exit, ProcessFacts};
use shared::wire::{Frame, FrameDecoder};

use super::protocol::{Leader, Refusal};

/// Largest record file that is read, in bytes; a keeper writes a few hundred.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// One line of a keeper's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::process) enum Note {
    /// Before anything is executed: without it, nothing ever was.
    Begun,
    /// Which process it is.
    Running(Leader),
    /// It was not executed.
    NotExecuted(Refusal),
    /// How the leader ended.
    Exited { exit: Exit, at_ms: i64, usage: Usage },
    /// What it used, and what ran out; a later one replaces an earlier one.
    Facts(ProcessFacts),
    /// Length of the whole output, in bytes.
    Complete { total: u64 },
}

/// What the leader and everything it waited for used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Usage {
    pub(in crate::process) user_ms: u64,
    pub(in crate::process) system_ms: u64,
    pub(in crate::process) max_rss_kib: u64,
}

/// All that a keeper wrote down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::process) struct Kept {
    pub(in crate::process) is_begun: bool,
    pub(in crate::process) leader: Option<Leader>,
    pub(in crate::process) refusal: Option<Refusal>,
    pub(in crate::process) exit: Option<(Exit, i64)>,
    pub(in crate::process) total: Option<u64>,
    pub(in crate::process) facts: Option<ProcessFacts>,
}

/// Appends `note`. A full disk costs the note: the daemon that is attached is told anyway.
pub(super) fn append(file: &mut File, note: &Note) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    Frame::message(note).write_to(&mut bytes).map_err(io::Error::other)?;
    file.write_all(&bytes)
}

impl Kept {
    /// What stands in the file at `path`; nothing when there is none. Half a note at its end was
    /// never written.
    pub(in crate::process) fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| {
            io::Read::read_to_end(&mut io::Read::take(file, FILE_MAX_BYTES), &mut bytes)
        });
        let mut kept = Self::default();
        if read.is_err() {
            return kept;
        }
        let mut decoder = FrameDecoder::new();
        decoder.push(&bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            match shared::wire::decode(&frame.body) {
                Ok(Note::Begun) => kept.is_begun = true,
                Ok(Note::Running(leader)) => kept.leader = Some(leader),
                Ok(Note::NotExecuted(refusal)) => kept.refusal = Some(refusal),
                Ok(Note::Exited { exit, at_ms, .. }) => kept.exit = Some((exit, at_ms)),
                Ok(Note::Complete { total }) => kept.total = Some(total),
                Ok(Note::Facts(facts)) => kept.facts = Some(facts),
                Err(error) => tracing::debug!(%error, "a keeper's note is passed over"),
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_half_a_note_at_its_end_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        assert_eq!(Kept::read(&path), Kept::default());
        let mut file = File::create(&path).unwrap();
        let leader = Leader { pid: 7, start_time: 8, boot_id: "b".to_owned() };
        let exit = Exit::Code { code: 3 };
        append(&mut file, &Note::Begun).unwrap();
        append(&mut file, &Note::Running(leader.clone())).unwrap();
        append(&mut file, &Note::Exited { exit, at_ms: 5, usage: Usage::default() }).unwrap();
        let whole = std::fs::metadata(&path).unwrap().len();
        append(&mut file, &Note::Complete { total: 9 }).unwrap();
        let all = Kept {
            is_begun: true,
            leader: Some(leader),
            refusal: None,
            exit: Some((exit, 5)),
            total: Some(9),
            facts: None,
        };
        assert_eq!(Kept::read(&path), all);
        file.set_len(whole + 3).unwrap();
        assert_eq!(Kept::read(&path), Kept { total: None, ..all });
    }
}
