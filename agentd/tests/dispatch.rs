//! Calls as they come over a link: bad ones, repeated ones, ones whose caller goes away.

mod bench;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentd::daemon::{Daemon, DaemonParts};
use agentd::process::{Environment, KeeperProgram};
use agentd::state_dir::StateDir;
use bench::{Table, shell};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::clock::SystemClock;
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::{CallHeader, Fence};
use shared::protocol::operation::{CancelOperation, OperationState};
use shared::protocol::process::{
    FollowItem, FollowOutput, Following, OutputPage, ProcessView, ReadOutput, StartProcess,
    WaitProcess,
};
use shared::protocol::{Reply, WireError};
use shared::wire::{Dispatch, Frame, FrameKind, FrameReader, FrameWriter, IncomingCall};
use tokio::io::{DuplexStream, ReadHalf};
use tokio_util::sync::CancellationToken;

struct World {
    daemon: Daemon,
    lifecycle: Lifecycle,
    ids: SystemIds,
    dir: tempfile::TempDir,
    _state: StateDir,
}

/// The caller's end of one call.
struct Caller {
    frames: FrameReader<ReadHalf<DuplexStream>>,
    cancelled: CancellationToken,
}

/// What still runs ends with its test: keepers would outlive it.
impl Drop for World {
    fn drop(&mut self) {
        bench::end_processes(&self.dir.path().join("state/processes"));
    }
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let lifecycle = Lifecycle::new();
        let parts = DaemonParts {
            lifecycle: lifecycle.clone(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds::new()),
            environment: Environment::read(),
            keepers: KeeperProgram::at(env!("CARGO_BIN_EXE_agentd")),
        };
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let daemon = Daemon::open(state.layout(), &dir.path().join("root"), parts).await.unwrap();
        Self { daemon, lifecycle, ids: SystemIds::new(), dir, _state: state }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    fn op(&self) -> OpId {
        (&self.ids as &dyn IdSource).id()
    }

    fn process(&self) -> ProcessId {
        (&self.ids as &dyn IdSource).id()
    }

    /// Opens a call; its answer is read from what comes back.
    async fn open(&self, header: &CallHeader, request: Bytes) -> Caller {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (read, write) = tokio::io::split(ours);
        let cancelled = CancellationToken::new();
        let token = cancelled.clone();
        let dispatch = self.daemon.dispatch.clone();
        self.lifecycle.spawn_serving("call", async move {
            let (read, write) = tokio::io::split(theirs);
            let call = IncomingCall::receive(Box::new(read), Box::new(write), token).await;
            if let Ok(call) = call {
                dispatch.handle(call).await;
            }
        });
        let mut writer = FrameWriter::new(write);
        writer.write(&Frame::message(header)).await.unwrap();
        writer.write(&Frame { kind: FrameKind::Message, body: request }).await.unwrap();
        Caller { frames: FrameReader::new(read), cancelled }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        header: &CallHeader,
        request: &impl Serialize,
    ) -> Result<T, WireError> {
        let request = shared::wire::encode(request).into();
        self.open(header, request).await.head().await
    }

    async fn start(&self, op: OpId, request: &StartProcess) -> Result<ProcessView, WireError> {
        self.call(&header("process/start", &op.to_string(), Some(fence(1, "h"))), request).await
    }

    async fn code(&self, header: &CallHeader, request: &impl Serialize) -> String {
        self.call::<serde::de::IgnoredAny>(header, request).await.unwrap_err().code
    }

    async fn ended(&self, process_id: ProcessId) -> ProcessView {
        let wait = WaitProcess { process_id, timeout_ms: 30_000 };
        self.call(&header("process/wait", "call_x", None), &wait).await.unwrap()
    }
}

impl Caller {
    async fn head<T: DeserializeOwned>(&mut self) -> Result<T, WireError> {
        match self.item().await {
            Reply::Ok(reply) => Ok(reply),
            Reply::Err(error) => Err(error),
        }
    }

    async fn item<T: DeserializeOwned>(&mut self) -> T {
        let frame = self.frames.next().await.unwrap().expect("a frame comes");
        assert_eq!(frame.kind, FrameKind::Message);
        shared::wire::decode(&frame.body).unwrap()
    }

    async fn raw(&mut self) -> Bytes {
        let frame = self.frames.next().await.unwrap().expect("a frame comes");
        assert_eq!(frame.kind, FrameKind::Raw);
        frame.body
    }
}

