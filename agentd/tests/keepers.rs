//! Processes outlive the daemon: killed and stopped at random moments, nothing is lost, and what is
//! lost is said. `docs/design/010-keepers.md`.
//!
//! The daemon is a child of the test that is killed with SIGKILL; the keepers are those of the real
//! `agentd`.

mod bench;

use std::time::Duration;

use bench::events::{until_exists, until_gone};
use bench::measured::keeper_of;
use bench::served::Served;
use bench::{Bench, exit, shell};
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::protocol::process::{
    Exit, FollowItem, GetProcess, OutputWindow, ProcessState, ProcessView, SignalProcess,
    StartProcess, Stdin, StopProcess, ViewOutput, WaitProcess, WriteStdin,
};

/// How often the daemon is killed.
const KILLS: usize = 20;
/// Processes that print all the time.
const TALKERS: usize = 6;

/// Not a test by itself: the child that [`Served::start`] starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

/// A state directory, a root, and the daemon of the moment.
struct Scene {
    dir: tempfile::TempDir,
    ids: SystemIds,
    served: Option<Served>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let served = Some(Served::start(dir.path(), None));
        Self { dir, ids: SystemIds::new(), served }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    fn op(&self) -> OpId {
        (&self.ids as &dyn IdSource).id()
    }

    fn daemon(&self) -> &Served {
        self.served.as_ref().unwrap()
    }

    fn kill(&mut self) {
        self.served.take().unwrap().kill();
    }

    /// Gives how long it took until the daemon served again, in milliseconds.
    fn start_again(&mut self) -> u128 {
        let start = tokio::time::Instant::now();
        self.served = Some(Served::start(self.dir.path(), None));
        start.elapsed().as_millis()
    }

    async fn start(&self, request: StartProcess) -> ProcessId {
        let process_id = (&self.ids as &dyn IdSource).id();
        let request = StartProcess { process_id, ..request };
        let view: ProcessView = self.daemon().call(self.op(), &request).await.unwrap();
        view.process_id
    }

    async fn get(&self, process_id: ProcessId) -> ProcessView {
        self.daemon().call(self.op(), &GetProcess { process_id }).await.unwrap()
    }

    async fn ended(&self, process_id: ProcessId) -> ProcessView {
        let wait = WaitProcess { process_id, timeout_ms: 30_000 };
        self.daemon().call(self.op(), &wait).await.unwrap()
    }

    async fn text(&self, process_id: ProcessId) -> String {
        let window = OutputWindow::HeadTail { head_bytes: Some(50_000), tail_bytes: Some(50_000) };
        let view = ViewOutput { process_id, window };
        self.daemon().call(self.op(), &view).await.unwrap().text
    }

    async fn write(&self, op: OpId, process_id: ProcessId, text: &str, close: bool) {
        let write = WriteStdin { process_id, data: text.as_bytes().to_vec(), close };
        self.daemon().call(op, &write).await.unwrap();
    }

    /// Waits until it has written something.
    async fn until_output(&self, process_id: ProcessId) -> ProcessView {
        let mut items = self.daemon().follow(process_id).await;
        let first = items.next().await;
        assert!(matches!(first, FollowItem::Chunk { .. }), "{first:?}");
        self.get(process_id).await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            served.kill();
        }
        bench::end_workspace(&self.dir.path().join("state/processes"));
    }
}

