//! What survives the daemon: records, output, answers. Killed at every named point of a start.
//!
//! The daemon under test is this test binary itself, started again as a child that serves calls
//! on a Unix socket. It is held at a fault point and killed exactly there.

mod bench;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use agentd::daemon::{Daemon, DaemonParts};
use agentd::process::Environment;
use agentd::state_dir::StateDir;
use bench::shell;
use shared::clock::SystemClock;
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::{CallHeader, Fence};
use shared::protocol::operation::{OperationState, QueryOperation};
use shared::protocol::process::{
    Exit, OutputWindow, ProcessState, ProcessView, StartProcess, ViewOutput, WaitProcess,
};
use shared::protocol::{Method, MethodKind, Reply, WireError};
use shared::wire::{Dispatch, Frame, FrameReader, FrameWriter, IncomingCall};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// Points of one start, in the order in which they are passed, and what a repeat may find.
const POINTS: [(&str, Found); 7] = [
    ("w2 journal begin", Found::RunsNow),
    // The two records become durable beside each other, in either order.
    ("w3 journal begun", Found::RunsNowOrLost),
    ("w3 process recorded", Found::Lost),
    ("w4 process runs", Found::Lost),
    ("w4 journal told", Found::LostOrExited),
    ("w5 process ended", Found::Lost),
    ("w5 process end recorded", Found::Exited),
];

/// Said in the place of a point's name when the whole start is over.
const PASSED: &str = "passed";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing was done: it runs, for the first time.
    RunsNow,
    /// Either of these two.
    RunsNowOrLost,
    /// It may have run; nobody can know how it ended.
    Lost,
    /// It ran, and its end is on record.
    Exited,
    /// It ran, and its end was or was not recorded by then.
    LostOrExited,
}

/// A daemon in a process of its own.
struct Served {
    child: Child,
    socket: PathBuf,
}

impl Served {
    fn start(dir: &Path, fault_socket: Option<&Path>) -> Self {
        let socket = dir.join("calls");
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "serve_a_daemon_when_asked_to", "--nocapture"])
            .env("AGENTD_TEST_SERVE", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(path) = fault_socket {
            command.env("HOLDFAST_FAULT_SOCKET", path);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next().expect("it says when it serves").unwrap();
            if line.contains("serving") {
                break;
            }
        }
        // Held open, so that the child can go on printing.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, socket }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn call<M: Method>(&self, op: OpId, request: &M) -> Result<M::Reply, WireError> {
        let fence = Fence { scope: "chat_t".to_owned(), epoch: 1, hash: "h".to_owned() };
        let header = CallHeader {
            method: M::NAME.to_owned(),
            id: op.to_string(),
            deadline_ms: None,
            fence: (M::KIND == MethodKind::Operation).then_some(fence),
            traceparent: None,
            resume_from: None,
        };
        let cut = || WireError::failed(shared::protocol::ErrorCode::Internal, "cut");
        let stream = UnixStream::connect(&self.socket).await.map_err(|_| cut())?;
        let (read, write) = stream.into_split();
        let mut writer = FrameWriter::new(write);
        let heads = [Frame::message(&header), Frame::message(request)];
        writer.write_together(&heads).await.map_err(|_| cut())?;
        let frame = FrameReader::new(read).next().await;
        let Ok(Some(frame)) = frame else { return Err(cut()) };
        match shared::wire::decode::<Reply<M::Reply>>(&frame.body).unwrap() {
            Reply::Ok(reply) => Ok(reply),
            Reply::Err(error) => Err(error),
        }
    }
}

/// Not a test by itself: the child that [`Served::start`] starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    let Some(dir) = std::env::var_os("AGENTD_TEST_SERVE").map(PathBuf::from) else { return };
    let lifecycle = Lifecycle::new();
    let parts = DaemonParts {
        lifecycle: lifecycle.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds::new()),
        environment: Environment::read(),
    };
    let state = StateDir::open(&dir.join("state")).unwrap();
    let daemon = Daemon::open(state.layout(), &dir.join("root"), parts).await.unwrap();
    let listener = tokio::net::UnixListener::bind(dir.join("calls")).unwrap();
    println!("serving");
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let dispatch = daemon.dispatch.clone();
        lifecycle.spawn_serving("call", async move {
            let (read, write) = stream.into_split();
            let cancelled = CancellationToken::new();
            let call = IncomingCall::receive(Box::new(read), Box::new(write), cancelled).await;
            dispatch.handle(call.unwrap()).await;
        });
    }
}

