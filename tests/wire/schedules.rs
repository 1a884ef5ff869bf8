//! Many seeded schedules of cuts, delays and splits over an in-memory link, with the real calls on
//! one side and the real journal on the other: every operation has its effect exactly once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use controlplane::fleet::{CallError, Fleet, NewLink, UnknownReason};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::clock::{Clock, SystemClock};
use shared::ids::{IdSource, OpId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::files::{DeleteFile, Expect};
use shared::protocol::hello::Hello;
use shared::testing::link::{CutPoint, TestLink, TestStreams};

use crate::world::Double;

const SEEDS: u64 = 60;
const OPERATIONS: u64 = 8;

/// What one schedule did.
#[derive(Default)]
struct Tally {
    cuts: u64,
    arrivals: u64,
    runs: u64,
}

#[tokio::test(start_paused = true)]
async fn every_schedule_of_cuts_runs_every_operation_exactly_once() {
    let mut sum = Tally::default();
    for seed in 0..SEEDS {
        let tally = run(seed).await;
        assert_eq!(tally.runs, OPERATIONS, "seed {seed}");
        sum.cuts += tally.cuts;
        sum.arrivals += tally.arrivals;
        sum.runs += tally.runs;
    }
    let Tally { cuts, arrivals, runs } = sum;
    println!("{SEEDS} schedules, {cuts} cuts, {arrivals} arrivals, {runs} effects");
    assert!(cuts >= SEEDS, "the control: schedules cut");
    assert!(arrivals > runs, "the control: without the journal some would have run again");
}

async fn run(seed: u64) -> Tally {
    let mut rng = StdRng::seed_from_u64(seed);
    let lifecycle = Lifecycle::new();
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let journal = tempfile::tempdir().unwrap();
    let double = Arc::new(Double::open(journal.path(), &lifecycle, Arc::clone(&clock)));
    let link = TestLink::new(&lifecycle, Arc::clone(&double), seed);
    link.split(rng.random_range(16..300));
    link.delay(Duration::from_micros(rng.random_range(0..300)));
    let fleet = Fleet::new(clock, Arc::clone(&ids));
    let workspace_id = ids.id();
    let streams = Arc::new(TestStreams(Arc::clone(&link)));
    let new_link = NewLink { workspace_id, epoch: 1, hello: hello(&ids), streams };
    let _attachment = fleet.attach(new_link).unwrap();
    let way = fleet.workspace(workspace_id);

    for _ in 0..OPERATIONS {
        let fence = Fence { scope: "chat".to_owned(), epoch: 1, hash: "00".to_owned() };
        let operation = controlplane::fleet::Operation::new(ids.id::<OpId>(), fence);
        let request = DeleteFile { path: "a".into(), expect: Expect::Any };
        let mut tries = 0;
        loop {
            tries += 1;
            assert!(tries < 50, "seed {seed}: it never ends");
            match rng.random_range(0..5) {
                0 => link.cut_next(CutPoint::BeforeRequest),
                1 => link.cut_next(CutPoint::AfterRequest),
                2 => link.cut_next(CutPoint::InAnswer(rng.random_range(0..60))),
                _ => {}
            }
            match way.operate(&operation, &request).await {
                Ok(_) => break,
                Err(
                    CallError::NotConnected { .. }
                    | CallError::Unknown { reason: UnknownReason::LinkLost },
                ) => link.restore(),
                Err(other) => panic!("seed {seed}: {other:?}"),
            }
        }
        link.restore();
    }
    let tally = Tally {
        cuts: link.cuts(),
        arrivals: double.arrivals.load(Ordering::SeqCst),
        runs: double.runs.load(Ordering::SeqCst),
    };
    lifecycle.shut_down(Duration::from_secs(5)).await;
    tally
}

fn hello(ids: &Arc<dyn IdSource>) -> Hello {
    Hello {
        minor_min: 0,
        minor_max: 0,
        version: "0.1.0".to_owned(),
        instance_id: ids.id(),
        features: Vec::new(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        hostname: "box".to_owned(),
        root: "/work".to_owned(),
        now_ms: 0,
    }
}
