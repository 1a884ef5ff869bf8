//! Nothing takes everything: processes and memory run out for one command, and the daemon, the
//! keepers and the other commands go on. `docs/design/012-stop-and-limits.md`.
//!
//! What takes all that it gets is let go only when its limit is seen to be in force, so that a
//! limit that does not work costs a failed test and not the machine.

mod bench;

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentd::process::{CgroupUse, Containment};
use bench::events::seen;
use bench::served::Served;
use bench::{Bench, Table, argv, shell};
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::limits::PROCESSES_RUNNING_MAX;
use shared::protocol::Method;
use shared::protocol::process::{
    Exit, GetProcess, ProcessFacts, ProcessState, ProcessView, StartProcess, StopProcess,
    WaitProcess,
};
use shared::testing::{Distribution, trials};

/// Memory of one command here, in bytes.
const MEMORY: u64 = 96 << 20;
/// What a hog wants: bounded also where a limit does not work.
const HOG: u64 = 512 << 20;

/// Not a test by itself: the child that [`Served::start`] starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

/// A daemon in a process of its own.
struct Scene {
    dir: tempfile::TempDir,
    ids: SystemIds,
    served: Option<Served>,
}

impl Scene {
    fn new(variables: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let served = Some(Served::start_with(dir.path(), variables));
        Self { dir, ids: SystemIds::new(), served }
    }

    fn daemon(&self) -> &Served {
        self.served.as_ref().unwrap()
    }

    async fn call<M: Method>(&self, request: &M) -> M::Reply {
        let op: OpId = (&self.ids as &dyn IdSource).id();
        self.daemon().call(op, request).await.unwrap()
    }

    async fn start(&self, command: &str) -> ProcessView {
        let process_id = (&self.ids as &dyn IdSource).id();
        self.call(&StartProcess { process_id, ..shell(command) }).await
    }

    async fn get(&self, process_id: ProcessId) -> ProcessView {
        self.call(&GetProcess { process_id }).await
    }

    async fn ended(&self, process_id: ProcessId) -> ProcessView {
        self.call(&WaitProcess { process_id, timeout_ms: 60_000 }).await
    }

    fn let_go(&self, file: &str) {
        std::fs::write(self.dir.path().join("root").join(file), "").unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.served.take().unwrap().kill();
        bench::end_workspace(&self.dir.path().join("state/processes"));
    }
}

fn facts(view: &ProcessView) -> ProcessFacts {
    view.facts.as_deref().cloned().unwrap_or_default()
}

/// The directory of a controller in which `view` is once its keeper has put it there.
async fn group(view: &ProcessView, controller: &str) -> PathBuf {
    let pid = view.os_pid.expect("it runs");
    let what = format!("{} is in its group of {controller}", view.process_id);
    seen(&what, || group_of(pid, view.process_id, controller)).await
}

fn group_of(pid: u32, process_id: ProcessId, controller: &str) -> Option<PathBuf> {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mut lines = own.lines().filter(|line| line.contains(&process_id.to_string()));
    lines.find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (name, path) = (fields.next().unwrap(), fields.next().unwrap());
        let path = path.trim_start_matches('/');
        let mounts = match name {
            "" => ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from).to_vec(),
            name => vec![Path::new("/sys/fs/cgroup").join(name)],
        };
        let has = |name: &str| name.split(',').any(|name| name == controller);
        mounts.into_iter().map(|mount| mount.join(path)).find(|path| {
            (has(name) || name.is_empty())
                && ["pids.max", "memory.max", "memory.limit_in_bytes"]
                    .iter()
                    .any(|file| file.starts_with(controller) && path.join(file).exists())
        })
    })
}

fn number(path: &Path, files: &[&str]) -> Option<u64> {
    let read = |file: &&str| std::fs::read_to_string(path.join(file)).ok();
    files.iter().find_map(read)?.trim().parse().ok()
}

/// Whether this machine has `limit`; says so where it has not.
fn has(limit: &str, test: &str) -> bool {
    let here = agentd::process::Availability::here();
    let has = here.limits.iter().any(|name| name == limit);
    if !has {
        println!("{test}: skipped, this machine gives no limit of {limit}: {}", here.text);
    }
    has
}