#[tokio::test]
async fn a_daemon_killed_again_and_again_loses_no_process_no_byte_and_no_exit_code() {
    let mut scene = Scene::new();
    let mut talkers = Vec::new();
    for n in 0..TALKERS {
        let talk = format!(
            "i=0; while [ ! -e stop ]; do i=$((i+1)); echo {n} $i; echo {n} $i >> own-{n}; \
             sleep 0.01; done; exit {}",
            n + 10
        );
        talkers.push(scene.start(shell(&talk)).await);
    }
    let open = StartProcess { stdin: Stdin::Open, ..shell("cat > heard") };
    let listener = scene.start(open).await;
    let (mut heard, mut slowest) = (String::new(), 0);
    for round in 0..KILLS {
        let leaves = format!(
            "echo up; while [ ! -e leave-{round} ]; do sleep 0.005; done; touch left-{round}; echo bye; exit 7"
        );
        let leaves = scene.start(shell(&leaves)).await;
        scene.kill();
        // It ends while no daemon is there.
        std::fs::write(scene.root().join(format!("leave-{round}")), "").unwrap();
        until_exists(&scene.root().join(format!("left-{round}")));
        slowest = slowest.max(scene.start_again());
        let ended = scene.ended(leaves).await;
        assert_eq!(exit(&ended), Some(Exit::Code { code: 7 }), "{ended:?}");
        assert_eq!(scene.text(leaves).await, "up\nbye\n");
        let line = format!("line {round}\n");
        scene.write(scene.op(), listener, &line, false).await;
        heard.push_str(&line);
    }
    std::fs::write(scene.root().join("stop"), "").unwrap();
    for (n, talker) in talkers.iter().enumerate() {
        let ended = scene.ended(*talker).await;
        let code = i32::try_from(n).unwrap() + 10;
        assert_eq!(exit(&ended), Some(Exit::Code { code }), "{ended:?}");
        let own = std::fs::read_to_string(scene.root().join(format!("own-{n}"))).unwrap();
        assert_eq!(scene.text(*talker).await, own);
        assert_eq!(ended.output_total, own.len() as u64);
    }
    scene.write(scene.op(), listener, "end\n", true).await;
    assert_eq!(exit(&scene.ended(listener).await), Some(Exit::Code { code: 0 }));
    let all = std::fs::read_to_string(scene.root().join("heard")).unwrap();
    assert_eq!(all, heard + "end\n");
    println!(
        "keepers: {KILLS} kills, 0 of {} processes lost; a daemon served again after {slowest} ms at most",
        TALKERS + KILLS + 1
    );
}

#[tokio::test]
async fn an_operation_that_a_restarted_daemon_repeats_is_done_once_by_the_keeper() {
    let mut scene = Scene::new();
    let open = StartProcess { stdin: Stdin::Open, ..shell("cat") };
    let process_id = scene.start(open).await;
    let op = scene.op();
    scene.write(op, process_id, "once\n", false).await;
    scene.kill();
    // As if its answer had not become durable: the journal is gone, the keeper remembers.
    std::fs::remove_dir_all(scene.dir.path().join("state/journal")).unwrap();
    scene.start_again();
    scene.write(op, process_id, "once\n", false).await;
    scene.write(scene.op(), process_id, "twice\n", true).await;
    scene.ended(process_id).await;
    assert_eq!(scene.text(process_id).await, "once\ntwice\n");
}

#[tokio::test]
async fn signals_and_stop_reach_a_process_of_an_earlier_daemon() {
    let mut scene = Scene::new();
    let trap = "trap 'echo got; exit 9' USR1; echo up; while :; do sleep 0.01; done";
    let asked = scene.start(shell(trap)).await;
    let stopped =
        scene.start(shell("trap '' TERM; echo up; setsid sleep 600 & wait; sleep 600")).await;
    for id in [asked, stopped] {
        scene.until_output(id).await;
    }
    scene.kill();
    scene.start_again();
    let signal = SignalProcess { process_id: asked, signal: "USR1".to_owned() };
    scene.daemon().call(scene.op(), &signal).await.unwrap();
    assert_eq!(exit(&scene.ended(asked).await), Some(Exit::Code { code: 9 }));
    // The whole group is asked: a shell may also tell which signal ended its `sleep`.
    let text = scene.text(asked).await;
    assert!(text.starts_with("up\n") && text.contains("got\n"), "{text:?}");
    let stop = StopProcess { process_id: stopped, grace_ms: 100 };
    let view = scene.daemon().call(scene.op(), &stop).await.unwrap();
    assert_eq!(exit(&view), Some(Exit::Signal { signal: 9, core: false }));
    assert_eq!(bench::members(stopped), 0);
}

#[tokio::test]
async fn a_flood_that_runs_through_restarts_is_counted_to_the_byte() {
    const TOTAL: u64 = 300 << 20;
    let mut scene = Scene::new();
    let request = StartProcess {
        output_kept_bytes: Some(4 << 20),
        ..shell(&format!("head -c {TOTAL} /dev/zero; echo; echo end"))
    };
    let process_id = scene.start(request).await;
    for _ in 0..3 {
        scene.kill();
        scene.start_again();
    }
    let ended = scene.ended(process_id).await;
    assert_eq!(ended.output_total, TOTAL + 5);
    assert!(bench::kept(&ended) <= 4 << 20, "{ended:?}");
    assert!(bench::kept(&ended) >= 3 << 20, "{ended:?}");
    let window = OutputWindow::TailLines { lines: 1 };
    let tail = scene.daemon().call(scene.op(), &ViewOutput { process_id, window }).await.unwrap();
    assert!(tail.text.ends_with("\nend\n"), "the last bytes are the last ones");
}

