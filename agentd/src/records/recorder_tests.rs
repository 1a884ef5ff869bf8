//! Group commit, full disks, failing disks.

use std::path::PathBuf;
use std::sync::Mutex;

use super::*;
use shared::lifecycle::Ending;
use std::time::Duration;

/// A table that keeps everything.
#[derive(Default)]
struct Kept {
    locations: Mutex<Vec<Location>>,
}

impl Live for Kept {
    fn live(&self) -> Vec<LiveRecord> {
        self.locations.lock().unwrap().iter().cloned().map(LiveRecord::Kept).collect()
    }

    fn moved(&self, locations: Vec<Location>) {
        *self.locations.lock().unwrap() = locations;
    }
}

struct Bench {
    handle: RecorderHandle,
    kept: Arc<Kept>,
    lifecycle: Lifecycle,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn bench(prepare: impl FnOnce(&mut RecordFile)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records");
    let mut file = RecordFile::open(&path, |_, _| {}).unwrap();
    prepare(&mut file);
    let (kept, lifecycle) = (Arc::new(Kept::default()), Lifecycle::new());
    let (recorder, handle) = Recorder::new(file, Arc::clone(&kept) as _, lifecycle.clone());
    lifecycle.spawn_vital("recorder", recorder.run());
    Bench { handle, kept, lifecycle, path, _dir: dir }
}

impl Bench {
    fn append(
        &self,
        record: Vec<u8>,
        urgency: Urgency,
    ) -> impl Future<Output = Result<(), RecorderError>> {
        let kept = Arc::clone(&self.kept);
        let then = move |location| kept.locations.lock().unwrap().push(location);
        self.handle.append(record, urgency, then)
    }

    fn read_back(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        RecordFile::open(&self.path, |_, record| records.push(record.to_vec())).unwrap();
        records
    }
}

#[tokio::test]
async fn records_that_wait_together_become_durable_together_and_in_order() {
    let bench = bench(|_| {});
    let asked: Vec<_> = (0..100_u8).map(|n| bench.append(vec![n], Urgency::Begin)).collect();
    for answer in asked {
        answer.await.unwrap();
    }
    let expected: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n]).collect();
    assert_eq!(bench.read_back(), expected);
}

#[tokio::test]
async fn a_rewrite_leaves_out_nothing_that_was_answered() {
    let bench = bench(|_| {});
    let record = vec![1; 50_000];
    for _ in 0..60 {
        bench.append(record.clone(), Urgency::Begin).await.unwrap();
        // Only the newest ten are live.
        let mut kept = bench.kept.locations.lock().unwrap();
        let old = kept.len().saturating_sub(10);
        kept.drain(..old);
    }
    bench.handle.barrier().await.unwrap();
    let len = std::fs::metadata(&bench.path).unwrap().len();
    assert!(len < 3_000_000, "3 MB were written and 0.5 MB are live, the file has {len} bytes");
    for location in bench.kept.locations.lock().unwrap().iter() {
        assert_eq!(location.read().unwrap(), record);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_begins_and_takes_what_ends() {
    let bench = bench(|file| {
        file.append(&["room is prepared"], Urgency::Begin).unwrap();
        file.faults.disk_full = true;
    });
    let record = vec![0; 100_000];
    let mut refused = 0;
    for _ in 0..10 {
        if bench.append(record.clone(), Urgency::Begin).await == Err(RecorderError::NoSpace) {
            refused += 1;
        }
    }
    assert!(refused >= 7, "{refused} of 10 were refused");
    bench.append(b"an end".to_vec(), Urgency::Finish).await.unwrap();
    assert_eq!(bench.read_back().last().unwrap(), b"an end");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_answered_and_the_program_ends() {
    let bench = bench(|file| file.faults.failing_sync = true);
    assert_eq!(bench.append(b"lost?".to_vec(), Urgency::Begin).await, Err(RecorderError::Gone));
    assert_eq!(bench.append(b"more".to_vec(), Urgency::Finish).await, Err(RecorderError::Gone));
    assert_eq!(bench.handle.barrier().await, Err(RecorderError::Gone));
    drop(bench.handle);
    let ending = bench.lifecycle.run_until_stopped(Duration::from_secs(5)).await;
    assert_eq!(ending, Ending::Failed);
}
