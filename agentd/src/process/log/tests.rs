//! The log against a plain vector, and its life on disk.

use std::os::fd::AsFd;

use super::*;
use proptest::prelude::*;
use shared::protocol::process::OutputStream;

struct Bench {
    _dir: tempfile::TempDir,
    path: Arc<Path>,
    id: ProcessId,
    budget: Arc<Budget>,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path: Arc<Path> = dir.path().into();
    let id = "proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap();
    Bench { _dir: dir, path, id, budget: Arc::new(Budget::new(u64::MAX)) }
}

impl Bench {
    fn log(&self, kept: u64) -> (Arc<OutputLog>, LogWriter) {
        let log = OutputLog::new(Arc::clone(&self.path), self.id, kept, Arc::clone(&self.budget));
        (Arc::clone(&log), LogWriter::new(log))
    }

    fn restore(&self, total: Option<u64>) -> Arc<OutputLog> {
        let files = LogFiles::scan(&self.path).unwrap().remove(&self.id).unwrap_or_default();
        OutputLog::restored(
            Arc::clone(&self.path),
            self.id,
            &files,
            total,
            Arc::clone(&self.budget),
        )
    }
}

/// Every byte is either as written or counted as dropped, and the kept part is within its limit.
fn assert_log_equals(log: &OutputLog, model: &[u8], kept: u64) {
    let extent = log.extent();
    assert_eq!(extent.total, model.len() as u64);
    let mut seen = 0;
    let mut dropped = 0;
    for piece in log.read_range(0, extent.total).unwrap() {
        match piece {
            Piece::Bytes { offset, bytes } => {
                assert_eq!(offset, seen);
                let at = usize::try_from(offset).unwrap();
                assert!(model[at..at + bytes.len()] == bytes[..], "bytes at {offset} differ");
                seen += bytes.len() as u64;
            }
            Piece::Gap { from, to } => {
                assert_eq!(from, seen);
                assert_eq!((from, to), (extent.dropped_from, extent.dropped_to), "one gap");
                dropped += to - from;
                seen = to;
            }
        }
    }
    assert_eq!(seen, extent.total, "seen and dropped are everything");
    let kept_now = extent.total - dropped;
    assert!(kept_now <= kept.max(2), "{kept_now} bytes are kept, the limit is {kept}");
    if (model.len() as u64) <= kept * 3 / 4 {
        assert_eq!(dropped, 0, "nothing is dropped well under the limit");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_log_equals_a_plain_vector_less_one_counted_gap(
        kept in 16_u64..600,
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..90), 0..40),
    ) {
        let bench = bench();
        let (log, mut writer) = bench.log(kept);
        let mut model = Vec::new();
        for (n, chunk) in chunks.iter().enumerate() {
            let stream = if n % 3 == 0 { OutputStream::Stderr } else { OutputStream::Stdout };
            writer.append(stream, chunk);
            model.extend_from_slice(chunk);
            assert_log_equals(&log, &model, kept);
        }
        // Its writer may be killed at any moment.
        assert_log_equals(&bench.restore(None), &model, kept);
        drop(writer);
        prop_assert!(log.extent().closed);
        let restored = bench.restore(None);
        assert_log_equals(&restored, &model, kept);
        // Where the line ends that the head begins, if anybody can know.
        let head = log.extent().dropped_from;
        let from = usize::try_from(head).unwrap();
        let newline = model[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at);
        let newline = newline.unwrap_or(model.len()) as u64;
        for log in [&log, &restored] {
            let found = log.line_end(head).unwrap();
            prop_assert!(found == Some(newline) || log.lock().line_end == LineEnd::Unknown);
        }
        prop_assert_eq!(log.line_end(head).unwrap(), Some(newline));
        prop_assert_eq!(restored.extent(), log.extent());
        // The marks say who wrote each byte.
        let mut at = 0;
        for (n, chunk) in chunks.iter().enumerate() {
            let stream = if n % 3 == 0 { OutputStream::Stderr } else { OutputStream::Stdout };
            prop_assert_eq!(restored.stream_at(at, 1).0, stream);
            at += chunk.len() as u64;
        }
    }
}

