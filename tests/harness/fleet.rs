//! A control plane without its HTTP side, in the test's own process: real daemons join it, and the
//! test calls them as the product would.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentd::state_dir::{StateDir, WorkspaceFile};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use controlplane::fleet::{
    CallError, CertificateAuthority, Deadline, Fleet, JoinTokens, Listener, ListenerOptions,
    ListenerParts, Operation, WorkspaceLink,
};
use controlplane::secrets::SecretBox;
use controlplane::store::{DatabaseUrl, NewWorkspace, Store};
use shared::clock::{Clock, SystemClock};
use shared::ids::{IdSource, InstanceId, OpId, ProcessId, PtyId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::Method;
use shared::protocol::call::Fence;
use shared::protocol::files::{Expect, WriteFile, Written};
use shared::protocol::process::{
    FollowOutput, GetProcess, ProcessView, Program, ReadOutput, StartProcess, Stdin, WaitProcess,
};
use shared::protocol::pty::{OpenPty, PtySize, PtyView, ReadPtyOutput};

/// How long a daemon may take to connect before it counts as gone: it begins with replaying its
/// records on a machine that does much else.
const CONNECTS_WITHIN: Duration = Duration::from_secs(60);

/// The control plane.
pub struct FleetWorld {
    lifecycle: Lifecycle,
    ids: Arc<dyn IdSource>,
    clock: Arc<dyn Clock>,
    store: Store,
    ca: Arc<CertificateAuthority>,
    fleet: Fleet,
    address: SocketAddr,
    _home: tempfile::TempDir,
}

/// The way to one daemon, whichever process it is at the moment.
#[derive(Clone)]
pub struct Remote {
    link: WorkspaceLink,
    ids: Arc<dyn IdSource>,
}

impl FleetWorld {
    /// A fleet that listens on loopback.
    pub async fn start() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let lifecycle = Lifecycle::new();
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = DatabaseUrl::Sqlite(home.path().join("holdfast.db"));
        let store = Store::open(&url, Arc::clone(&clock), Arc::clone(&ids)).await?;
        let secrets = SecretBox::open_or_create(&home.path().join("master.key"))?;
        let ca = CertificateAuthority::open_or_create(&store.settings, &secrets, clock.now_ms());
        let ca = Arc::new(ca.await?);
        let fleet = Fleet::new(Arc::clone(&clock), Arc::clone(&ids));
        let parts = ListenerParts {
            lifecycle: lifecycle.clone(),
            clock: Arc::clone(&clock),
            store: store.clone(),
            ca: Arc::clone(&ca),
            fleet: fleet.clone(),
            replica_id: ids.id(),
            door: None,
        };
        let listener = Listener::bind(ListenerOptions::at("127.0.0.1:0".parse()?), parts)?;
        let address = listener.address()?;
        lifecycle.spawn_serving("listener", listener.run());
        Ok(Self { lifecycle, ids, clock, store, ca, fleet, address, _home: home })
    }

    /// Enrols the state directory `state` for the root `root`, as `agentd join --no-run` does.
    pub async fn enrol(&self, state: &Path, root: &Path) -> Result<Remote> {
        let new = NewWorkspace { name: "tests".to_owned(), labels: Default::default() };
        let workspace = self.store.workspaces.create(&new).await?;
        let tokens = JoinTokens::new(
            self.store.join_tokens.clone(),
            Arc::clone(&self.clock),
            self.ca.pin(),
            self.address.port(),
        );
        let token = tokens.issue(workspace.id, None).await?.token;
        let state = StateDir::open(state)?;
        let identity = state.layout().identity();
        let request = agentd::link::JoinRequest {
            url: "http://127.0.0.1:9",
            token: &token,
            identity: &identity,
            hostname: "box",
        };
        agentd::link::join(&request, &*self.ids).await?;
        state.remember(&WorkspaceFile { root: root.to_owned() })?;
        Ok(Remote { link: self.fleet.workspace(workspace.id), ids: Arc::clone(&self.ids) })
    }

    /// Ends it.
    pub async fn stop(self) {
        self.lifecycle.shut_down(Duration::from_secs(5)).await;
    }
}

impl Remote {
    /// Which daemon is there, or was last.
    pub fn instance(&self) -> Option<InstanceId> {
        self.link.presence().hello.map(|hello| hello.instance_id)
    }

    /// Waits for a daemon that is not `before`; its instance.
    pub async fn another(&self, before: Option<InstanceId>) -> Result<InstanceId> {
        let mut changes = self.link.changed();
        let is_new = changes.wait_for(|presence| {
            let instance = presence.hello.as_ref().map(|hello| hello.instance_id);
            presence.connected && instance != before
        });
        let waited = tokio::time::timeout(CONNECTS_WITHIN, is_new).await;
        let presence = waited.context("no other daemon connected")??;
        Ok(presence.hello.as_ref().context("it said hello")?.instance_id)
    }

    /// A fresh id for an operation.
    pub fn op(&self) -> OpId {
        self.ids.id()
    }

    /// Where the test's other ids come from.
    pub fn ids(&self) -> &dyn IdSource {
        &*self.ids
    }

    /// Asks something that changes nothing; again when the link is lost meanwhile.
    pub async fn read<M: Method>(&self, request: &M) -> Result<M::Reply, CallError> {
        loop {
            self.link.connected().await;
            match self.link.read(request, Deadline::after(Duration::from_secs(60))).await {
                Err(CallError::NotConnected { .. }) => {}
                Err(CallError::Unknown { reason }) if reason.may_ask_again() => {}
                answer => return answer,
            }
        }
    }

