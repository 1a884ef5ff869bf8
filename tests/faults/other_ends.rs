//! The control plane ended in the other ways that a machine knows: P02.
//!
//! ```text
//! SIGTERM at a fault point · a second kill while it recovers · the kernel's out-of-memory killer
//!        └─► start again ─► the turn ends by itself ─► oracle of `turn`
//! ```
//!
//! A turn that is broken off mostly waits: for its programs to start, for the link to come back, for its
//! lease. So several stages, each with programs and a database of its own, share the places out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shared::testing::{Distribution, trials};
use tests::postgres::Postgres;
use tokio::task::JoinSet;

use crate::stage::{Place, Program, Stage};
use crate::syscalls::spread;

/// From SIGTERM to the end of the program.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// What the out-of-memory rounds leave to a program whose pages of before are not counted: it dies at
/// another point of the turn in each.
const OOM_STEP_KIB: usize = 48;
/// Stages beside each other, at full size.
const STAGES: usize = 4;

/// One stage of several, and which of the places are its own: every `of`th, from `at` on.
struct Part {
    stage: Stage,
    /// The database's name.
    database: &'static str,
    at: usize,
    of: usize,
}

/// What the parts came to.
#[derive(Default)]
struct Tally {
    stops: usize,
    /// From SIGTERM to the end, where the place was reached.
    drains: Vec<Duration>,
    recoveries: usize,
    second_kills: usize,
    memory_rounds: usize,
    out_of_memory: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.stops += other.stops;
        self.drains.extend(other.drains);
        self.recoveries += other.recoveries;
        self.second_kills += other.second_kills;
        self.memory_rounds += other.memory_rounds;
        self.out_of_memory += other.out_of_memory;
    }

    /// What is promised of it, and that it was tried at all.
    fn report(&self, database: &str) -> Result<()> {
        let drains: Distribution = self.drains.iter().copied().collect();
        let reached = self.drains.len();
        println!(
            "P02: {database}: SIGTERM at {reached} of {} places, killed again at {} of {} places of a recovery, out of memory in {} of {} turns: 0 lost, 0 run again, 0 doubled, 0 wrong final states; drain {drains}",
            self.stops, self.second_kills, self.recoveries, self.out_of_memory, self.memory_rounds,
        );
        ensure!(reached * 2 >= self.stops, "most places must be reached");
        let longest = drains.max();
        ensure!(longest <= DRAIN_MAX, "a drain took {longest:?}, {DRAIN_MAX:?} are promised");
        // Which commits a recovery makes depends on how far the killed one had come.
        let some = self.second_kills * 4 >= self.recoveries && self.second_kills > 0;
        ensure!(some, "some places of a recovery must be reached");
        let met = self.out_of_memory * 2 >= self.memory_rounds;
        ensure!(met, "the limit of memory must be met in most rounds");
        Ok(())
    }
}

impl Part {
    async fn play(mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        self.asked_to_stop(&mut tally).await?;
        println!("{}, stage {}: SIGTERM at {} places", self.database, self.at, tally.stops);
        self.killed_twice(&mut tally).await?;
        println!("{}, stage {}: {} recoveries", self.database, self.at, tally.recoveries);
        self.out_of_memory(&mut tally).await?;
        let violations = self.stage.model.violations();
        ensure!(violations.is_empty(), "{violations:?}");
        Ok(tally)
    }

    /// The places of the control plane in an undisturbed turn.
    async fn places(&mut self) -> Result<Vec<Place>> {
        let mut places = self.stage.places().await?;
        places.retain(|place| place.program == Program::Server);
        Ok(places)
    }

    /// Those of all that are this part's, if it begins `later`.
    fn share(&self, all: &[Place], later: usize) -> Vec<Place> {
        all.iter().skip((self.at + later) % self.of).step_by(self.of).cloned().collect()
    }

