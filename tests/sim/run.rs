//! Runs seeds and sums up.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use controlplane::chat::edit_check::EditCheck;
use controlplane::store::{DatabaseUrl, NewUser, NewWorkspace, Store, UserRole};
use serde::{Deserialize, Serialize};
use shared::fault::simulation::install;

use crate::chance;
use crate::director::Director;
use crate::points::POINTS;
use crate::profile::Profile;
use crate::time::{WorldClock, WorldIds};
use crate::world::{Place, World, daemon_folder};

/// What the process of a world is to do.
const ORDER_VARIABLE: &str = "HOLDFAST_WORLD";
/// Seeds of which a share can be asked for.
const ENOUGH: u64 = 2_000;
/// How many worlds at a time, where it is not as many as there are cores.
const JOBS_VARIABLE: &str = "HOLDFAST_JOBS";
/// A world takes a tenth of a second; on a busy machine a few.
const STANDS_STILL: Duration = Duration::from_secs(120);
/// Stands before the outcome in its output.
const TOLD: &str = "@@world ";

/// How a seed ended.
#[derive(Serialize, Deserialize)]
pub struct Outcome {
    pub seed: u64,
    /// What must not be; none: all is well.
    pub wrong: Option<String>,
    /// Of everything that happened.
    pub hash: u64,
    /// How often somebody was let go.
    pub steps: u64,
    /// How often each point fired.
    pub points: BTreeMap<String, u64>,
}

/// One world, as its process is told.
#[derive(Serialize, Deserialize)]
struct Order {
    seed: u64,
    traced: bool,
    folder: PathBuf,
    place: Place,
}

/// A database with a user and a workspace, of which each world has a copy.
struct Template {
    folder: tempfile::TempDir,
    place: Place,
}

/// Where worlds live: in memory where that is possible, since they sync a lot and keep nothing.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let place = runtime.expect("a runtime").block_on(async {
            let url = DatabaseUrl::Sqlite(folder.path().join("holdfast.db"));
            let (clock, ids) = (Arc::new(WorldClock::new()), Arc::new(WorldIds::default()));
            // Ids of worlds begin behind these.
            let store = Store::open(&url, clock, ids).await.expect("a new database");
            let user = NewUser {
                username: "ada".into(),
                password_hash: String::new(),
                role: UserRole::Admin,
            };
            let user = store.users.create(&user).await.expect("the first user").id;
            let workspace = NewWorkspace { name: "box".into(), labels: Default::default() };
            let workspace = store.workspaces.create(&workspace).await.expect("it is new").id;
            let checked = NewWorkspace { name: "checked".into(), labels: Default::default() };
            let checked = store.workspaces.create(&checked).await.expect("it is new").id;
            let check = EditCheck { command: "make".into(), timeout_s: 60 };
            let set = store.workspaces.set_edit_check(checked, Some(&check)).await;
            set.expect("it is there");
            store.close().await;
            Place { user, workspace, checked }
        });
        Template { folder, place }
    })
}

/// Runs one seed in a process of its own, so that nothing depends on what ran before. Blocks.
pub fn seed(seed: u64, traced: bool) -> Outcome {
    let template = template();
    let folder = tempfile::tempdir_in(scratch()).expect("a temporary folder");
    let copy = folder.path().join("holdfast.db");
    std::fs::copy(template.folder.path().join("holdfast.db"), copy).expect("there is room");
    std::fs::create_dir(daemon_folder(folder.path())).expect("there is room");
    let order = Order { seed, traced, folder: folder.path().to_owned(), place: template.place };
    let mut world = Command::new(std::env::current_exe().expect("this program"));
    world.args(["--exact", "one_world", "--ignored", "--nocapture", "--test-threads", "1"]);
    world.env(ORDER_VARIABLE, serde_json::to_string(&order).expect("plain data"));
    let (text, ended) = play(world.stdout(Stdio::piped()).spawn().expect("this program runs"));
    let told = text.lines().find_map(|line| line.split_once(TOLD).map(|(_, told)| told));
    told.and_then(|told| serde_json::from_str(told).ok()).unwrap_or_else(|| Outcome {
        seed,
        wrong: Some(format!("the world's process {ended}: {text}")),
        hash: 0,
        steps: 0,
        points: BTreeMap::new(),
    })
}

