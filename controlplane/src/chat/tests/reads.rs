//! What a turn asks of the database: counted, not timed.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use shared::fault::simulation::{Given, Held, Simulation, install};
use shared::fault::{Access, Disk, Fate};

use super::doubles::Act;
use super::*;

/// Counts the turns at the database, and gives each at once.
#[derive(Default)]
struct Counts {
    reads: AtomicUsize,
    writes: AtomicUsize,
}

impl Counts {
    fn so_far(&self) -> (usize, usize) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

impl Simulation for Counts {
    fn pass(&self, _: &'static str) -> Option<Held<()>> {
        None
    }

    fn rarely(&self, _: &'static str) -> bool {
        false
    }

    fn ask(&self, access: Access) -> Held<Given> {
        let count = if access == Access::Read { &self.reads } else { &self.writes };
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Given { turn: 0, denied: None }))
    }

    fn commit(&self, _: u64) -> Held<Fate> {
        Box::pin(std::future::ready(Fate::Real))
    }

    fn over(&self, _: u64) {}

    fn disk(&self, _: &std::path::Path, _: Disk) {}
}

/// Reads and writes of a turn with so many tool steps, up to the model's last call.
async fn turn_of(steps: usize) -> (usize, usize) {
    let world = World::new().await;
    let counts = Arc::new(Counts::default());
    world.model.improvise(move |asked| match asked > steps {
        true => vec![Act::Gate("end")],
        false => vec![Act::call("a", "act", json!({"what": asked.to_string()}))],
    });
    let _installed = install(Arc::clone(&counts) as _);
    let before = counts.so_far();
    world.begin("go").await;
    world.model.asked(steps + 1).await;
    let after = counts.so_far();
    assert_eq!(world.tools.ledger().len(), steps);
    (after.0 - before.0, after.1 - before.1)
}

/// Class: rows were read again in every step of a turn, until the pool of connections starved.
#[tokio::test]
async fn a_step_reads_nothing_again_that_the_runner_knows() {
    let (few, many) = (turn_of(5).await, turn_of(45).await);
    let per_step = |few: usize, many: usize| (many as f64 - few as f64) / 40.0;
    let (reads, writes) = (per_step(few.0, many.0), per_step(few.1, many.1));
    println!("a tool step: {reads:.2} reads, {writes:.2} writes; of 5 {few:?}, of 45 {many:?}");
    // The polls of the worker, about one a second, are in it.
    assert!(reads <= 2.0, "{reads} reads a step");
    assert!(writes <= 4.0, "{writes} writes a step");
}
