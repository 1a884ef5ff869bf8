//! The control plane killed at its system calls.
//!
//! ```text
//! P01  strace ─► SIGKILL as a thread enters its nth write, send or sync of the turn
//!        └─► start again ─► the turn ends by itself ─► oracle of `turn`
//! ```
//!
//! A fault point is a place we thought of; a system call is one that we did not. Which window a kill
//! fell into is told by the last fault point that either program passed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shared::testing::{Distribution, trials};
use tests::postgres::Postgres;
use tests::strace::{self, Strace};

use crate::stage::Stage;

/// The outcome of many kills.
#[derive(Default)]
struct Tally {
    reached: usize,
    windows: BTreeMap<String, usize>,
    /// From the new start to the end of the turn.
    recoveries: Vec<Duration>,
}

impl Tally {
    fn windows_between(&self, least: usize) -> Vec<&str> {
        ["w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7"]
            .into_iter()
            .filter(|window| self.windows.get(*window).copied().unwrap_or_default() < least)
            .collect()
    }
}

/// Every nth of a list, beginning late enough that the last is in it; all when there are fewer.
pub fn spread<T: Clone>(all: &[T], wanted: usize) -> Vec<T> {
    let step = all.len().div_ceil(wanted.max(1)).max(1);
    all.iter().rev().step_by(step).rev().cloned().collect()
}

async fn every_call(database: &str, database_url: Option<String>) -> Result<()> {
    if !strace::is_there() {
        eprintln!("SKIPPED: strace is not installed");
        return Ok(());
    }
    let mut stage = Stage::open(database_url, "auto").await?;
    // A turn to warm up: the first opens connections that later ones find open.
    stage.places().await?;
    let counting = Strace::count(stage.programs.server_pid()?)?;
    stage.places().await?;
    let counts = counting.counted()?;
    let all: Vec<(String, usize)> = counts
        .iter()
        .flat_map(|(kind, most)| (1..=*most).map(move |nth| (kind.clone(), nth)))
        .collect();
    let places = spread(&all, trials(10, 800));
    let mut tally = Tally::default();
    for (kind, nth) in &places {
        let what = format!("{database}, killed at {kind} #{nth}");
        let run = stage.until_it_dies(|pid| Strace::kill_at(pid, kind, *nth)).await;
        let run = run.with_context(|| what.clone())?;
        stage.judge(&what, &run.turn, &run.chat).await?;
        if let Some(recovery) = run.recovery {
            tally.reached += 1;
            tally.recoveries.push(recovery);
            *tally.windows.entry(run.window).or_default() += 1;
        }
    }
    let times: Distribution = tally.recoveries.iter().copied().collect();
    println!(
        "P01: {database}: killed at {} of {} system calls (of {} per thread: {counts:?}), 0 lost, 0 run again, 0 doubled; windows {:?}; from restart to the end of the turn {times}",
        tally.reached,
        places.len(),
        all.len(),
        tally.windows
    );
    ensure!(stage.model.violations().is_empty(), "{:?}", stage.model.violations());
    ensure!(tally.reached * 2 >= places.len(), "most places must be reached");
    if trials(0, 1) == 1 {
        println!(
            "P01: {database}: windows hit fewer than 20 times: {:?}",
            tally.windows_between(20)
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_nothing_is_lost_or_run_twice_at_whatever_system_call_it_dies_on_sqlite() -> Result<()>
{
    every_call("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_nothing_is_lost_or_run_twice_at_whatever_system_call_it_dies_on_postgres() -> Result<()>
{
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    every_call("Postgres", Some(postgres.database().await?)).await
}