fn header(method: &str, id: &str, fence: Option<Fence>) -> CallHeader {
    CallHeader {
        method: method.to_owned(),
        id: id.to_owned(),
        deadline_ms: None,
        fence,
        traceparent: None,
        resume_from: None,
        read_only: false,
    }
}

fn fence(epoch: u64, hash: &str) -> Fence {
    Fence { scope: "chat_a".to_owned(), epoch, hash: hash.to_owned() }
}

fn lines(root: &Path) -> usize {
    std::fs::read_to_string(root.join("ledger")).unwrap_or_default().lines().count()
}

#[derive(Serialize)]
struct Odd {
    process_id: u32,
}

#[derive(Serialize)]
struct Newer {
    process_id: ProcessId,
    timeout_ms: u64,
    invented_later: bool,
}

#[tokio::test]
async fn b41_calls_that_are_not_understood_are_answered_by_name() {
    let world = World::new().await;
    let mut table = Table::new("B41");
    let op = world.op().to_string();
    let request = StartProcess { process_id: world.process(), ..shell("echo x >> ledger") };
    let unknown = header("process/teleport", "call_x", None);
    table.row("method".to_owned(), world.code(&unknown, &()).await, "unsupported".to_owned());
    for (name, header, request) in [
        ("missing field", header("process/get", "call_x", None), shared::wire::encode(&())),
        (
            "wrong type",
            header("process/get", "call_x", None),
            shared::wire::encode(&Odd { process_id: 7 }),
        ),
        ("not MessagePack", header("process/get", "call_x", None), vec![0xC1, 0xFF]),
        ("no fence", header("process/start", &op, None), shared::wire::encode(&request)),
        (
            "no operation id",
            header("process/start", "call_x", Some(fence(1, "h"))),
            shared::wire::encode(&request),
        ),
    ] {
        let answer =
            world.open(&header, request.into()).await.head::<serde::de::IgnoredAny>().await;
        table.row(name.to_owned(), answer.unwrap_err().code, "invalid_request".to_owned());
    }
    let newer = Newer { process_id: world.process(), timeout_ms: 0, invented_later: true };
    let code = world.code(&header("process/wait", "call_x", None), &newer).await;
    table.row("unknown field".to_owned(), code, "process_not_found".to_owned());
    table.row("nothing ran".to_owned(), lines(&world.root()), 0);
    table.finish();
}

#[tokio::test]
async fn b45_a_replayed_operation_is_answered_or_refused_and_never_run_again() {
    let world = World::new().await;
    let mut table = Table::new("B45");
    let op = world.op();
    let request = StartProcess { process_id: world.process(), ..shell("echo x >> ledger") };
    let first = world.start(op, &request).await.unwrap();
    world.ended(request.process_id).await;
    let again = world.start(op, &request).await.unwrap();
    table.row("same hash".to_owned(), again, first);
    let other = header("process/start", &op.to_string(), Some(fence(1, "other")));
    let code = world.code(&other, &request).await;
    table.row("other hash".to_owned(), code, "operation_conflict".to_owned());
    let newer = header("process/start", &op.to_string(), Some(fence(5, "h")));
    let taken_over: Result<ProcessView, WireError> = world.call(&newer, &request).await;
    table.row("newer epoch".to_owned(), taken_over.is_ok(), true);
    let code =
        world.code(&header("process/start", &op.to_string(), Some(fence(4, "h"))), &request).await;
    table.row("older epoch".to_owned(), code, "stale_epoch".to_owned());
    table.row("ran".to_owned(), lines(&world.root()), 1);

    let never = world.op();
    let cancel = header("operation/cancel", &world.op().to_string(), Some(fence(5, "c")));
    let state: OperationState =
        world.call(&cancel, &CancelOperation { op_id: never }).await.unwrap();
    table.row("cancelled".to_owned(), state, OperationState::Cancelled);
    let late = StartProcess { process_id: world.process(), ..request };
    let code =
        world.code(&header("process/start", &never.to_string(), Some(fence(5, "h"))), &late).await;
    table.row("arrives late".to_owned(), code, "operation_cancelled".to_owned());
    table.row("did not run".to_owned(), lines(&world.root()), 1);
    table.finish();
}

