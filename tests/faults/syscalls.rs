//! The control plane killed at its system calls, and ended in the other ways that a machine knows.
//!
//! ```text
//! P01  strace ─► SIGKILL as a thread enters its nth write, send or sync of the turn
//! P02  SIGTERM at a fault point · the kernel's out-of-memory killer · a second kill while it recovers
//!        └─► start again ─► the turn ends by itself ─► oracle of `turn`
//! ```
//!
//! A fault point is a place we thought of; a system call is one that we did not. Which window a kill
//! fell into is told by the last fault point that either program passed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shared::testing::{Distribution, trials};
use tests::postgres::Postgres;
use tests::strace::{self, Strace};

use crate::stage::{Place, Program, Stage};

/// From SIGTERM to the end of the program (P02).
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// What the out-of-memory rounds leave to a program whose pages of before are not counted: it dies at
/// another point of the turn in each.
const OOM_STEP_KIB: usize = 96;

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
fn spread<T: Clone>(all: &[T], wanted: usize) -> Vec<T> {
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

/// SIGTERM while it stands at a fault point: it ends soon, and its chats are taken up again.
async fn asked_to_stop(database: &str, stage: &mut Stage, wanted: usize) -> Result<()> {
    let places: Vec<Place> = stage.places().await?;
    let places: Vec<Place> =
        places.into_iter().filter(|place| place.program == Program::Server).collect();
    let (mut drains, mut reached) = (Vec::new(), 0);
    let places = spread(&places, wanted);
    for place in &places {
        let what = format!("{database}, asked to stop at {place}");
        let run = stage.stop_at(place).await.with_context(|| what.clone())?;
        stage.judge(&what, &run.turn, &run.chat).await?;
        if let Some(drain) = run.drain {
            reached += 1;
            drains.push(drain);
        }
    }
    let times: Distribution = drains.into_iter().collect();
    println!(
        "P02: {database}: SIGTERM at {reached} of {} places, 0 lost, 0 run again, 0 doubled, no chat in error; drain {times}",
        places.len()
    );
    ensure!(reached * 2 >= places.len(), "most places must be reached");
    ensure!(times.max() <= DRAIN_MAX, "a drain took {:?}, {DRAIN_MAX:?} are promised", times.max());
    Ok(())
}

/// Killed again while it recovers from being killed.
async fn killed_twice(
    database: &str,
    stage: &mut Stage,
    firsts: usize,
    seconds: usize,
) -> Result<()> {
    let places: Vec<Place> = stage.places().await?;
    let places: Vec<Place> =
        places.into_iter().filter(|place| place.program == Program::Server).collect();
    let mut reached = 0;
    let mut rounds = 0;
    for first in &spread(&places, firsts) {
        let recovery = stage.recovery_of(first).await?;
        for second in &spread(&recovery, seconds) {
            let what = format!("{database}, killed at {first}, and recovering at {second}");
            let run = stage.crash_twice(first, second).await.with_context(|| what.clone())?;
            stage.judge(&what, &run.turn, &run.chat).await?;
            rounds += 1;
            reached += usize::from(run.reached);
        }
    }
    println!(
        "P02: {database}: killed again at {reached} of {rounds} places of a recovery, 0 lost, 0 run again, 0 doubled"
    );
    // Which commits a recovery makes depends on how far the killed one had come.
    ensure!(reached * 4 >= rounds && reached > 0, "some places must be reached");
    Ok(())
}

/// A real out-of-memory kill, by a control group that leaves less each time.
async fn out_of_memory(database: &str, stage: &mut Stage, wanted: usize) -> Result<()> {
    if !MemoryGroup::may_be_made() {
        eprintln!("SKIPPED: no memory control group may be made here");
        return Ok(());
    }
    let mut killed = 0;
    for round in 0..wanted {
        let what = format!("{database}, out of memory, round {round}");
        // A fresh one has no memory of earlier turns to use again.
        stage.programs.kill_server()?;
        stage.programs.start_server()?;
        let limit = |pid| MemoryGroup::of(pid, (round + 1) * OOM_STEP_KIB);
        let run = stage.until_it_dies(limit).await.with_context(|| what.clone())?;
        stage.judge(&what, &run.turn, &run.chat).await?;
        killed += usize::from(run.recovery.is_some());
    }
    println!(
        "P02: {database}: the kernel killed it for memory in {killed} of {wanted} turns, 0 lost, 0 run again, 0 doubled"
    );
    ensure!(killed * 2 >= wanted, "the limit must be met in most rounds");
    Ok(())
}

/// A control group (version 1) with a limit on memory that is charged from now on.
struct MemoryGroup {
    path: PathBuf,
}

impl MemoryGroup {
    fn may_be_made() -> bool {
        let group = Self { path: Self::place() };
        let made = std::fs::create_dir_all(&group.path).is_ok();
        made && group.path.join("memory.limit_in_bytes").exists()
    }

    fn of(pid: u32, kib: usize) -> Result<Self> {
        let group = Self { path: Self::place() };
        std::fs::create_dir_all(&group.path)?;
        std::fs::write(group.path.join("memory.limit_in_bytes"), (kib * 1024).to_string())?;
        std::fs::write(group.path.join("cgroup.procs"), pid.to_string())?;
        Ok(group)
    }

    fn place() -> PathBuf {
        Path::new("/sys/fs/cgroup/memory").join(format!("holdfast-faults-{}", std::process::id()))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whoever lives in it goes back; the killed one has left.
        if let Ok(pids) = std::fs::read_to_string(self.path.join("cgroup.procs")) {
            for pid in pids.lines() {
                let _ = std::fs::write("/sys/fs/cgroup/memory/cgroup.procs", pid);
            }
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

async fn other_ends(database: &str, database_url: Option<String>) -> Result<()> {
    let mut stage = Stage::open(database_url, "auto").await?;
    asked_to_stop(database, &mut stage, trials(6, 100)).await?;
    killed_twice(database, &mut stage, trials(2, 8), trials(3, 50)).await?;
    out_of_memory(database, &mut stage, trials(2, 40)).await?;
    ensure!(stage.model.violations().is_empty(), "{:?}", stage.model.violations());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p02_other_ends_of_the_control_plane_lose_nothing_either_on_sqlite() -> Result<()> {
    other_ends("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p02_other_ends_of_the_control_plane_lose_nothing_either_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    other_ends("Postgres", Some(postgres.database().await?)).await
}