#[tokio::test]
async fn p25_a_fork_bomb_leaves_the_daemon_responsive() {
    if !has("pids", "P25") {
        return;
    }
    let rounds = trials(1, 5);
    let (mut pings, mut stops, mut refused, mut lines) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..rounds {
        let scene = Scene::new(&[]);
        let ticker =
            scene.start("i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done").await.process_id;
        let wait = "while [ ! -e go ]; do sleep 0.01; done";
        let bomb = scene.start(&format!("{wait}; f() {{ f | f & }}; f; sleep 600")).await;
        let place = group(&bomb, "pids").await;
        assert_eq!(number(&place, &["pids.max"]), Some(512), "the limit is in force");
        scene.let_go("go");
        let before = scene.get(ticker).await.output_total;
        let start = tokio::time::Instant::now();
        // A ping each 10 ms: one after the other would be a load of its own.
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let (mut count, mut most) = (0, 0);
        while start.elapsed() < Duration::from_secs(2) || count < 100 {
            ticks.tick().await;
            let sent = tokio::time::Instant::now();
            scene.get(ticker).await;
            pings.push(sent.elapsed());
            count += 1;
            // It rises and falls: what is refused a fork ends.
            most = most.max(number(&place, &["pids.current"]).unwrap_or(0));
        }
        assert!(most > 100, "it bombs: {most} processes");
        let after = scene.get(ticker).await.output_total;
        assert!(after > before, "other output flows");
        lines += after - before;
        let asked = tokio::time::Instant::now();
        let stop = StopProcess { process_id: bomb.process_id, grace_ms: 0 };
        let view = scene.call(&stop).await;
        stops.push(asked.elapsed());
        let facts = facts(&view);
        assert_eq!(facts.stopped.as_ref().map(|stopped| stopped.left), Some(0), "{facts:?}");
        assert_eq!(bench::members(bomb.process_id), 0);
        let limit = facts.pids_limit.expect("the result says that processes ran out");
        assert_eq!(limit.limit, Some(512));
        refused += limit.refused;
        assert_eq!(scene.get(ticker).await.state, ProcessState::Running);
    }
    let (pings, stops): (Distribution, Distribution) =
        (pings.into_iter().collect(), stops.into_iter().collect());
    println!(
        "P25: {rounds} fork bombs of 512: ping {pings}; gone after {stops}; {refused} forks refused and told; \
         {lines} bytes of another command meanwhile"
    );
    assert!(stops.max() < Duration::from_secs(30), "{stops}");
}

#[tokio::test]
async fn p29_a_command_without_memory_is_killed_and_nothing_else() {
    if !has("memory", "P29") {
        return;
    }
    let rounds = trials(4, 100);
    let (mut killed, mut survived, mut placed) = (0, 0, 0);
    let limit = |name, bytes: u64| (name, bytes.to_string());
    for (of_workspace, variable) in
        [(false, "HOLDFAST_PROCESS_MEMORY_MAX"), (true, "HOLDFAST_WORKSPACE_MEMORY_MAX")]
    {
        let scene = Scene::new(&[limit(variable, MEMORY)]);
        let pid = scene.daemon().pid();
        let other = scene.start("sleep 600").await.process_id;
        for round in 0..rounds / 2 {
            let wait = format!("while [ ! -e go-{round} ]; do sleep 0.01; done");
            // Its leader, or one that it waits for.
            let hog = if round % 2 == 0 { "exec" } else { "" };
            let command = format!("{wait}; {hog} dd if=/dev/zero of=/dev/null bs={HOG} count=1");
            let hog = scene.start(&command).await;
            let place = group(&hog, "memory").await;
            let place = if of_workspace { place.parent().unwrap() } else { &place };
            let in_force = number(place, &["memory.max", "memory.limit_in_bytes"]);
            assert_eq!(in_force, Some(MEMORY), "the limit is in force");
            placed += 1;
            scene.let_go(&format!("go-{round}"));
            let view = scene.ended(hog.process_id).await;
            let exit = bench::exit(&view);
            let is_killed =
                matches!(exit, Some(Exit::Signal { signal: 9, .. } | Exit::Code { code: 137 }));
            assert!(is_killed, "{exit:?}");
            let oom = facts(&view).oom_killed.expect("the result says that memory ran out");
            assert_eq!(oom.limit_bytes, Some(MEMORY), "{oom:?}");
            assert!(oom.kills >= 1 && oom.peak_bytes.unwrap() > MEMORY / 2, "{oom:?}");
            killed += 1;
            assert_eq!(scene.get(other).await.state, ProcessState::Running);
            assert_eq!(scene.daemon().pid(), pid);
            survived += 1;
        }
    }
    println!(
        "P29: {killed} of {placed} hogs killed and told as oom_killed with limit and peak; agentd and its other \
         command survived {survived} of {placed}"
    );
    assert_eq!((killed, survived), (placed, placed));
}