#[tokio::test]
async fn a_caller_that_may_change_nothing_is_held_to_it_by_the_daemon() {
    let world = World::new().await;
    let asks = |method: &str| CallHeader {
        read_only: true,
        ..header(method, &world.op().to_string(), Some(fence(1, "h")))
    };
    let request = StartProcess { process_id: world.process(), ..shell("touch made") };
    let refused = [
        "process/start",
        "process/stdin",
        "process/signal",
        "process/stop",
        "pty/open",
        "pty/close",
        "pty/resize",
        "pty/input",
        "files/write",
        "files/edit",
        "files/delete",
        "something/newer",
    ];
    for method in refused {
        assert_eq!(world.code(&asks(method), &request).await, "read_only_mode", "{method}");
    }
    assert!(!world.root().join("made").exists());
    // What only reads is answered as ever.
    for method in ["process/get", "process/view", "files/lines", "files/search", "operation/query"]
    {
        let code = world.code(&asks(method), &()).await;
        assert_eq!(code, "invalid_request", "{method}");
    }
    // Without the word the same start runs.
    let free = CallHeader { read_only: false, ..asks("process/start") };
    let started: ProcessView = world.call(&free, &request).await.unwrap();
    world.ended(started.process_id).await;
    assert!(world.root().join("made").exists());
}

#[tokio::test]
async fn of_twenty_who_start_the_same_at_once_one_starts_and_all_are_answered() {
    let world = World::new().await;
    let op = world.op();
    let request = StartProcess { process_id: world.process(), ..shell("echo x >> ledger") };
    let mut callers = Vec::new();
    for _ in 0..20 {
        let header = header("process/start", &op.to_string(), Some(fence(1, "h")));
        callers.push(world.open(&header, shared::wire::encode(&request).into()).await);
    }
    let mut answers = Vec::new();
    for caller in &mut callers {
        answers.push(caller.head::<ProcessView>().await.unwrap());
    }
    assert!(answers.iter().all(|view| *view == answers[0]));
    world.ended(request.process_id).await;
    assert_eq!(lines(&world.root()), 1);
}

#[tokio::test]
async fn an_operation_goes_on_when_its_caller_goes_away() {
    let world = World::new().await;
    let op = world.op();
    let request = StartProcess { process_id: world.process(), ..shell("echo x >> ledger") };
    let header = header("process/start", &op.to_string(), Some(fence(1, "h")));
    let caller = world.open(&header, shared::wire::encode(&request).into()).await;
    caller.cancelled.cancel();
    drop(caller);
    // The repeat is attached or answered; either way it is the one that ran.
    world.start(op, &request).await.unwrap();
    world.ended(request.process_id).await;
    assert_eq!(lines(&world.root()), 1);
}

#[tokio::test]
async fn a_wait_ends_when_its_caller_goes_away() {
    let world = World::new().await;
    let process_id = world.process();
    let request = StartProcess { process_id, ..shell("exec sleep 600") };
    world.start(world.op(), &request).await.unwrap();
    let wait = WaitProcess { process_id, timeout_ms: 600_000 };
    let wait = shared::wire::encode(&wait).into();
    let mut caller = world.open(&header("process/wait", "call_x", None), wait).await;
    caller.cancelled.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), caller.frames.next()).await;
    assert!(matches!(ended, Ok(Ok(None))), "the stream ends without an answer");
}

#[tokio::test]
async fn output_is_paged_and_followed_over_the_wire() {
    let world = World::new().await;
    let process_id = world.process();
    let request = StartProcess { process_id, ..shell("printf 0123456789abc") };
    world.start(world.op(), &request).await.unwrap();
    world.ended(process_id).await;

    let page = ReadOutput { process_id, offset: 2, limit_bytes: 4, from_end: false };
    let page = shared::wire::encode(&page).into();
    let mut caller = world.open(&header("process/output", "call_x", None), page).await;
    let head: OutputPage = caller.head().await.unwrap();
    assert_eq!((head.offset, head.len), (2, 4));
    assert_eq!(caller.raw().await, "2345");
    assert!(caller.frames.next().await.unwrap().is_none());

    let mut resumed = header("process/follow", "call_x", None);
    resumed.resume_from = Some(8);
    let follow = shared::wire::encode(&FollowOutput { process_id, offset: 0 }).into();
    let mut caller = world.open(&resumed, follow).await;
    caller.head::<Following>().await.unwrap();
    let mut seen = Vec::new();
    loop {
        match caller.item::<FollowItem>().await {
            FollowItem::Chunk { offset, len, .. } => {
                assert_eq!(offset, 8 + seen.len() as u64);
                let bytes = caller.raw().await;
                assert_eq!(bytes.len(), len as usize);
                seen.extend_from_slice(&bytes);
            }
            FollowItem::End { process } => {
                assert_eq!(process.output_total, 13);
                break;
            }
            FollowItem::Dropped { .. } => panic!("nothing was dropped"),
        }
    }
    assert_eq!(seen, b"89abc");
}