/// What the process of a world prints, and how it ended. A world in which nothing can go on any
/// more would stand still for ever: it is ended and named.
fn play(mut world: Child) -> (String, String) {
    let mut output = world.stdout.take().expect("it is a pipe");
    let (tell, told) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = output.read_to_end(&mut text);
        let _ = tell.send(()); // nobody may wait any more
        String::from_utf8_lossy(&text).into_owned()
    });
    let hangs = told.recv_timeout(STANDS_STILL).is_err();
    if hangs {
        let _ = world.kill();
    }
    let status = world.wait().expect("it is a child of this process");
    let text = reading.join().expect("it only reads");
    let ended = if hangs { "stands still".to_owned() } else { format!("ended as {status}") };
    (text, ended)
}

/// Runs the world that the parent process ordered, and tells it how it ended. False: none was.
pub fn ordered() -> bool {
    let Ok(order) = std::env::var(ORDER_VARIABLE) else { return false };
    let order: Order = serde_json::from_str(&order).expect("the parent writes it");
    chance::abolish();
    // A fresh thread, which has used no randomness.
    let world = std::thread::spawn(move || world(&order));
    let outcome = world.join().expect("its panic was printed");
    println!("{TOLD}{}", serde_json::to_string(&outcome).expect("plain data"));
    true
}

fn world(order: &Order) -> Outcome {
    let Order { seed, traced, .. } = *order;
    let profile = Profile::of(seed);
    let director = Director::new(seed, profile.clone(), traced);
    let parked = director.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || parked.parked())
        .build()
        .expect("a runtime");
    // While a blocking job runs, time does not pass by itself: only the world moves it.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || stopped.recv());
    let parts = (director.clone(), profile);
    let wrong = runtime.block_on(async {
        let mut world = World::new(seed, parts, &order.folder, order.place).await;
        let installed = install(Arc::new(director.clone()));
        let wrong = world.run().await.err();
        director.close();
        drop(installed);
        world.end().await;
        wrong
    });
    drop(stop);
    drop(runtime);
    let (hash, steps) = director.result();
    let points = director.points();
    let points = points.into_iter().map(|(name, fired)| (name.to_owned(), fired)).collect();
    Outcome { seed, wrong, hash, steps, points }
}

/// The sum of many seeds.
#[derive(Default)]
pub struct Report {
    seeds: u64,
    steps: u64,
    failed: Vec<(u64, String)>,
    /// In how many seeds each point fired.
    points: BTreeMap<String, u64>,
}

impl Report {
    /// Runs every seed, as many at a time as there are cores.
    pub fn of(seeds: std::ops::Range<u64>, run: impl Fn(u64) -> Outcome + Sync) -> Self {
        let asked = std::env::var(JOBS_VARIABLE).ok().and_then(|jobs| jobs.parse().ok());
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = asked.unwrap_or_else(cores);
        let (next, report) = (AtomicU64::new(seeds.start), Mutex::new(Self::default()));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= seeds.end {
                            return;
                        }
                        let outcome = run(number);
                        report.lock().expect("nobody panics with it").add(outcome);
                    }
                });
            }
        });
        let mut report = report.into_inner().expect("nobody panics with it");
        report.failed.sort();
        report
    }

    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        for point in outcome.points.into_keys() {
            *self.points.entry(point).or_default() += 1;
        }
        if let Some(wrong) = outcome.wrong {
            println!("seed {}: {wrong}", outcome.seed);
            self.failed.push((outcome.seed, wrong));
        }
    }

    /// How many were run.
    pub fn seeds(&self) -> u64 {
        self.seeds
    }

    /// Those that must not be, and why.
    pub fn failed(&self) -> &[(u64, String)] {
        &self.failed
    }

    /// Points of the product that fired in less than one of a hundred seeds; of few seeds, in none.
    pub fn silent_points(&self) -> Vec<String> {
        let least = (self.seeds / 100).max(1);
        let least = if self.seeds < ENOUGH { 1 } else { least };
        let fired = |name: &str| self.points.get(name).copied().unwrap_or(0);
        let silent = POINTS.iter().filter(|name| fired(name) < least);
        silent.map(|name| format!("{name}: {} of {}", fired(name), self.seeds)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, fired) in &self.points {
            let share = 100.0 * *fired as f64 / self.seeds.max(1) as f64;
            writeln!(f, "{share:5.1} %  {name}")?;
        }
        write!(
            f,
            "simulation: {} seeds, {} steps, {} points, {} failed",
            self.seeds,
            self.steps,
            self.points.len(),
            self.failed.len()
        )
    }
}