#[test]
fn what_cannot_be_written_is_held_and_the_log_goes_on() {
    let bench = bench();
    let (log, mut writer) = bench.log(1_000);
    writer.append(OutputStream::Stdout, &[b'a'; 500]); // head 125, segments of 62
    let away = bench.path.with_extension("away");
    std::fs::rename(&*bench.path, &away).unwrap(); // no new segment can be made
    writer.append(OutputStream::Stdout, &[b'b'; 200]);
    let held = log.read_range(600, 700).unwrap();
    assert_eq!(held, [Piece::Bytes { offset: 600, bytes: vec![b'b'; 100] }]);
    let told = log.state();
    std::fs::rename(&away, &*bench.path).unwrap();
    writer.append(OutputStream::Stdout, &[b'c'; 50]);
    assert_eq!((log.extent().total, log.extent().dropped_to, log.spool_full()), (750, 0, 0));
    let all = [vec![b'a'; 500], vec![b'b'; 200], vec![b'c'; 50]].concat();
    assert_eq!(log.read_range(0, 750).unwrap(), [Piece::Bytes { offset: 0, bytes: all }]);
    // What a daemon sees that was told while it was held.
    let (seen, _) = bench.log(1_000);
    seen.mirror(told, Vec::new());
    assert_eq!(seen.read_range(650, 700).unwrap(), held_bytes(650, 50));
}

#[test]
fn the_last_bytes_are_read_from_what_was_told_and_all_others_from_the_files() {
    let bench = bench();
    let (log, mut writer) = bench.log(1_000);
    let model: Vec<u8> = (0..700_u32).map(|n| n.to_le_bytes()[0]).collect();
    writer.append(OutputStream::Stdout, &model);
    let (seen, _) = bench.log(1_000);
    for fresh in [0, 1, 20, 700] {
        seen.mirror(log.state(), model[700 - fresh..].to_vec());
        assert_log_equals(&seen, &model, 1_000);
    }
    seen.mirror(log.state(), model[680..].to_vec());
    for segment in std::fs::read_dir(&*bench.path).unwrap() {
        std::fs::write(segment.unwrap().path(), [0; 700]).unwrap();
    }
    let read = |offset: usize, max| seen.read(offset as u64, max).unwrap();
    let bytes = |from: usize, to: usize| {
        Some(Piece::Bytes { offset: from as u64, bytes: model[from..to].to_vec() })
    };
    assert_eq!(read(680, 99), bytes(680, 700));
    assert_eq!(read(690, 4), bytes(690, 694));
    assert_eq!(read(700, 4), None);
    assert_eq!(read(679, 1), Some(Piece::Bytes { offset: 679, bytes: vec![0] }), "of a file");
}

fn held_bytes(offset: u64, len: usize) -> Vec<Piece> {
    vec![Piece::Bytes { offset, bytes: vec![b'b'; len] }]
}

#[test]
fn what_cannot_even_be_held_is_counted_and_the_end_is_kept() {
    const MUCH: usize = 100 * 1024;
    let bench = bench();
    let (log, mut writer) = bench.log(1_000);
    writer.append(OutputStream::Stdout, &[b'a'; 500]);
    let away = bench.path.with_extension("away");
    std::fs::rename(&*bench.path, &away).unwrap();
    for chunk in [b'b'; MUCH].chunks(7_000) {
        writer.append(OutputStream::Stdout, chunk);
    }
    let total = (500 + MUCH) as u64;
    let extent = log.extent();
    assert_eq!((extent.total, extent.dropped_from), (total, 125));
    assert_eq!(extent.dropped_to, total - 32 * 1024, "the end is held");
    assert_eq!(log.spool_full(), extent.dropped_to - extent.dropped_from);
    let tail = log.read_range(extent.dropped_to, total).unwrap();
    assert_eq!(tail, [Piece::Bytes { offset: extent.dropped_to, bytes: vec![b'b'; 32 * 1024] }]);
    std::fs::rename(&away, &*bench.path).unwrap();
    writer.append(OutputStream::Stdout, b"end");
    drop(writer);
    let end = log.read_range(total, total + 3).unwrap();
    assert_eq!(end, [Piece::Bytes { offset: total, bytes: b"end".to_vec() }]);
    let files = LogFiles::of(&bench.path, bench.id).unwrap();
    let state = files.state(Some(total + 3));
    assert_eq!((state.total, state.head_len), (total + 3, 125), "it is all on disk again");
    assert!(!state.segments.is_empty());
}

