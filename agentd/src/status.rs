//! The local socket: what `agentd status` and `agentd ps` ask the daemon.
//!
//! A Unix socket in the state directory, 0600 in a 0700 directory, and every peer is asked for its
//! user: only the daemon's own and root are answered. One message each way, in the wire's frames.
//! It is bound and dialled below a directory descriptor, so that no path is too long for it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use shared::ids::{InstanceId, WorkspaceId};
use shared::lifecycle::Lifecycle;
use shared::protocol::process::{ListProcesses, ProcessState, ProcessView, SandboxFacts};
use shared::protocol::pty::{ListPtys, PtyView};
use shared::wire::{Frame, FrameKind, FrameReader, FrameWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::identity::Enrolment;
use crate::journal::JournalHandle;
use crate::link::{LinkHandle, LinkStatus};
use crate::process::{Offline, ProcessHandle, list_offline};
use crate::pty::PtyHandle;
use crate::state_dir::StateLayout;

/// Conversations at once; more wait in the kernel's queue.
const CONVERSATIONS_MAX: usize = 8;
/// Until another try where there is not even a spare descriptor.
const OUT_OF_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(100);
/// Time that one conversation gets.
const CONVERSATION_TIME: Duration = Duration::from_secs(5);

/// What the command line asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum LocalRequest {
    /// How the daemon is.
    Status,
    /// Its processes.
    Processes {
        /// Most entries.
        limit: u32,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum LocalAnswer {
    /// How it is.
    Status(Box<DaemonStatus>),
    /// Its processes.
    Processes(Listing),
    /// It could not answer.
    Failed {
        /// Why.
        message: String,
    },
}

/// What runs in the workspace and what has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Running ones first, then the newest.
    pub items: Vec<ProcessView>,
    /// How many there are in all.
    pub total: u64,
    /// Running ones first, then the newest.
    #[serde(default)]
    pub terminals: Vec<PtyView>,
}

/// What is known of a workspace whose daemon does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DownStatus {
    /// False; so that a script need not tell the two apart by their fields.
    pub is_running: bool,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The workspace's root, if one is remembered.
    pub root: Option<PathBuf>,
    /// The workspace, once joined.
    pub workspace_id: Option<WorkspaceId>,
    /// Its name, as it was when the daemon last connected.
    pub workspace_name: Option<String>,
    /// Processes and terminals that run all the same.
    pub processes_running: usize,
}

/// A running daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Program version.
    pub version: String,
    /// Its pid.
    pub pid: u32,
    /// New at every start.
    pub instance_id: InstanceId,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// The workspace's root.
    pub root: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The workspace, once joined.
    pub workspace_id: Option<WorkspaceId>,
    /// Processes that run.
    pub processes_running: usize,
    /// True: it has answered.
    #[serde(default)]
    pub is_running: bool,
    /// By which means processes can be sandboxed, or why they cannot.
    #[serde(default)]
    pub sandbox: String,
    /// Operations that were refused since the start because somebody else had taken over.
    #[serde(default)]
    pub stale_epoch_refused: u64,
    /// The link; none for a daemon without one.
    pub link: Option<LinkStatus>,
}

/// Where answers come from.
pub struct StatusSource {
    pub(crate) root: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) instance_id: InstanceId,
    pub(crate) started_at_ms: i64,
    pub(crate) journal: JournalHandle,
    pub(crate) processes: ProcessHandle,
    pub(crate) ptys: PtyHandle,
    pub(crate) link: Option<LinkHandle>,
}

/// The daemon's end.
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why the daemon did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon listens.
    #[error("no agentd runs on {state_dir}; start it with `agentd run`")]
    NotRunning {
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The operating system says no.
    #[error("the local socket cannot be used")]
    Io(#[from] io::Error),
    /// Something else answers, or it is of another version.
    #[error("the daemon's answer was not understood; is it of another version?")]
    NotUnderstood,
    /// It does not answer.
    #[error("the daemon does not answer")]
    Silent,
}

impl Listing {
    /// What was read without a daemon; at most `limit` processes.
    #[must_use]
    pub fn offline(found: Offline, limit: usize) -> Self {
        let Offline { processes: mut items, terminals } = found;
        let total = items.len() as u64;
        items.truncate(limit);
        Self { items, total, terminals }
    }
}

impl DownStatus {
    /// Reads what there is. Changes nothing.
    #[must_use]
    pub fn read(layout: &StateLayout) -> Self {
        let enrolment = Enrolment::load(&layout.identity()).ok().flatten();
        let found = list_offline(&layout.processes()).unwrap_or_default();
        let is_running = |state: &ProcessState| matches!(state, ProcessState::Running);
        let processes = found.processes.iter().filter(|view| is_running(&view.state)).count();
        let terminals = found.terminals.iter().filter(|view| is_running(&view.state)).count();
        Self {
            is_running: false,
            state_dir: layout.path().to_owned(),
            root: layout.workspace().ok().flatten().map(|workspace| workspace.root),
            workspace_id: enrolment.as_ref().map(|enrolment| enrolment.workspace_id),
            workspace_name: enrolment.map(|enrolment| enrolment.workspace_name),
            processes_running: processes + terminals,
        }
    }
}

impl StatusSource {
    fn answer(&self, request: &LocalRequest) -> LocalAnswer {
        match request {
            LocalRequest::Status => LocalAnswer::Status(Box::new(self.status())),
            LocalRequest::Processes { limit } => {
                let request = ListProcesses { chat_id: None, limit: Some(*limit) };
                let ptys = ListPtys { chat_id: None, limit: Some(*limit) };
                match (self.processes.list(&request), self.ptys.list(&ptys)) {
                    (Ok(list), Ok(ptys)) => LocalAnswer::Processes(Listing {
                        items: list.items,
                        total: list.total,
                        terminals: ptys.items,
                    }),
                    (Err(error), _) | (_, Err(error)) => {
                        LocalAnswer::Failed { message: error.message }
                    }
                }
            }
        }
    }

    fn status(&self) -> DaemonStatus {
        let link = self.link.as_ref().map(LinkHandle::status);
        DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            instance_id: self.instance_id,
            started_at_ms: self.started_at_ms,
            root: self.root.clone(),
            state_dir: self.state_dir.clone(),
            workspace_id: link.as_ref().map(|link| link.workspace_id),
            processes_running: self.processes.running(),
            is_running: true,
            sandbox: sandbox_text(&self.processes.sandbox()),
            stale_epoch_refused: self.journal.stale_epochs_refused(),
            link,
        }
    }
}

