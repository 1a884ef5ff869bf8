//! A control plane's fleet over a real database, and daemons with a double for a dispatch.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentd::identity::{DeviceKey, Enrolment};
use agentd::journal::{Admission, JournalHandle};
use agentd::link::{JoinError, JoinRequest, LinkHandle, LinkOptions, LinkService, LinkState};
use bytes::Bytes;
use controlplane::fleet::{
    CertificateAuthority, DeviceRequest, Fleet, JoinTokens, ListenError, Listener, ListenerOptions,
    ListenerParts, Operation, WorkspaceLink,
};
use controlplane::secrets::SecretBox;
use controlplane::store::{DatabaseUrl, NewWorkspace, Store, WorkspaceRow};
use rand::SeedableRng;
use rand::rngs::StdRng;
use shared::clock::{Clock, SystemClock};
use shared::ids::{IdSource, OpId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::enroll::{Certificate, Der};
use shared::protocol::files::{BytesPage, DeleteFile, Deleted, ReadBytes};
use shared::protocol::operation::{OperationState, QueryOperation};
use shared::protocol::process::{
    FollowItem, FollowOutput, Following, OutputStream, ProcessState, ProcessView, WaitProcess,
};
use shared::protocol::{ErrorCode, Method, Reply, WireError};
use shared::wire::{Dispatch, IncomingCall};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Bytes of the output that the double lets be followed.
pub const OUTPUT_BYTES: u64 = 3_000_000;

/// A control plane without its HTTP side.
pub struct World {
    pub lifecycle: Lifecycle,
    pub ids: Arc<dyn IdSource>,
    pub clock: Arc<dyn Clock>,
    pub store: Store,
    pub secrets: SecretBox,
    pub ca: Arc<CertificateAuthority>,
    pub fleet: Fleet,
    pub address: SocketAddr,
    home: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with_device_life(Duration::from_secs(24 * 3600)).await
    }

    pub async fn with_device_life(device_life: Duration) -> Self {
        let home = tempfile::tempdir().unwrap();
        let lifecycle = Lifecycle::new();
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = DatabaseUrl::Sqlite(home.path().join("holdfast.db"));
        let store = Store::open(&url, Arc::clone(&clock), Arc::clone(&ids)).await.unwrap();
        let secrets = SecretBox::open_or_create(&home.path().join("master.key")).unwrap();
        let ca = CertificateAuthority::open_or_create(&store.settings, &secrets, clock.now_ms());
        let ca = Arc::new(ca.await.unwrap());
        let fleet = Fleet::new(Arc::clone(&clock), Arc::clone(&ids));
        let mut world = Self {
            lifecycle,
            ids,
            clock,
            store,
            secrets,
            ca,
            fleet,
            address: "127.0.0.1:0".parse().unwrap(),
            home,
        };
        let lifecycle = world.lifecycle.clone();
        world.address = world.listen(&lifecycle, device_life).unwrap();
        world
    }

    /// Opens a listener whose tasks belong to `lifecycle`.
    pub fn listen(
        &self,
        lifecycle: &Lifecycle,
        device_life: Duration,
    ) -> Result<SocketAddr, ListenError> {
        let options = ListenerOptions { device_life, ..ListenerOptions::at(self.address) };
        let parts = ListenerParts {
            lifecycle: lifecycle.clone(),
            clock: Arc::clone(&self.clock),
            store: self.store.clone(),
            ca: Arc::clone(&self.ca),
            fleet: self.fleet.clone(),
            replica_id: self.ids.id(),
            door: None,
        };
        let listener = Listener::bind(options, parts)?;
        let address = listener.address().unwrap();
        lifecycle.spawn_serving("listener", listener.run());
        Ok(address)
    }

    /// Lets the stored certificate of a joined daemon be one that ended yesterday.
    pub fn expire(&self, name: &str, workspace: &WorkspaceRow) {
        let dir = self.identity_dir(name);
        let key = DeviceKey::load(&dir).unwrap().unwrap();
        let request = DeviceRequest::parse(&key.signing_request()).unwrap();
        let made_ms = self.clock.now_ms() - 2 * DAY_MS;
        let signed = self.ca.sign_device(&request, workspace.id, made_ms, DAY_MS);
        let expired = Certificate {
            workspace_id: workspace.id,
            workspace_name: workspace.name.clone(),
            chain_der: vec![Der(signed.der), Der(self.ca.certificate().to_vec())],
            not_after_ms: signed.not_after_ms,
        };
        Enrolment::load(&dir).unwrap().unwrap().renewed(&expired).save(&dir).unwrap();
    }

    /// Lets a joined daemon dial another port.
    pub fn redirect(&self, name: &str, port: u16) {
        let dir = self.identity_dir(name);
        let mut enrolment = Enrolment::load(&dir).unwrap().unwrap();
        enrolment.port = port;
        enrolment.save(&dir).unwrap();
    }

    pub async fn workspace(&self, name: &str) -> WorkspaceRow {
        let new = NewWorkspace { name: name.to_owned(), labels: Default::default() };
        self.store.workspaces.create(&new).await.unwrap()
    }

    /// A join token that names `port`.
    pub async fn token(&self, workspace: &WorkspaceRow, port: u16) -> String {
        let tokens = JoinTokens::new(
            self.store.join_tokens.clone(),
            Arc::clone(&self.clock),
            self.ca.pin(),
            port,
        );
        tokens.issue(workspace.id, None).await.unwrap().token
    }

    pub fn identity_dir(&self, name: &str) -> PathBuf {
        let dir = self.home.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Joins with `token`, into the identity directory `name`.
    pub async fn join(&self, name: &str, token: &str) -> Result<Enrolment, JoinError> {
        let identity = self.identity_dir(name);
        let request =
            JoinRequest { url: "http://127.0.0.1:9", token, identity: &identity, hostname: "box" };
        agentd::link::join(&request, &*self.ids).await
    }

    /// Joins a new workspace at `port` and starts its daemon.
    pub async fn daemon_at(&self, name: &str, port: u16) -> Daemon {
        let workspace = self.workspace(name).await;
        let token = self.token(&workspace, port).await;
        self.join(name, &token).await.unwrap();
        self.start(name, workspace)
    }

    pub async fn daemon(&self, name: &str) -> Daemon {
        self.daemon_at(name, self.address.port()).await
    }

    /// Starts the daemon of a joined identity directory.
    pub fn start(&self, name: &str, workspace: WorkspaceRow) -> Daemon {
        let lifecycle = Lifecycle::new();
        let identity = self.identity_dir(name);
        let journal = self.identity_dir(&format!("{name}.journal"));
        let double = Arc::new(Double::open(&journal, &lifecycle, Arc::clone(&self.clock)));
        let options = LinkOptions {
            key: DeviceKey::load(&identity).unwrap().unwrap(),
            enrolment: Enrolment::load(&identity).unwrap().unwrap(),
            identity,
            root: "/work".to_owned(),
            hostname: "box".to_owned(),
            sandbox: None,
            instance_id: self.ids.id(),
            keep_alive: shared::limits::KEEP_ALIVE,
        };
        let (service, link) = LinkService::new(
            options,
            &lifecycle,
            Arc::clone(&self.clock),
            Arc::clone(&self.ids),
            StdRng::seed_from_u64(1),
            Arc::clone(&double),
        );
        lifecycle.spawn_vital("link", service.run());
        let way = self.fleet.workspace(workspace.id);
        Daemon { lifecycle, link, double, way, workspace }
    }

    pub fn operation(&self, epoch: u64, hash: &str) -> Operation {
        let fence = Fence { scope: "chat".to_owned(), epoch, hash: hash.to_owned() };
        Operation::new(self.ids.id::<OpId>(), fence)
    }
}

/// A daemon with a real link and a double for everything behind it.
pub struct Daemon {
    pub lifecycle: Lifecycle,
    pub link: LinkHandle,
    pub double: Arc<Double>,
    pub way: WorkspaceLink,
    pub workspace: WorkspaceRow,
}

impl Daemon {
    /// Waits until both sides show it as connected.
    pub async fn connected(&self) {
        within("the daemon is connected", self.way.connected()).await;
        let mut changed = self.link.changed();
        let told = changed.wait_for(|status| status.state == LinkState::Connected);
        within("the daemon knows it", told).await.unwrap();
    }

    /// Waits until the control plane shows it as not connected.
    pub async fn lost(&self) {
        let mut changed = self.way.changed();
        let lost = changed.wait_for(|presence| !presence.connected);
        within("the daemon is shown as unreachable", lost).await.unwrap();
    }

    pub async fn stop(self) {
        self.lifecycle.shut_down(Duration::from_secs(5)).await;
    }
}

/// Waits for `what`, at most two minutes: silence is noticed after 20 s and a stream is given back
/// after 30 s, on a machine that does much else.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), wait)
        .await
        .unwrap_or_else(|_| panic!("waited 120 s in vain: {what}"))
}

