//! The simulator: the real engine, store and journal in a world where one seed decides everything.
//!
//! ```text
//!  people ─► ChatService ─► Store (SQLite) ◄─ Worker, Runner ─► Model (scripted by the seed)
//!  viewers ◄─ Streams ◄─ Hub                        └─► Link (late, lossy) ─► Daemon (real journal)
//!      everything waits for the Director, which draws who goes on, what fails, and how time passes
//! ```
//!
//! Run many: `cargo xtask simulate --seeds 0..20000`. See one: `cargo xtask simulate --seed 7 --trace`.
//! A seed that ever failed stands in `failing_seeds.txt` and is run for ever.

mod chance;
mod daemon;
mod director;
mod disk;
mod link;
mod model;
mod oracle;
mod people;
mod points;
mod profile;
mod relays;
mod run;
mod time;
mod viewer;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use run::{Report, seed};
use shared::testing::trials;

/// Seeds of one usual run of the tests.
const SEEDS: u64 = 200;
/// Seeds that are run twice: in the usual run of the tests, and in a long one.
const TWICE: (usize, usize) = (20, 100);
/// Which seeds to run, `A..B`, instead of the usual ones.
const SEEDS_VARIABLE: &str = "HOLDFAST_SEEDS";
/// Print what happened in each of them.
const TRACE_VARIABLE: &str = "HOLDFAST_SEED_TRACE";

/// The kept seeds, one per line, and why each is kept.
const FAILING: &str = include_str!("failing_seeds.txt");

fn asked_for() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var(SEEDS_VARIABLE) else { return 0..SEEDS };
    let (from, to) = asked.split_once("..").expect("seeds are asked for as A..B");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_runs_twice() {
    let (seeds, traced) = (asked_for(), std::env::var_os(TRACE_VARIABLE).is_some());
    #[expect(clippy::disallowed_methods, reason = "printed, and nothing hangs on it")]
    let began = Instant::now();
    let report = Report::of(seeds, |number| seed(number, traced));
    println!("{report}\nin {:.1} s", began.elapsed().as_secs_f64());
    assert!(report.failed().is_empty(), "failed: {:#?}", report.failed());
    if report.seeds() >= SEEDS {
        assert_eq!(report.silent_points(), Vec::<String>::new(), "points that hardly ever fire");
    }
}

#[test]
fn a_seed_that_failed_once_is_run_for_ever() {
    let kept = FAILING.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    for line in kept {
        let number = line.split_whitespace().next().expect("the line is not empty");
        let outcome = seed(number.parse().expect("a line begins with a seed"), false);
        assert_eq!(outcome.wrong, None, "{line}");
    }
}

#[test]
fn a_seed_run_twice_gives_one_hash() {
    let twice = trials(TWICE.0, TWICE.1) as u64;
    let hashes = Mutex::new(BTreeMap::<u64, Vec<u64>>::new());
    Report::of(0..2 * twice, |nth| {
        let outcome = seed(1_000 + nth / 2, false);
        hashes.lock().expect("plain").entry(outcome.seed).or_default().push(outcome.hash);
        outcome
    });
    let hashes = hashes.into_inner().expect("plain");
    let differ: Vec<_> = hashes.iter().filter(|(_, of)| of[0] != of[1]).collect();
    println!("determinism: {} of {twice} seeds gave one hash twice", hashes.len() - differ.len());
    assert!(differ.is_empty() && hashes.len() as u64 == twice, "{differ:?}");
}

#[test]
#[ignore = "the process of one world; the others start it"]
fn one_world() {
    run::ordered();
}