/// For people.
pub(crate) fn sandbox_text(sandbox: &Result<SandboxFacts, String>) -> String {
    match sandbox {
        Ok(facts) => facts.to_string(),
        Err(missing) => format!("none: {missing}"),
    }
}

impl LocalSocket {
    /// Binds it. What stands in its place is left over: the state directory is locked.
    pub fn bind(layout: &StateLayout) -> io::Result<Self> {
        let path = layout.socket();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let dir = open_dir(layout)?;
        let listener = UnixListener::bind(below(&dir))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Answers until the soft stop.
    pub async fn run(self, source: StatusSource, lifecycle: Lifecycle) {
        let soft = lifecycle.soft();
        let source = std::sync::Arc::new(source);
        let permits = std::sync::Arc::new(Semaphore::new(CONVERSATIONS_MAX));
        let mut spare = spare();
        loop {
            let accepted = tokio::select! {
                () = soft.cancelled() => break,
                accepted = accept(&self.listener, &permits) => accepted,
            };
            let (stream, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the local socket could not accept");
                    turn_away(&self.listener, &mut spare).await;
                    continue;
                }
            };
            let source = std::sync::Arc::clone(&source);
            lifecycle.spawn_serving("local conversation", async move {
                let _permit = permit;
                // The other side may go away at any time; it is a command line.
                let _ = tokio::time::timeout(CONVERSATION_TIME, converse(stream, &source)).await;
            });
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asks the daemon of `layout`.
pub async fn ask(layout: &StateLayout, request: &LocalRequest) -> Result<LocalAnswer, AskError> {
    let not_running = || AskError::NotRunning { state_dir: layout.path().to_owned() };
    let is_absent = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    };
    let connected = match open_dir(layout) {
        Ok(dir) => UnixStream::connect(below(&dir)).await,
        Err(error) => Err(error),
    };
    let stream = connected
        .map_err(|error| if is_absent(&error) { not_running() } else { AskError::Io(error) })?;
    let exchange = async {
        let (read, write) = stream.into_split();
        let mut writer = FrameWriter::new(write);
        let asked = writer.write(&Frame::message(request)).await;
        asked.map_err(|_| AskError::NotUnderstood)?;
        match FrameReader::new(read).next().await {
            Ok(Some(Frame { kind: FrameKind::Message, body })) => {
                shared::wire::decode(&body).map_err(|_| AskError::NotUnderstood)
            }
            _ => Err(AskError::NotUnderstood),
        }
    };
    tokio::time::timeout(CONVERSATION_TIME, exchange).await.unwrap_or(Err(AskError::Silent))
}

async fn accept(
    listener: &UnixListener,
    permits: &std::sync::Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = std::sync::Arc::clone(permits).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, permit))
}

/// A descriptor that is kept for [`turn_away`].
fn spare() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Out of descriptors: who waits is taken with the spare one and turned away, so that it is told at
/// once and the socket is not ready for ever with somebody whom nobody can take.
async fn turn_away(listener: &UnixListener, spare: &mut Option<OwnedFd>) {
    drop(spare.take());
    let turned_away = listener.accept().await;
    if turned_away.is_err() {
        // Somebody else had the spare one. Nothing tells when a descriptor of the machine is free.
        tokio::time::sleep(OUT_OF_DESCRIPTORS_PAUSE).await;
    }
    drop(turned_away);
    *spare = self::spare();
}

async fn converse(stream: UnixStream, source: &StatusSource) -> Result<(), AskError> {
    let peer = stream.peer_cred()?.uid();
    if peer != rustix::process::geteuid().as_raw() && peer != 0 {
        tracing::warn!(uid = peer, "another user asked on the local socket and was not answered");
        return Ok(());
    }
    let (read, write) = stream.into_split();
    let Ok(Some(frame)) = FrameReader::new(read).next().await else { return Ok(()) };
    let answer = match shared::wire::decode(&frame.body) {
        Ok(request) => source.answer(&request),
        Err(error) => LocalAnswer::Failed { message: error.to_string() },
    };
    let mut writer = FrameWriter::new(write);
    let _ = writer.write(&Frame::message(&answer)).await;
    let _ = writer.finish().await;
    Ok(())
}

fn open_dir(layout: &StateLayout) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(layout.path(), flags, Mode::empty())?)
}

fn below(dir: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/agentd.sock", dir.as_raw_fd()))
}
