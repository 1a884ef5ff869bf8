//! What survives the daemon: records, output, answers. Killed at every named point of a start.
//!
//! The daemon under test is this test binary itself, started again as a child that serves calls
//! on a Unix socket. It is held at a fault point and killed exactly there.

mod bench;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use agentd::process::{Environment, KeeperProgram};
use bench::served::Served;
use bench::shell;
use shared::clock::SystemClock;
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::operation::{OperationState, QueryOperation};
use shared::protocol::process::{
    Exit, OutputWindow, ProcessState, ProcessView, StartProcess, StopProcess, ViewOutput,
    WaitProcess,
};

/// Points of one start, in the order in which they are passed, and what a repeat finds. A keeper
/// outlives the daemon, so there is no point at which a process is lost.
const POINTS: [(&str, Found); 7] = [
    ("w2 journal begin", Found::RunsNow),
    // The two records become durable beside each other, in either order.
    ("w3 journal begun", Found::RunsNow),
    ("w3 process recorded", Found::RunsNow),
    ("w4 process runs", Found::Exited),
    ("w4 journal told", Found::Exited),
    ("w5 process ended", Found::Exited),
    ("w5 process end recorded", Found::Exited),
];

/// Said in the place of a point's name when the whole start is over.
const PASSED: &str = "passed";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing was done: it runs, for the first time.
    RunsNow,
    /// It ran, and its end is known.
    Exited,
}

/// Not a test by itself: the child that [`Served::start`] starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

/// Lets the daemon go on past every point but `name`, and kills it there.
///
/// The listener goes with it: a keeper that comes to a point of its own afterwards is held by nobody.
fn kill_at(listener: UnixListener, name: &str, served: Served) {
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
        let (socket, told) = (served.socket(), fault_socket.clone());
        let asking = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let asked = Served::at(socket);
            // The answer is lost with the daemon, or comes just before it is killed.
            let wait = WaitProcess { process_id, timeout_ms: 10_000 };
            let _ = runtime.block_on(asked.call(op, &start_request(process_id)));
            let _ = runtime.block_on(asked.call(op, &wait));
            drop(asked);
            // A point that is not passed fails the test instead of holding it.
            let told = std::os::unix::net::UnixStream::connect(told);
            let _ = told.and_then(|mut told| writeln!(told, "{PASSED}"));
        });
        kill_at(listener, point, served);
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
            ProcessState::Exited { exit: Exit::Code { code: 0 }, .. }
                if state == OperationState::Absent =>
            {
                Found::RunsNow
            }
            ProcessState::Exited { exit: Exit::Code { code: 0 }, .. } => Found::Exited,
            other => panic!("{point}: {other:?}"),
        };
        table.row(format!("{point}: {what:?}"), what, found);
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
async fn a_killed_daemon_keeps_ends_and_output_and_answers() {
    let ids = SystemIds::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let ended: ProcessId = (&ids as &dyn IdSource).id();
    let served = Served::start(dir.path(), None);
    let first = StartProcess { process_id: ended, ..shell("echo kept; echo err >&2; exit 5") };
    let op = ids_op(&ids);
    let answer: ProcessView = served.call(op, &first).await.unwrap();
    let wait = WaitProcess { process_id: ended, timeout_ms: 10_000 };
    let before: ProcessView = served.call(ids_op(&ids), &wait).await.unwrap();
    let running: ProcessId = (&ids as &dyn IdSource).id();
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
    let alive: ProcessView = served.call(ids_op(&ids), &wait).await.unwrap();
    assert_eq!(alive.state, ProcessState::Running);
    let stop = StopProcess { process_id: running, grace_ms: 1_000 };
    let stopped = served.call(ids_op(&ids), &stop).await.unwrap();
    assert_eq!(bench::exit(&stopped), Some(Exit::Signal { signal: 15, core: false }));
    served.kill();
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
        KeeperProgram::at(env!("CARGO_BIN_EXE_agentd")),
        &lifecycle,
        clock,
    )
    .unwrap();
    let left: Vec<_> = std::fs::read_dir(output).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["somebody-elses.file"]);
}