    /// SIGTERM while it stands at a fault point: it ends soon, and its chats are taken up again.
    async fn asked_to_stop(&mut self, tally: &mut Tally) -> Result<()> {
        let places = spread(&self.places().await?, trials(6, 100));
        for place in &self.share(&places, 0) {
            let what = format!("{}, asked to stop at {place}", self.database);
            let run = self.stage.stop_at(place).await.with_context(|| what.clone())?;
            self.stage.judge(&what, &run.turn, &run.chat).await?;
            tally.stops += 1;
            if let Some(drain) = run.drain.filter(|drain| *drain > DRAIN_MAX / 4) {
                println!("{what}: a drain of {drain:?}");
            }
            tally.drains.extend(run.drain);
        }
        Ok(())
    }

    /// Killed again while it recovers from being killed.
    async fn killed_twice(&mut self, tally: &mut Tally) -> Result<()> {
        let firsts = spread(&self.places().await?, trials(2, 8));
        for (later, first) in firsts.iter().enumerate() {
            let recovery = spread(&self.stage.recovery_of(first).await?, trials(3, 50));
            for second in &self.share(&recovery, later) {
                let database = self.database;
                let what = format!("{database}, killed at {first}, and recovering at {second}");
                let run = self.stage.crash_twice(first, second).await;
                let run = run.with_context(|| what.clone())?;
                self.stage.judge(&what, &run.turn, &run.chat).await?;
                tally.recoveries += 1;
                tally.second_kills += usize::from(run.reached);
            }
        }
        Ok(())
    }

    /// A real out-of-memory kill, by a control group that leaves less each time.
    async fn out_of_memory(&mut self, tally: &mut Tally) -> Result<()> {
        if !MemoryGroup::may_be_made() {
            eprintln!("SKIPPED: no memory control group may be made here");
            return Ok(());
        }
        for round in (self.at..trials(2, 40)).step_by(self.of) {
            let what = format!("{}, out of memory, round {round}", self.database);
            // A fresh one has no memory of earlier turns to use again.
            self.stage.programs.kill_server()?;
            self.stage.programs.start_server()?;
            let limit = |pid| MemoryGroup::of(pid, (round + 1) * OOM_STEP_KIB);
            let run = self.stage.until_it_dies(limit).await.with_context(|| what.clone())?;
            self.stage.judge(&what, &run.turn, &run.chat).await?;
            tally.memory_rounds += 1;
            tally.out_of_memory += usize::from(run.recovery.is_some());
        }
        Ok(())
    }
}

/// A control group (version 1) with a limit on memory that is charged from now on.
struct MemoryGroup {
    path: PathBuf,
}

impl MemoryGroup {
    fn may_be_made() -> bool {
        let group = Self { path: Self::place(std::process::id()) };
        let made = std::fs::create_dir_all(&group.path).is_ok();
        made && group.path.join("memory.limit_in_bytes").exists()
    }

    fn of(pid: u32, kib: usize) -> Result<Self> {
        let group = Self { path: Self::place(pid) };
        std::fs::create_dir_all(&group.path)?;
        std::fs::write(group.path.join("memory.limit_in_bytes"), (kib * 1024).to_string())?;
        std::fs::write(group.path.join("cgroup.procs"), pid.to_string())?;
        Ok(group)
    }

    fn place(pid: u32) -> PathBuf {
        Path::new("/sys/fs/cgroup/memory").join(format!("holdfast-faults-{pid}"))
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

async fn other_ends(database: &'static str, postgres: Option<&Postgres>) -> Result<()> {
    let of = trials(2, STAGES);
    let mut parts = JoinSet::new();
    for at in 0..of {
        let url = match postgres {
            Some(postgres) => Some(postgres.database().await?),
            None => None,
        };
        parts.spawn(async move {
            let stage = Stage::open(url, "auto").await?;
            Part { stage, database, at, of }.play().await
        });
    }
    let mut tally = Tally::default();
    while let Some(part) = parts.join_next().await {
        tally.add(part??);
    }
    tally.report(database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p02_other_ends_of_the_control_plane_lose_nothing_either_on_sqlite() -> Result<()> {
    other_ends("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p02_other_ends_of_the_control_plane_lose_nothing_either_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    other_ends("Postgres", Some(&postgres)).await
}
