//! A daemon in a process of its own, which can be killed: the test binary started again.
//!
//! A test binary that uses it has a test `serve_a_daemon_when_asked_to`, which calls
//! [`serve_when_asked_to`].

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use agentd::daemon::{Daemon, DaemonParts};
use agentd::limit_options::LimitOptions;
use agentd::process::KeeperProgram;
use agentd::resident::HEAP_TUNABLES;
use agentd::state_dir::StateDir;
use clap::Parser;
use shared::clock::SystemClock;
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::{CallHeader, Fence};
use shared::protocol::process::{FollowItem, FollowOutput, Following};
use shared::protocol::{Method, MethodKind, Reply, WireError};
use shared::wire::{Dispatch, Frame, FrameReader, FrameWriter, IncomingCall};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

/// Names the `agentd` that makes keepers, where it is a copy.
const PROGRAM: &str = "AGENTD_TEST_PROGRAM";

fn keeper_program() -> KeeperProgram {
    let copy = std::env::var_os(PROGRAM).map(PathBuf::from);
    KeeperProgram::at(copy.unwrap_or_else(|| env!("CARGO_BIN_EXE_agentd").into()))
}

/// Copies of the programs of a test, for a user who may not read the originals.
pub struct Programs {
    pub test: PathBuf,
    pub agentd: PathBuf,
}

impl Programs {
    pub fn copied_to(dir: &Path) -> Self {
        let (test, agentd) = (dir.join("test"), dir.join("agentd"));
        std::fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_agentd"), &agentd).unwrap();
        Self { test, agentd }
    }
}

/// The options that a served daemon reads from its environment.
#[derive(clap::Parser)]
struct RunParser {
    #[command(flatten)]
    limits: LimitOptions,
}

/// A daemon in a process of its own.
pub struct Served {
    child: Option<Child>,
    socket: PathBuf,
}

impl Served {
    /// Another way to a daemon that somebody else started.
    pub fn at(socket: PathBuf) -> Self {
        Self { child: None, socket }
    }

    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    pub fn start(dir: &Path, fault_socket: Option<&Path>) -> Self {
        let fault = fault_socket.map(|path| ("HOLDFAST_FAULT_SOCKET", path.display().to_string()));
        Self::start_with(dir, fault.as_slice())
    }

    /// With variables: those of `agentd run`'s options that say what commands may take are known.
    pub fn start_with(dir: &Path, variables: &[(&str, String)]) -> Self {
        Self::spawn(dir, variables, Command::new(std::env::current_exe().unwrap()))
    }

    /// As another user, with copies of the programs that this user may execute.
    pub fn start_as(dir: &Path, uid: u32, programs: &Programs) -> Self {
        let mut command = Command::new(&programs.test);
        command.uid(uid).gid(uid).env(PROGRAM, &programs.agentd);
        Self::spawn(dir, &[], command)
    }

    fn spawn(dir: &Path, variables: &[(&str, String)], mut command: Command) -> Self {
        let socket = dir.join("calls");
        let _ = std::fs::remove_file(&socket);
        command
            .args(["--exact", "serve_a_daemon_when_asked_to", "--nocapture"])
            .env("AGENTD_TEST_SERVE", dir)
            .env(HEAP_TUNABLES.0, HEAP_TUNABLES.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        for (name, value) in variables {
            command.env(name, value);
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
        Self { child: Some(child), socket }
    }

    /// Of the daemon.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Follows a process from its first byte.
    pub async fn follow(&self, process_id: ProcessId) -> Items {
        let op: OpId = (&SystemIds::new() as &dyn IdSource).id();
        let mut items = self.ask(op, &FollowOutput { process_id, offset: 0 }).await.unwrap();
        let head = items.frames.next().await.unwrap().expect("a head");
        let head = shared::wire::decode::<Reply<Following>>(&head.body).unwrap();
        assert!(matches!(head, Reply::Ok(_)), "{head:?}");
        items
    }

    /// SIGKILL, then reaps.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub async fn call<M: Method>(&self, op: OpId, request: &M) -> Result<M::Reply, WireError> {
        let mut items = self.ask(op, request).await?;
        let Ok(Some(frame)) = items.frames.next().await else { return Err(cut()) };
        match shared::wire::decode::<Reply<M::Reply>>(&frame.body).unwrap() {
            Reply::Ok(reply) => Ok(reply),
            Reply::Err(error) => Err(error),
        }
    }

    async fn ask<M: Method>(&self, op: OpId, request: &M) -> Result<Items, WireError> {
        let fence = Fence { scope: "chat_t".to_owned(), epoch: 1, hash: "h".to_owned() };
        let header = CallHeader {
            method: M::NAME.to_owned(),
            id: op.to_string(),
            deadline_ms: None,
            fence: (M::KIND == MethodKind::Operation).then_some(fence),
            traceparent: None,
            resume_from: None,
            read_only: false,
        };
        let stream = UnixStream::connect(&self.socket).await.map_err(|_| cut())?;
        let (read, write) = stream.into_split();
        let mut writer = FrameWriter::new(write);
        let heads = [Frame::message(&header), Frame::message(request)];
        writer.write_together(&heads).await.map_err(|_| cut())?;
        Ok(Items { frames: FrameReader::new(read), _writer: writer })
    }
}

/// What a follower is told.
pub struct Items {
    frames: FrameReader<OwnedReadHalf>,
    /// Its end would be the end of the call.
    _writer: FrameWriter<OwnedWriteHalf>,
}

impl Items {
    /// The next item; the bytes of a chunk are read and dropped.
    pub async fn next(&mut self) -> FollowItem {
        let frame = self.frames.next().await.unwrap().expect("an item");
        let item: FollowItem = shared::wire::decode(&frame.body).unwrap();
        if let FollowItem::Chunk { len, .. } = &item {
            let raw = self.frames.next().await.unwrap().expect("its bytes");
            assert_eq!(raw.body.len(), *len as usize);
        }
        item
    }
}

fn cut() -> WireError {
    WireError::failed(shared::protocol::ErrorCode::Internal, "cut")
}

/// Serves calls when this is the child that [`Served::start`] started.
pub async fn serve_when_asked_to() {
    let Some(dir) = std::env::var_os("AGENTD_TEST_SERVE").map(PathBuf::from) else { return };
    agentd::process::hide_memory();
    let lifecycle = Lifecycle::new();
    let limits = RunParser::parse_from([""]).limits;
    let containment = limits.containment().unwrap();
    let parts = DaemonParts {
        lifecycle: lifecycle.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds::new()),
        environment: limits.environment(containment.identity.as_ref()),
        keepers: keeper_program().with(containment),
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
            // None: who connected has gone away.
            if let Ok(call) = call {
                dispatch.handle(call).await;
            }
        });
    }
}