/// What a pipe gives is the same log as what is appended, with the marks of both streams.
#[test]
fn what_is_spliced_is_as_what_is_appended() {
    use std::io::Write;
    let bench = bench();
    let (log, mut writer) = bench.log(5_000);
    let mut model = Vec::new();
    for n in 0_u32..400 {
        let stream = if n % 5 < 2 { OutputStream::Stderr } else { OutputStream::Stdout };
        let bytes: Vec<u8> = (0..n * 7 % 640 + 1).map(|byte| (byte + n) as u8).collect();
        model.extend_from_slice(&bytes);
        if n % 3 == 0 {
            writer.append(stream, &bytes);
        } else {
            let (read, mut write) = io::pipe().unwrap();
            write.write_all(&bytes).unwrap();
            let mut left = bytes.len();
            while left > 0 {
                left -= writer.splice(stream, read.as_fd()).unwrap();
            }
            assert_eq!(writer.splice(stream, read.as_fd()), Err(rustix::io::Errno::AGAIN));
            drop(write);
            assert_eq!(writer.splice(stream, read.as_fd()), Ok(0), "the end of the pipe");
        }
        assert_log_equals(&log, &model, 5_000);
        let last = model.len() as u64 - 1;
        assert_eq!(log.stream_at(last, 1).0, stream, "chunk {n}");
    }
    assert_log_equals(&bench.restore(None), &model, 5_000);
}

/// A segment's file is used again for a later one: a reader gets the bytes of its offset, or the
/// gap that took their place, and never what was written over them.
#[test]
fn a_reader_beside_a_flood_never_sees_the_bytes_of_another_offset() {
    let bench = bench();
    let (log, mut writer) = bench.log(256 * 1024);
    let flood = std::thread::spawn(move || {
        // Each eight bytes tell their offset.
        for block in 0_u64..4_000 {
            let bytes: Vec<u8> =
                (0_u64..512).flat_map(|word| (block * 4_096 + word * 8).to_le_bytes()).collect();
            writer.append(OutputStream::Stdout, &bytes);
        }
    });
    let (mut at, mut read, mut gaps) = (0, 0, 0);
    while at < 4_000 * 4_096 {
        match log.read(at, 4_096).unwrap() {
            None => std::thread::yield_now(),
            Some(Piece::Gap { to, .. }) => (at, gaps) = (to, gaps + 1),
            Some(Piece::Bytes { offset, bytes }) => {
                assert_eq!(offset, at);
                for (place, word) in bytes.chunks_exact(8).enumerate() {
                    let told = u64::from_le_bytes(word.try_into().unwrap());
                    assert_eq!(told, at + place as u64 * 8);
                }
                at += bytes.len() as u64 / 8 * 8;
                read += bytes.len();
            }
        }
    }
    flood.join().unwrap();
    println!("read {read} bytes and {gaps} gaps beside the flood");
}

#[test]
fn a_discarded_log_has_no_files_and_counts_everything_as_dropped() {
    let bench = bench();
    let (log, mut writer) = bench.log(1_000);
    writer.append(OutputStream::Stderr, &[b'a'; 400]);
    drop(writer);
    log.discard();
    let extent = Extent { total: 400, dropped_from: 0, dropped_to: 400, closed: true };
    assert_eq!(log.extent(), extent);
    assert_eq!(std::fs::read_dir(&bench.path).unwrap().count(), 0);
    assert_eq!(bench.restore(Some(400)).extent(), extent);
}

#[test]
fn over_the_budget_a_running_log_keeps_less_of_its_own() {
    let mut bench = bench();
    bench.budget = Arc::new(Budget::new(300));
    let (log, mut writer) = bench.log(100_000); // head 12,500; segments of 6,250
    writer.append(OutputStream::Stdout, &[b'a'; 90_000]);
    assert!(log.kept_bytes() <= 12_500 + 2 * 6_250, "{}", log.kept_bytes());
    assert_eq!(log.extent().total, 90_000);
}