/// Lets the daemon go on past every point but `name`, and kills it there.
fn kill_at(listener: &UnixListener, name: &str, served: Served) {
    loop {
        let (stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        if line.trim() == name {
            served.kill();
            return;
        }
        assert_ne!(line.trim(), PASSED, "the start was answered and never came to {name}");
        (&stream).write_all(b"g").unwrap();
    }
}

fn start_request(process_id: ProcessId) -> StartProcess {
    StartProcess { process_id, ..shell("echo ran >> ledger; echo out") }
}

#[tokio::test]
async fn killed_at_every_point_of_a_start_nothing_runs_twice_and_nothing_is_hidden() {
    let ids = SystemIds::new();
    let mut table = bench::Table::new("start, killed at every point");
    for (point, found) in POINTS {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let (op, process_id) = ((&ids as &dyn IdSource).id(), (&ids as &dyn IdSource).id());
        let fault_socket = dir.path().join("faults");
        let listener = UnixListener::bind(&fault_socket).unwrap();

        let served = Served::start(dir.path(), Some(&fault_socket));
        let (socket, told) = (served.socket.clone(), fault_socket.clone());
        let asking = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let asked = Served { child: Command::new("true").spawn().unwrap(), socket };
            // The answer is lost with the daemon, or comes just before it is killed.
            let wait = WaitProcess { process_id, timeout_ms: 10_000 };
            let _ = runtime.block_on(asked.call(op, &start_request(process_id)));
            let _ = runtime.block_on(asked.call(op, &wait));
            asked.kill();
            // A point that is not passed fails the test instead of holding it.
            let told = std::os::unix::net::UnixStream::connect(told);
            let _ = told.and_then(|mut told| writeln!(told, "{PASSED}"));
        });
        kill_at(&listener, point, served);
        asking.join().unwrap();
        let lines = |when: &str| {
            let text = std::fs::read_to_string(root.join("ledger")).unwrap_or_default();
            assert!(text.lines().count() <= 1, "{when}: it ran twice");
            text.lines().count()
        };
        let before = lines("before");

        let served = Served::start(dir.path(), None);
        let state = served.call(ids_op(&ids), &QueryOperation { op_id: op }).await.unwrap();
        let view: ProcessView = served.call(op, &start_request(process_id)).await.unwrap();
        let wait = WaitProcess { process_id, timeout_ms: 10_000 };
        let ended: ProcessView = served.call(ids_op(&ids), &wait).await.unwrap();
        let after = lines("after");
        let what = match ended.state {
            ProcessState::Lost { .. } => Found::Lost,
            ProcessState::Exited { exit: Exit::Code { code: 0 }, .. }
                if state == OperationState::Absent =>
            {
                Found::RunsNow
            }
            ProcessState::Exited { exit: Exit::Code { code: 0 }, .. } => Found::Exited,
            other => panic!("{point}: {other:?}"),
        };
        let fits = match found {
            Found::LostOrExited => what != Found::RunsNow,
            Found::RunsNowOrLost => what != Found::Exited,
            found => what == found,
        };
        table.row(format!("{point}: {what:?}"), fits, true);
        // A child that was just executed may write its line after the daemon was killed.
        let once = if what == Found::RunsNow { (0, 1) } else { (before, after.max(before)) };
        table.row(format!("{point}: before and after"), (before, after), once);
        assert_eq!(view.process_id, process_id);
        served.kill();
    }
    table.finish();
}

fn ids_op(ids: &SystemIds) -> OpId {
    (ids as &dyn IdSource).id()
}