#[tokio::test]
async fn a_killed_keeper_loses_its_own_process_says_so_and_ends_the_group() {
    for is_daemon_down in [false, true] {
        let mut scene = Scene::new();
        let lost = scene.start(shell("echo up; sleep 600 & wait")).await;
        let other = scene.start(shell("echo up; sleep 600")).await;
        let view = scene.until_output(lost).await;
        let leader = view.os_pid.unwrap();
        let keeper = keeper_of(leader);
        assert_eq!(
            std::fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap(),
            "agentd-keeper\n"
        );
        if is_daemon_down {
            scene.kill();
        }
        bench::events::kill(keeper);
        if is_daemon_down {
            scene.start_again();
        }
        let view = scene.ended(lost).await;
        assert!(matches!(view.state, ProcessState::Lost { .. }), "{view:?}");
        assert_eq!(scene.text(lost).await, "up\n", "its output is kept");
        assert_eq!(bench::members(lost), 0, "nobody watches it, so it was ended");
        assert_eq!(scene.get(other).await.state, ProcessState::Running);
    }
}

/// The control: the stories above can fail. Without what the keeper wrote down and without the
/// keeper, an exit that nobody saw is not known, and that is what is said.
#[tokio::test]
async fn without_its_keepers_record_an_unseen_exit_is_lost() {
    let mut scene = Scene::new();
    let command = "echo up; while [ ! -e leave ]; do sleep 0.005; done; touch left; exit 7";
    let process_id = scene.start(shell(command)).await;
    let view = scene.until_output(process_id).await;
    let leader = view.os_pid.unwrap();
    // The start of another one makes durable what was recorded before it.
    scene.start(shell("true")).await;
    let keeper = keeper_of(leader);
    scene.kill();
    std::fs::write(scene.root().join("leave"), "").unwrap();
    until_exists(&scene.root().join("left"));
    until_gone(keeper.unsigned_abs());
    let keepers = scene.dir.path().join("state/processes/keepers");
    std::fs::remove_dir_all(keepers.join(process_id.to_string())).unwrap();
    scene.start_again();
    let view = scene.get(process_id).await;
    assert!(matches!(view.state, ProcessState::Lost { .. }), "{view:?}");
}

#[tokio::test]
async fn an_orderly_end_of_the_daemon_leaves_its_processes_running() {
    let bench = Bench::new();
    let view = bench.start(shell("trap 'echo bye; exit 9' TERM; echo up; sleep 600 & wait")).await;
    let view = bench.until(view.unwrap().process_id, |view| view.output_total > 0).await;
    bench.lifecycle.clone().shut_down(Duration::from_millis(300)).await;
    assert!(bench::members(view.process_id) > 0);
    assert_eq!(bench.text_on_disk(view.process_id), "up\n", "nobody asked it to end");
}

/// Prints what a keeper costs in memory: figures for people, with a generous limit.
#[tokio::test]
async fn a_keeper_is_small() {
    const COUNT: usize = 50;
    let bench = Bench::new();
    let mut pss = Vec::new();
    for _ in 0..COUNT {
        bench.start(shell("echo up; exec sleep 600")).await.unwrap();
    }
    let list = shared::protocol::process::ListProcesses { chat_id: None, limit: Some(100) };
    for view in bench.processes.list(&list).unwrap().items {
        bench.until(view.process_id, |view| view.output_total > 0).await;
        let keeper = keeper_of(view.os_pid.unwrap());
        let rollup = std::fs::read_to_string(format!("/proc/{keeper}/smaps_rollup")).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        pss.push(line.trim().split(' ').next().unwrap().parse::<u64>().unwrap());
    }
    pss.sort_unstable();
    let (middle, most) = (pss[COUNT / 2], pss[COUNT - 1]);
    println!("keeper: {middle} KiB PSS in the middle of {COUNT}, {most} KiB at most");
    assert!(middle < 1_024, "{middle} KiB");
}
