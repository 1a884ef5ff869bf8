//! Who is who: a keeper that dies takes its own process and no other, and a number that the system
//! has given to somebody else is never signalled.

mod bench;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bench::served::Served;
use bench::shell;
use rustix::process::{Pid, PidfdFlags};
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::protocol::process::{
    GetProcess, ListProcesses, ProcessState, ProcessView, SignalProcess, StartProcess, StopProcess,
    WaitProcess,
};
use shared::protocol::{Method, WireError};
use shared::testing::{Distribution, trials};

/// Set for the process that runs in a namespace of its own.
const INSIDE: &str = "AGENTD_TEST_INSIDE";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Not a test by itself: the child that [`Served::start`] starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

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

    fn kill(&mut self) {
        self.served.take().unwrap().kill();
    }

    fn start_again(&mut self) {
        self.served = Some(Served::start(self.dir.path(), None));
    }

    async fn try_call<M: Method>(&self, request: &M) -> Result<M::Reply, WireError> {
        let op: OpId = (&self.ids as &dyn IdSource).id();
        self.served.as_ref().unwrap().call(op, request).await
    }

    async fn call<M: Method>(&self, request: &M) -> M::Reply {
        self.try_call(request).await.unwrap()
    }

    async fn start(&self, command: &str) -> ProcessView {
        let process_id = (&self.ids as &dyn IdSource).id();
        self.call(&StartProcess { process_id, ..shell(command) }).await
    }

    async fn ended(&self, process_id: ProcessId) -> ProcessView {
        self.call(&WaitProcess { process_id, timeout_ms: 60_000 }).await
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

fn parent_of(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

fn hold(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

/// SIGKILL, and waits until it is gone.
fn kill_and_wait(pid: u32) {
    let pidfd = hold(pid);
    let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    wait_for(&pidfd);
}

fn wait_for(pidfd: &OwnedFd) {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}

#[tokio::test]
async fn p22_a_killed_keeper_hits_only_its_process() {
    let count = trials(8, 60);
    let scene = Scene::new();
    let mut views = Vec::new();
    for _ in 0..count {
        views.push(scene.start("trap '' TERM HUP; setsid sleep 600 & sleep 600 & wait").await);
    }
    let (mut lost, mut affected, mut times) = (0, 0, Vec::new());
    let mut living: BTreeSet<ProcessId> = views.iter().map(|view| view.process_id).collect();
    for view in &views {
        let keeper = parent_of(view.os_pid.unwrap());
        let name = std::fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap();
        assert_eq!(name, "agentd-keeper\n");
        let start = tokio::time::Instant::now();
        kill_and_wait(keeper);
        let ended = scene.ended(view.process_id).await;
        times.push(start.elapsed());
        assert!(matches!(ended.state, ProcessState::Lost { .. }), "{ended:?}");
        assert_eq!(bench::members(view.process_id), 0, "its group was ended");
        lost += 1;
        living.remove(&view.process_id);
        let list = scene.call(&ListProcesses { chat_id: None, limit: Some(1_000) }).await;
        let running: BTreeSet<ProcessId> = list
            .items
            .iter()
            .filter(|view| view.state == ProcessState::Running)
            .map(|view| view.process_id)
            .collect();
        affected += living.symmetric_difference(&running).count();
        assert_eq!(running, living);
    }
    let times: Distribution = times.into_iter().collect();
    println!(
        "P22: {lost} of {count} keepers killed: their groups ended and reported as lost; {affected} other \
         processes affected; told after {times}"
    );
}

#[tokio::test]
async fn a_stranger_on_a_keepers_socket_costs_no_process() {
    let scene = Scene::new();
    let view =
        scene.start("trap 'echo heard; exit 5' USR1; echo up; while :; do sleep 0.01; done").await;
    let dir = scene.dir.path().join("state/processes/keepers").join(view.process_id.to_string());
    for _ in 0..20 {
        // It takes the daemon's link, says nothing, and goes.
        std::os::unix::net::UnixStream::connect(dir.join("socket")).unwrap();
    }
    let get = GetProcess { process_id: view.process_id };
    assert_eq!(scene.call(&get).await.state, ProcessState::Running);
    // An answer may be lost with the link, never the process.
    let signal = SignalProcess { process_id: view.process_id, signal: "USR1".to_owned() };
    let _ = scene.try_call(&signal).await;
    let ended = scene.ended(view.process_id).await;
    assert_eq!(bench::exit(&ended), Some(shared::protocol::process::Exit::Code { code: 5 }));
}

/// In a process namespace of its own, where the next number can be chosen.
#[test]
fn p23_a_number_that_was_reused_is_never_signalled() {
    if !rustix::process::geteuid().is_root() || std::env::var_os(INSIDE).is_some() {
        println!("P23: skipped, only root can choose the numbers of processes");
        return;
    }
    let rounds = trials(3, 1_000);
    let inside = Command::new("unshare")
        .args(["--fork", "--pid", "--mount", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_rounds_of_p23_inside_their_namespace", "--nocapture"])
        .env(INSIDE, rounds.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&inside.stdout);
    let errors = String::from_utf8_lossy(&inside.stderr);
    if errors.contains("unshare failed") {
        println!("P23: skipped, this machine gives no namespaces: {errors}");
        return;
    }
    assert!(inside.status.success(), "{text}\n{errors}");
    let figure = text.lines().find(|line| line.starts_with("P23: ")).expect("a figure");
    println!("{figure}");
}

/// Not a test by itself: see [`p23_a_number_that_was_reused_is_never_signalled`].
#[tokio::test]
async fn the_rounds_of_p23_inside_their_namespace() {
    let Some(rounds) = std::env::var(INSIDE).ok().and_then(|text| text.parse::<usize>().ok())
    else {
        return;
    };
    let boots = tempfile::tempdir().unwrap();
    let boot = boots.path().join("boot_id");
    std::fs::copy(BOOT_ID, &boot).unwrap();
    let mounted = Command::new("mount").arg("--bind").arg(&boot).arg(BOOT_ID).status().unwrap();
    assert!(mounted.success());
    let mut scene = Scene::new();
    let (mut alive, mut honest, mut same) = (0, 0, 0);
    for round in 0..rounds {
        // The keeper dies too, or stays and tells the end; the machine was started again, or not.
        let (is_lost, is_new_boot) = (round % 2 == 0, round % 4 >= 2);
        let view = scene.start("exec sleep 600").await;
        let pid = view.os_pid.unwrap();
        // The record of which number it has is durable by now, or will never be: kill at once.
        let keeper = parent_of(pid);
        let keeper_fd = hold(keeper);
        let began = start_tick(pid);
        scene.kill();
        if is_lost {
            kill_and_wait(keeper);
        }
        kill_and_wait(pid);
        // It reaps its process, writes down how it ended, and goes: nobody else has to know.
        wait_for(&keeper_fd);
        if is_new_boot {
            std::fs::write(&boot, format!("00000000-0000-0000-0000-{round:012}\n")).unwrap();
        }
        let Some(mut stranger) = stranger_at(pid, began) else {
            panic!("the number {pid} was not free")
        };
        same += 1;
        scene.start_again();
        let request = GetProcess { process_id: view.process_id };
        let found = scene.call(&request).await;
        honest += usize::from(match found.state {
            ProcessState::Lost { .. } => is_lost,
            ProcessState::Exited { .. } => !is_lost,
            _ => false,
        });
        assert_ne!(found.state, ProcessState::Running, "round {round}");
        assert_eq!(found.os_pid, None, "round {round}");
        let list = scene.call(&ListProcesses { chat_id: None, limit: Some(1_000) }).await;
        assert!(list.items.iter().all(|view| view.state != ProcessState::Running));
        for signal in ["TERM", "KILL"] {
            let signal = SignalProcess { process_id: view.process_id, signal: signal.to_owned() };
            scene.try_call(&signal).await.unwrap_err();
        }
        let stop = StopProcess { process_id: view.process_id, grace_ms: 0 };
        let _ = scene.try_call(&stop).await;
        assert!(stranger.try_wait().unwrap().is_none(), "the stranger was killed in round {round}");
        // Neither stopped nor about to die; it may still be about to sleep.
        let (state, waiting) = untouched(pid);
        assert!(
            ["S", "R", "D"].contains(&state.as_str()) && waiting == 0,
            "the stranger of round {round} was signalled: {state}, {waiting} wait"
        );
        alive += 1;
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
    println!(
        "P23: strangers alive {alive} of {same} at the same number; state lost or exited, not running, {honest} of \
         {rounds}; half without a keeper, half after another boot"
    );
    drop(scene);
    assert!(Command::new("umount").arg(BOOT_ID).status().unwrap().success());
    assert_eq!((alive, honest, same), (rounds, rounds, rounds));
}

/// A program that does the same, with the number `pid`. Others may take it: then it is tried again,
/// a few times.
fn stranger_at(pid: u32, began: u64) -> Option<Child> {
    // What lost its keeper is a zombie of this process by now.
    reap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    for _ in 0..1_000 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        // The leader of a group of its own, as the one before was: a signal to the group hits it.
        let mut sleep = Command::new("sleep");
        let mut child = sleep.arg("600").stdin(Stdio::null()).process_group(0).spawn().unwrap();
        // Numbers come round after tens of thousands of processes, never within the hundredth of a
        // second that the system counts starts in.
        if child.id() == pid && start_tick(pid) != began {
            return Some(child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    None
}

/// When a process began, in hundredths of a second since the boot.
fn start_tick(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(19).unwrap().parse().unwrap()
}

/// What a process does and how many signals wait for it, as the system says it at one moment.
fn untouched(pid: u32) -> (String, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    let waiting = |name| u64::from_str_radix(&field(name), 16).unwrap().count_ones();
    (field("State:"), u64::from(waiting("SigPnd:") + waiting("ShdPnd:")))
}

/// The test is the first process of its namespace: what loses its parent is its child.
fn reap() {
    use rustix::process::{WaitId, WaitIdOptions};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    while let Ok(Some(_)) = rustix::process::waitid(WaitId::All, options) {}
}
