//! Crash and damage of one record file.

use super::*;
use proptest::prelude::*;

fn path() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records");
    (dir, path)
}

fn read_all(path: &Path) -> Result<Vec<Vec<u8>>, OpenError> {
    let mut seen = Vec::new();
    RecordFile::open(path, |location, record| {
        assert_eq!(location.read().unwrap(), record, "a location reads its own record");
        seen.push(record.to_vec());
    })?;
    Ok(seen)
}

/// Three batches; gives the file's bytes and the end of each batch.
fn three_batches(path: &Path) -> (Vec<u8>, Vec<u64>) {
    let mut file = RecordFile::open(path, |_, _| {}).unwrap();
    let mut ends = vec![file.len()];
    for batch in [&["one", "two"][..], &["three"], &["four", "", "six"]] {
        file.append(batch, Urgency::Begin).unwrap();
        ends.push(file.len());
    }
    (std::fs::read(path).unwrap(), ends)
}

fn kept(records: &[impl AsRef<[u8]>]) -> Vec<io::Result<Vec<u8>>> {
    records.iter().map(|record| Ok(record.as_ref().to_vec())).collect()
}

const RECORDS: [&str; 6] = ["one", "two", "three", "four", "", "six"];

fn records_up_to(end: u64, ends: &[u64]) -> &'static [&'static str] {
    match ends.iter().filter(|batch_end| **batch_end <= end).count() {
        0 | 1 => &RECORDS[..0],
        2 => &RECORDS[..2],
        3 => &RECORDS[..3],
        _ => &RECORDS,
    }
}

#[test]
fn cut_at_every_byte_the_file_keeps_exactly_the_whole_batches() {
    let (_dir, path) = path();
    let (bytes, ends) = three_batches(&path);
    let last = *ends.last().unwrap();
    for cut in 0..=last + 40 {
        for zeros in [0, 100] {
            let mut torn = bytes[..usize::try_from(cut).unwrap()].to_vec();
            torn.resize(torn.len() + zeros, 0);
            std::fs::write(&path, &torn).unwrap();
            if cut < 8 && zeros > 0 {
                continue; // the first eight bytes are written and synced alone
            }
            let expected: Vec<Vec<u8>> =
                records_up_to(cut, &ends).iter().map(|r| r.as_bytes().to_vec()).collect();
            let seen = read_all(&path).unwrap_or_else(|e| panic!("cut {cut} zeros {zeros}: {e}"));
            assert_eq!(seen, expected, "cut {cut} zeros {zeros}");
            // And the file goes on from there.
            let mut file = RecordFile::open(&path, |_, _| {}).unwrap();
            file.append(&["more"], Urgency::Begin).unwrap();
            drop(file);
            assert_eq!(read_all(&path).unwrap().last().unwrap(), b"more");
        }
    }
}