/// Answers a few methods in a fixed way; the one operation goes through the real journal.
pub struct Double {
    pub journal: JournalHandle,
    /// How often the operation arrived.
    pub arrivals: AtomicU64,
    /// How often it had its effect.
    pub runs: AtomicU64,
}

impl Dispatch for Double {
    async fn handle(&self, call: IncomingCall) {
        match call.header.method.as_str() {
            QueryOperation::NAME => {
                let _ = call.answer.answer(&Reply::Ok(OperationState::Absent)).await;
            }
            DeleteFile::NAME => self.delete(call).await,
            ReadBytes::NAME => read(call).await,
            FollowOutput::NAME => follow(call).await,
            WaitProcess::NAME => call.cancelled.cancelled().await,
            other => {
                let text = format!("no method {other:?}");
                let _ = call.answer.fail(WireError::refused(ErrorCode::Unsupported, text)).await;
            }
        }
    }

    async fn acknowledged(&self, op_ids: Vec<OpId>) {
        self.journal.acknowledge(&op_ids);
    }
}

impl Double {
    /// A double whose journal is in `dir`.
    pub fn open(dir: &Path, lifecycle: &Lifecycle, clock: Arc<dyn Clock>) -> Self {
        let (journal, _) = JournalHandle::open(dir, lifecycle, clock).unwrap();
        Self { journal, arrivals: AtomicU64::new(0), runs: AtomicU64::new(0) }
    }