/// The control: the sweep above can fail. With the records gone, the same start runs again.
#[tokio::test]
async fn without_its_records_the_same_start_runs_twice() {
    let ids = SystemIds::new();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let (op, process_id): (OpId, ProcessId) = (ids_op(&ids), (&ids as &dyn IdSource).id());
    for round in 1..=2 {
        let served = Served::start(dir.path(), None);
        let _: ProcessView = served.call(op, &start_request(process_id)).await.unwrap();
        let wait = WaitProcess { process_id, timeout_ms: 10_000 };
        let _: ProcessView = served.call(ids_op(&ids), &wait).await.unwrap();
        served.kill();
        let lines = std::fs::read_to_string(root.join("ledger")).unwrap().lines().count();
        assert_eq!(lines, round);
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    }
}

#[tokio::test]
async fn a_killed_daemon_keeps_ends_and_output_and_loses_what_ran_openly() {
    let ids = SystemIds::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let id = || -> ProcessId { (&ids as &dyn IdSource).id() };
    let (ended, running) = (id(), id());
    let served = Served::start(dir.path(), None);
    let first = StartProcess { process_id: ended, ..shell("echo kept; echo err >&2; exit 5") };
    let op = ids_op(&ids);
    let answer: ProcessView = served.call(op, &first).await.unwrap();
    let wait = WaitProcess { process_id: ended, timeout_ms: 10_000 };
    let before: ProcessView = served.call(ids_op(&ids), &wait).await.unwrap();
    let second = StartProcess { process_id: running, ..shell("echo begun; exec sleep 600") };
    let _: ProcessView = served.call(ids_op(&ids), &second).await.unwrap();
    served.kill();

    let served = Served::start(dir.path(), None);
    let wait = WaitProcess { process_id: ended, timeout_ms: 0 };
    let after: ProcessView = served.call(ids_op(&ids), &wait).await.unwrap();
    assert_eq!(after, before);
    let again: ProcessView = served.call(op, &first).await.unwrap();
    assert_eq!(again, answer, "the journal answers the repeat as it did");
    let window = OutputWindow::TailLines { lines: 5 };
    let view = ViewOutput { process_id: ended, window };
    let shown = served.call(ids_op(&ids), &view).await.unwrap();
    let mut lines: Vec<&str> = shown.text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "kept"]);
    let wait = WaitProcess { process_id: running, timeout_ms: 0 };
    let lost: ProcessView = served.call(ids_op(&ids), &wait).await.unwrap();
    assert!(matches!(lost.state, ProcessState::Lost { .. }), "{:?}", lost.state);
    assert_eq!(bench::members(running), 0, "nobody watches it, so it was ended");
    served.kill();
}

#[tokio::test]
async fn an_orderly_end_of_the_daemon_asks_its_processes_first() {
    let bench = bench::Bench::new();
    let view = bench.start(shell("trap 'echo bye; exit 9' TERM; echo up; sleep 600 & wait")).await;
    let view = bench.until(view.unwrap().process_id, |view| view.output_total > 0).await;
    let processes = bench.processes.clone();
    let lifecycle = bench.lifecycle.clone();
    lifecycle.stop();
    let wait = WaitProcess { process_id: view.process_id, timeout_ms: 10_000 };
    let ended = processes.wait(&wait).await.unwrap();
    assert_eq!(bench::exit(&ended), Some(Exit::Code { code: 9 }));
    assert_eq!(bench.text(view.process_id).await, "up\nbye\n");
    assert_eq!(bench::members(view.process_id), 0);
}

#[tokio::test]
async fn output_whose_record_is_gone_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    std::fs::create_dir(&output).unwrap();
    let id: ProcessId = (&SystemIds::new() as &dyn IdSource).id();
    for name in [format!("{id}.head"), format!("{id}.4096"), format!("{id}.marks")] {
        std::fs::write(output.join(name), "left over").unwrap();
    }
    std::fs::write(output.join("somebody-elses.file"), "stays").unwrap();
    let lifecycle = Lifecycle::new();
    let clock = Arc::new(SystemClock);
    agentd::process::ProcessHandle::open(
        dir.path(),
        dir.path(),
        Environment::read(),
        &lifecycle,
        clock,
    )
    .unwrap();
    let left: Vec<_> = std::fs::read_dir(output).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["somebody-elses.file"]);
}