    /// Starts a program; its id.
    pub async fn start(&self, request: StartProcess) -> Result<ProcessId> {
        let process_id = self.ids.id();
        let request = StartProcess { process_id, ..request };
        Ok(self.operate(self.op(), &request).await?.process_id)
    }

    /// Starts a shell command; its id.
    pub async fn shell(&self, command: &str) -> Result<ProcessId> {
        self.start(shell(command)).await
    }

    /// Writes a file.
    pub async fn write(&self, path: &str, content: &[u8]) -> Result<Written, CallError> {
        let request = WriteFile {
            path: path.into(),
            len: content.len() as u64,
            expect: Expect::Any,
            mode: None,
        };
        let operation = self.operation(self.op());
        let body = Bytes::copy_from_slice(content);
        self.link.connected().await;
        self.link.operate_with_body(&operation, &request, body).await
    }

    /// A process as it is.
    pub async fn view(&self, process_id: ProcessId) -> Result<ProcessView> {
        Ok(self.read(&GetProcess { process_id }).await?)
    }

    /// A process at its end.
    pub async fn ended(&self, process_id: ProcessId) -> Result<ProcessView> {
        Ok(self.read(&WaitProcess { process_id, timeout_ms: 50_000 }).await?)
    }

    /// What is kept of the output of a process that has ended: before what was dropped, and after.
    pub async fn output(&self, process_id: ProcessId) -> Result<(Vec<u8>, Vec<u8>)> {
        let view = self.view(process_id).await?;
        let has_gap = view.dropped_to > view.dropped_from;
        let head_end = if has_gap { view.dropped_from } else { view.output_total };
        let head = self.bytes(process_id, 0, head_end).await?;
        let tail_start = if has_gap { view.dropped_to } else { view.output_total };
        Ok((head, self.bytes(process_id, tail_start, view.output_total).await?))
    }

    /// Opens a terminal in which a shell command runs; its id.
    pub async fn open_pty(&self, command: &str, kept: Option<u64>) -> Result<PtyId> {
        let request = OpenPty {
            pty_id: self.ids.id(),
            program: Some(Program::Shell { command: command.to_owned() }),
            cwd: None,
            env: Default::default(),
            size: PtySize::default(),
            chat_id: None,
            output_kept_bytes: kept,
        };
        Ok(self.operate(self.op(), &request).await?.pty_id)
    }

    /// What is kept of the output of a terminal whose program has ended, as [`output`](Self::output).
    pub async fn pty_output(&self, view: &PtyView) -> Result<(Vec<u8>, Vec<u8>)> {
        let has_gap = view.dropped_to > view.dropped_from;
        let head_end = if has_gap { view.dropped_from } else { view.output_total };
        let tail_start = if has_gap { view.dropped_to } else { view.output_total };
        let mut parts = Vec::new();
        for (from, to) in [(0, head_end), (tail_start, view.output_total)] {
            let (mut all, mut offset) = (Vec::new(), from);
            while offset < to {
                let limit_bytes = to - offset;
                let page =
                    ReadPtyOutput { pty_id: view.pty_id, offset, limit_bytes, from_end: false };
                let (head, body) = self.link.read_raw(&page, Deadline::NONE).await?;
                let bytes = body.collect(head.len).await?;
                ensure!(!bytes.is_empty(), "nothing at {offset} of {to}");
                offset += bytes.len() as u64;
                all.extend_from_slice(&bytes);
            }
            parts.push(all);
        }
        let tail = parts.pop().unwrap_or_default();
        Ok((parts.pop().unwrap_or_default(), tail))
    }

    /// Waits for the first output of a process.
    pub async fn first_output(&self, process_id: ProcessId) -> Result<()> {
        let from = FollowOutput { process_id, offset: 0 };
        let (_, mut stream) = self.link.follow(&from).await?;
        stream.next().await?.context("it ended without a word")?;
        Ok(())
    }

    async fn bytes(&self, process_id: ProcessId, from: u64, to: u64) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut offset = from;
        while offset < to {
            let page = ReadOutput { process_id, offset, limit_bytes: to - offset, from_end: false };
            let (head, body) = self.link.read_raw(&page, Deadline::NONE).await?;
            let bytes = body.collect(head.len).await?;
            ensure!(!bytes.is_empty(), "nothing at {offset} of {to}");
            offset += bytes.len() as u64;
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    fn operation(&self, op_id: OpId) -> Operation {
        let fence = Fence { scope: "chat_t".to_owned(), epoch: 1, hash: "h".to_owned() };
        Operation::new(op_id, fence)
    }

    /// Does something once, as the control plane does: with the same id until there is an answer.
    pub async fn operate<M: Method>(
        &self,
        op_id: OpId,
        request: &M,
    ) -> Result<M::Reply, CallError> {
        let operation = self.operation(op_id);
        loop {
            self.link.connected().await;
            match self.link.operate(&operation, request).await {
                Err(CallError::NotConnected { .. }) => {}
                Err(CallError::Unknown { reason }) if reason.may_ask_again() => {}
                answer => return answer,
            }
        }
    }
}

/// A request to run a shell command; its id is chosen at the start.
pub fn shell(command: &str) -> StartProcess {
    StartProcess {
        process_id: ProcessId::from_ulid(SystemIds::new().ulid()),
        program: Program::Shell { command: command.to_owned() },
        cwd: None,
        env: Default::default(),
        stdin: Stdin::Closed,
        chat_id: None,
        output_kept_bytes: None,
    }
}