#[tokio::test]
async fn a_command_gives_way_to_its_daemon_and_its_keeper() {
    let scene = Scene::new(&[]);
    let view = scene.start("sleep 600").await;
    let pid = view.os_pid.unwrap();
    let read =
        |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let score = |pid| read(pid, "oom_score_adj").trim().parse::<i32>().unwrap();
    let nice = |pid| {
        let stat = read(pid, "stat");
        stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().parse::<i32>().unwrap()
    };
    let stat = read(pid, "stat");
    let keeper = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    for ours in [keeper, scene.daemon().pid()] {
        assert!(score(pid) >= score(ours) + 500 || score(pid) == 1_000);
        assert!(nice(pid) >= nice(ours) + 5 || nice(pid) == 19);
    }
}

#[tokio::test]
async fn b57_what_runs_out_is_named() {
    let mut table = Table::new("B57");
    let scene = Scene::new(&[
        ("HOLDFAST_PROCESS_PIDS_MAX", "16".to_owned()),
        ("HOLDFAST_PROCESS_MEMORY_MAX", MEMORY.to_string()),
    ]);
    // Each has a file of its own to wait for: what is let go before its limit is in force, has none.
    let wait = |file: &str| format!("while [ ! -e {file} ]; do sleep 0.01; done");
    if has("pids", "B57") {
        let many = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 60 & done; echo all";
        let view = scene.start(&format!("{}; {many}", wait("go-many"))).await;
        let place = group(&view, "pids").await;
        table.row("limit in force".to_owned(), number(&place, &["pids.max"]), Some(16));
        scene.let_go("go-many");
        let view = scene.ended(view.process_id).await;
        let limit = facts(&view).pids_limit;
        table.row("processes ran out".to_owned(), limit.is_some(), true);
        table.row("their limit".to_owned(), limit.and_then(|limit| limit.limit), Some(16));
        let stop = StopProcess { process_id: view.process_id, grace_ms: 0 };
        let left = facts(&scene.call(&stop).await).stopped.map(|stopped| stopped.left);
        table.row("and can be stopped".to_owned(), left, Some(0));
    }
    if has("memory", "B57") {
        let hog = format!("{}; dd if=/dev/zero of=/dev/null bs={HOG} count=1", wait("go-hog"));
        let view = scene.start(&hog).await;
        let place = group(&view, "memory").await;
        let in_force = number(&place, &["memory.max", "memory.limit_in_bytes"]);
        table.row("memory limit in force".to_owned(), in_force, Some(MEMORY));
        scene.let_go("go-hog");
        let view = scene.ended(view.process_id).await;
        let oom = facts(&view).oom_killed;
        table.row("memory ran out".to_owned(), oom.map(|oom| oom.limit_bytes), Some(Some(MEMORY)));
    }
    let bench = Bench::contained(Containment { cgroups: CgroupUse::Off, ..Containment::default() });
    for _ in 0..PROCESSES_RUNNING_MAX {
        bench.start(argv(&["sleep", "600"])).await.unwrap();
    }
    let error = bench.start(argv(&["sleep", "600"])).await.unwrap_err();
    let counts = (error.details.get("count").cloned(), error.details.get("limit").cloned());
    let expected = Some(PROCESSES_RUNNING_MAX.to_string());
    let found = (error.code.as_str(), counts);
    table.row(
        "one command too many".to_owned(),
        found,
        ("process_limit", (expected.clone(), expected)),
    );
    table.finish();
}