#[test]
fn damage_before_a_later_batch_is_refused_and_the_file_stays_as_it_was() {
    let (_dir, path) = path();
    let (bytes, ends) = three_batches(&path);
    for at in ends[0]..ends[2] {
        let mut damaged = bytes.clone();
        damaged[usize::try_from(at).unwrap()] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        let error = read_all(&path).expect_err("something acknowledged is damaged");
        assert!(matches!(error, OpenError::Corrupt { .. }), "byte {at}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "the file is evidence");
    }
}

#[test]
fn another_kind_of_file_is_refused_and_not_touched() {
    let (_dir, path) = path();
    std::fs::write(&path, "a poem, not a record file").unwrap();
    assert!(matches!(read_all(&path), Err(OpenError::Foreign { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"a poem, not a record file");
}

#[test]
fn nothing_is_appended_after_a_failed_sync() {
    let (_dir, path) = path();
    let mut file = RecordFile::open(&path, |_, _| {}).unwrap();
    file.append(&["kept"], Urgency::Begin).unwrap();
    file.faults.failing_sync = true;
    assert!(matches!(file.append(&["lost?"], Urgency::Begin), Err(AppendError::Failed(_))));
    file.faults.failing_sync = false;
    let again = file.append(&["after"], Urgency::Finish);
    assert!(matches!(again, Err(AppendError::Failed(_))), "the kernel may have dropped the pages");
}

#[test]
fn a_full_disk_refuses_beginnings_keeps_endings_and_recovers() {
    let (_dir, path) = path();
    let mut file = RecordFile::open(&path, |_, _| {}).unwrap();
    file.append(&["first"], Urgency::Begin).unwrap();
    file.faults.disk_full = true;
    let record = vec![7; 60_000];
    let mut begun = 0;
    while file.append(&[&record], Urgency::Begin).is_ok() {
        begun += 1;
        assert!(begun < 100, "the disk is full");
    }
    file.append(&["an ending"], Urgency::Finish).unwrap();
    file.faults.disk_full = false;
    file.append(&[&record], Urgency::Begin).unwrap();
    drop(file);
    assert_eq!(read_all(&path).unwrap().len(), begun + 3);
}

#[test]
fn a_rewrite_keeps_what_is_live_and_old_places_can_still_be_read() {
    let (_dir, path) = path();
    let mut file = RecordFile::open(&path, |_, _| {}).unwrap();
    let old = file.append(&["a", "b", "c"], Urgency::Begin).unwrap();
    let new = file.rewrite(kept(&["a", "c"])).unwrap();
    assert_eq!(old[1].read().unwrap(), b"b");
    assert_eq!(new[1].read().unwrap(), b"c");
    file.append(&["d"], Urgency::Begin).unwrap();
    drop(file);
    assert_eq!(read_all(&path).unwrap(), [b"a", b"c", b"d"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_appended_is_read_back_in_order(
        batches in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..5), 0..12),
        rewrite_at in 0_usize..12,
    ) {
        let (_dir, path) = path();
        let mut file = RecordFile::open(&path, |_, _| {}).unwrap();
        let mut model: Vec<Vec<u8>> = Vec::new();
        for (n, batch) in batches.iter().enumerate() {
            if n == rewrite_at {
                file.rewrite(kept(&model)).unwrap();
            }
            file.append(batch, Urgency::Begin).unwrap();
            model.extend(batch.iter().cloned());
        }
        drop(file);
        prop_assert_eq!(read_all(&path).unwrap(), model);
    }
}

/// Tells what was done to files, in order.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<Disk>>);

impl fault::simulation::Simulation for Told {
    fn pass(&self, _: &'static str) -> Option<fault::simulation::Held<()>> {
        None
    }

    fn rarely(&self, _: &'static str) -> bool {
        false
    }

    fn ask(&self, _: fault::Access) -> fault::simulation::Held<fault::simulation::Given> {
        unreachable!("a record file has no database")
    }

    fn commit(&self, _: u64) -> fault::simulation::Held<fault::Fate> {
        unreachable!("a record file has no database")
    }

    fn over(&self, _: u64) {}

    fn disk(&self, _: &Path, what: Disk) {
        self.0.lock().unwrap().push(what);
    }
}

/// A power cut after a rewrite must find the new file under the name, and one after an append the
/// records in it.
#[test]
fn what_is_acknowledged_is_on_the_disk_with_its_name() {
    let (_folder, path) = path();
    let mut file = RecordFile::open(&path, |_, _| {}).unwrap();
    let told = Arc::new(Told::default());
    let installed = fault::simulation::install(told.clone());
    file.append(&["a"], Urgency::Begin).unwrap();
    let appended = std::mem::take(&mut *told.0.lock().unwrap());
    file.rewrite(kept(&["a"])).unwrap();
    drop(installed);
    assert!(matches!(appended[..], [Disk::Wrote { .. }, Disk::Synced]), "{appended:?}");
    let rewritten = told.0.lock().unwrap().clone();
    assert_eq!(rewritten[rewritten.len() - 2..], [Disk::Renamed, Disk::DirectorySynced]);
}