    async fn delete(&self, mut call: IncomingCall) {
        let request = match call.decode::<DeleteFile>() {
            Ok(request) => request,
            Err(error) => {
                let _ = call.answer.fail(error).await;
                return;
            }
        };
        self.arrivals.fetch_add(1, Ordering::SeqCst);
        let op = call.header.id.parse().unwrap();
        let fence = call.header.fence.clone().unwrap();
        let outcome = match self.journal.begin(op, &fence, DeleteFile::NAME).await {
            Admission::Begin(token) => {
                self.runs.fetch_add(1, Ordering::SeqCst);
                let reply = Reply::Ok(Deleted { path: request.path });
                token.commit(shared::wire::encode(&reply).into()).await
            }
            Admission::Answered(outcome) => Ok(outcome),
            Admission::Attach(attached) => attached.outcome().await,
            Admission::Refused(error) => Err(error),
        };
        let sent = match outcome {
            Ok(outcome) => call.answer.reply_encoded(outcome).await,
            Err(error) => call.answer.reply(&Reply::<Deleted>::Err(error)).await,
        };
        if sent.is_ok() {
            let _ = call.answer.finish().await;
        }
    }
}

async fn read(mut call: IncomingCall) {
    let request: ReadBytes = call.decode().unwrap();
    let page = BytesPage {
        offset: request.offset,
        len: request.limit_bytes,
        size: request.limit_bytes,
        hash: None,
        modified_at_ms: 0,
        mode: 0o644,
        changed_during_read: false,
    };
    let bytes = Bytes::from(vec![7; usize::try_from(request.limit_bytes).unwrap()]);
    let _ = call.answer.reply(&Reply::Ok(page)).await;
    let _ = call.answer.raw(bytes).await;
    let _ = call.answer.finish().await;
}

/// Byte `n` of the output that the double lets be followed.
pub fn output_byte(offset: u64) -> u8 {
    u8::try_from(offset % 251).unwrap()
}

async fn follow(mut call: IncomingCall) {
    let request: FollowOutput = call.decode().unwrap();
    let process = ProcessView {
        process_id: request.process_id,
        command: "yes".to_owned(),
        cwd: "/work".to_owned(),
        chat_id: None,
        os_pid: None,
        started_at_ms: 0,
        state: ProcessState::Running,
        output_total: OUTPUT_BYTES,
        dropped_from: 0,
        dropped_to: 0,
        facts: None,
    };
    let mut sent = call.answer.reply(&Reply::Ok(Following { process: process.clone() })).await;
    let mut offset = request.offset;
    while offset < OUTPUT_BYTES && sent.is_ok() {
        let len = (OUTPUT_BYTES - offset).min(10_000);
        let stream = OutputStream::Stdout;
        let item = FollowItem::Chunk { offset, stream, len: u32::try_from(len).unwrap() };
        let bytes: Vec<u8> = (offset..offset + len).map(output_byte).collect();
        sent = call.answer.item(&item).await;
        if sent.is_ok() {
            sent = call.answer.raw(bytes.into()).await;
        }
        offset += len;
    }
    let _ = call.answer.item(&FollowItem::End { process }).await;
    let _ = call.answer.finish().await;
}
