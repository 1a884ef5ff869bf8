//! Builds every service in order and wires the handles; the only such place.
//!
//! ```text
//! options ─► data dir and its lock ─► database ─► secrets ─► fleet ─► chats ─► http
//! stop:  http and QUIC accept ─► turns park ─► hubs flush ─► links close ─► pool closes ─► exit code
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rand::TryRng;
use shared::clock::Clock;
use shared::ids::{IdSource, ReplicaId, WorkspaceId};
use shared::lifecycle::Lifecycle;
use tokio::sync::watch;

use crate::chat::attachments::Attachments;
use crate::chat::hints::Hints;
use crate::chat::hub::Hub;
use crate::chat::list::ListHub;
use crate::chat::naming::Namer;
use crate::chat::service::ChatService;
use crate::chat::stored_models::StoredModels;
use crate::chat::stored_results::StoredResults;
use crate::chat::stream::Streams;
use crate::chat::telling;
use crate::chat::trace::{Recorder, Recording};
use crate::chat::worker::Worker;
use crate::chat::workspace_tools::WorkspaceTools;
use crate::chat::{Engine, EngineParts};
use crate::fleet::{
    CaError, CertificateAuthority, Directory, DirectoryParts, Door, Fleet, JoinTokens, ListenError,
    Listener, ListenerOptions, ListenerParts, Peers, PreviewRelays,
};
use crate::http::HttpState;
use crate::llm::{LlmClient, Registry};
use crate::options::Options;
use crate::secrets::{MasterKeyError, SecretBox};
use crate::store::{DatabaseUrl, OpenError, ReplicaAddresses, Store};
use crate::tools::Catalogue;

/// The address that people open, as the running server last knew it.
pub const HTTP_URL_SETTING: &str = "http_url";
/// The UDP port of the daemons, as the running server last knew it.
pub const QUIC_PORT_SETTING: &str = "quic_port";

/// Every service, by its handle. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Services>);

/// What [`App`] gives access to.
pub struct Services {
    /// Rows.
    pub store: Store,
    /// Seals what is secret at rest.
    pub secrets: SecretBox,
    /// Daemons.
    pub fleet: Fleet,
    /// Chats.
    pub chats: ChatService,
    /// Files that are attached to chats.
    pub attachments: Attachments,
    /// Viewers of the lists.
    pub lists: ListHub,
    /// Wake-ups.
    pub hints: Hints,
    /// Model clients.
    pub registry: Registry,
    /// The HTTP side's own.
    pub http: HttpState,
    /// Starts and ends tasks.
    pub lifecycle: Lifecycle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn IdSource>,
    /// This process, new at every start.
    pub replica_id: ReplicaId,
    /// The configuration.
    pub options: Options,
    /// What turns do, as spans.
    pub recorder: Recorder,
    streams: Streams,
    hub: Hub,
    standing: watch::Receiver<Option<ReplicaId>>,
    worker: Mutex<Option<(Worker, Recording, Namer)>>,
    quic: OnceLock<Daemons>,
    _lock: File,
}

/// What is known once daemons can connect.
struct Daemons {
    address: SocketAddr,
    join_tokens: JoinTokens,
    /// As others are told.
    addresses: ReplicaAddresses,
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

/// Linux's number for an address family that is switched off; `ErrorKind` has no name for it.
const EAFNOSUPPORT: i32 = 97;

/// Why the server did not start. The message completes "could not start: …".
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made or used.
    #[error("the data directory {path} cannot be used: {source}; pass another one with --data-dir")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another server uses the data directory.
    #[error("another controlplane uses {path}; stop it, or pass another --data-dir")]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// The database was not opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// Daemons cannot be served.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] CaError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// `http` or `quic`.
        what: &'static str,
        /// Why, and what to do.
        reason: String,
        /// The kind of failure.
        kind: io::ErrorKind,
    },
    /// A service failed while it was built.
    #[error("{what}: {source}")]
    Service {
        /// Which service.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    /// An address that cannot be listened on, with what to do about it.
    #[must_use]
    pub fn listen(what: &'static str, address: SocketAddr, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("the port is in use; stop the other program or pass another --{what}")
            }
            io::ErrorKind::PermissionDenied => {
                "ports under 1024 need a right; pass a higher one".to_owned()
            }
            io::ErrorKind::AddrNotAvailable if address.is_ipv6() => {
                "this machine has no such address; if IPv6 is off, pass an IPv4 one".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ if error.raw_os_error() == Some(EAFNOSUPPORT) => {
                "IPv6 is off on this machine; pass an IPv4 address".to_owned()
            }
            _ => error.to_string(),
        };
        Self::Listen { address, what, reason, kind: error.kind() }
    }

    /// A service that failed while it was built.
    pub fn service(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Service { what, source: source.into() }
    }
}

/// What the outside decides.
pub struct Surroundings {
    /// Starts and ends tasks.
    pub lifecycle: Lifecycle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn IdSource>,
}

impl App {
    /// Builds every service. Nothing listens yet and no chat is driven; see [`crate::serve`].
    ///
    /// # Errors
    ///
    /// The first service that cannot be built.
    pub async fn build(
        options: Options,
        around: Surroundings,
        address: SocketAddr,
        demo: bool,
        lock: File,
    ) -> Result<Self, StartError> {
        let Surroundings { lifecycle, clock, ids } = around;
        let url = database_url(&options);
        // A key that cannot be used is found before the database is touched.
        let key_file = master_key_file(&options);
        if key_file.exists() {
            SecretBox::open(&key_file)?;
        }
        let store = Store::open(&url, Arc::clone(&clock), Arc::clone(&ids)).await?;
        store.chats.limit_running(options.running);
        let secrets = SecretBox::open_or_create(&key_file)?;
        let fleet = Fleet::new(Arc::clone(&clock), Arc::clone(&ids));
        let client = LlmClient::new(Arc::clone(&clock))
            .map_err(|error| StartError::service("the model client", error))?;
        let registry = Registry::new(client);
        let models = StoredModels::new(
            store.models.clone(),
            store.providers.clone(),
            store.settings.clone(),
            secrets.clone(),
            registry.clone(),
        );
        let catalogue = Arc::new(Catalogue::new());
        let tools = WorkspaceTools::new(catalogue, fleet.clone(), Arc::clone(&ids));
        let engine = Engine::new(EngineParts {
            store: store.clone(),
            models: Arc::new(models),
            tools: Arc::new(StoredResults::new(Arc::new(tools), store.chats.clone())),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            seed: u64::from_le_bytes(seed()?),
            lease: options.replica_lease,
            lifecycle: lifecycle.clone(),
        });
        Ok(Self(Arc::new(Services {
            http: HttpState::new(options.http.clone(), address, lifecycle.clone(), demo),
            attachments: Attachments::new(&store),
            store,
            secrets,
            fleet,
            chats: engine.chats,
            lists: engine.lists,
            hints: engine.hints,
            registry,
            lifecycle,
            clock,
            replica_id: ids.id(),
            ids,
            options,
            recorder: engine.recorder,
            streams: engine.streams,
            hub: engine.hub,
            standing: engine.worker.standing(),
            worker: Mutex::new(Some((engine.worker, engine.recording, engine.namer))),
            quic: OnceLock::new(),
            _lock: lock,
        })))
    }

    /// How long a log-in lasts.
    #[must_use]
    pub fn session_lifetime_ms(&self) -> i64 {
        i64::try_from(self.options.session_lifetime.as_millis()).unwrap_or(i64::MAX / 4)
    }

    /// Where daemons connect; none: the listener is not up.
    #[must_use]
    pub fn quic_address(&self) -> Option<SocketAddr> {
        self.quic.get().map(|daemons| daemons.address)
    }

    /// Makes join tokens; none: the listener is not up.
    #[must_use]
    pub fn join_tokens(&self) -> Option<&JoinTokens> {
        self.quic.get().map(|daemons| &daemons.join_tokens)
    }

    /// Opens the listener for daemons and hands it to the lifecycle.
    ///
    /// # Errors
    ///
    /// When the address cannot be had, or the deployment's authority cannot be opened.
    pub async fn listen_for_daemons(&self) -> Result<(), StartError> {
        let now_ms = self.clock.now_ms();
        let ca = CertificateAuthority::open_or_create(&self.store.settings, &self.secrets, now_ms)
            .await?;
        let (pin, ca) = (ca.pin(), Arc::new(ca));
        let wanted = self.options.quic_listen;
        let refuse = |error: io::Error| StartError::listen("quic", wanted, &error);
        let socket = Listener::socket(wanted).map_err(refuse)?;
        let address = socket.local_addr().map_err(refuse)?;
        let addresses = crate::addresses::of(&self.options, address);
        let peers = Peers::new(
            Arc::clone(&ca),
            Arc::clone(&self.clock),
            self.standing.clone(),
            addresses.daemons.clone(),
        );
        self.fleet.share_through(self.directory(peers.clone()));
        let parts = ListenerParts {
            lifecycle: self.lifecycle.clone(),
            clock: Arc::clone(&self.clock),
            store: self.store.clone(),
            ca,
            fleet: self.fleet.clone(),
            replica_id: self.replica_id,
            door: self.store.wakes.has_others().then(|| self.door(peers.clone())),
        };
        let listener = Listener::over(socket, ListenerOptions::at(wanted), parts).map_err(
            |error| match error {
                ListenError::Socket { source, .. } => StartError::listen("quic", wanted, &source),
                error => StartError::service("the listener for daemons", error),
            },
        )?;
        let (store, clock) = (self.store.join_tokens.clone(), Arc::clone(&self.clock));
        let join_tokens = JoinTokens::new(store, clock, pin, address.port());
        let _ = self.quic.set(Daemons { address, join_tokens, addresses });
        if self.store.wakes.has_others() {
            self.join_others(peers);
        }
        self.lifecycle.spawn_vital("fleet.listener", listener.run());
        Ok(())
    }

    /// Everything that only a deployment of several replicas has.
    fn join_others(&self, peers: Peers) {
        let (lifecycle, hints) = (&self.lifecycle, self.hints.clone());
        self.streams.relay_through(Arc::new(PreviewRelays::new(
            peers.clone(),
            self.store.chats.clone(),
            self.hub.clone(),
            hints.clone(),
            lifecycle.clone(),
        )));
        let (name, wakes) = (self.replica_id.to_string(), self.store.wakes.clone());
        let telling =
            telling::tell_others(hints.outbox(), wakes.clone(), name.clone(), lifecycle.hard());
        lifecycle.spawn_serving("hints to others", telling);
        let hearing =
            telling::hear_others(hints, wakes, name, self.standing.clone(), lifecycle.soft());
        lifecycle.spawn_serving("hints of others", hearing);
        let directory = self.directory(peers);
        lifecycle.spawn_serving("directory", directory.run(self.fleet.clone(), lifecycle.clone()));
    }

    fn directory(&self, peers: Peers) -> Directory {
        Directory::new(DirectoryParts {
            links: self.store.links.clone(),
            replicas: self.store.replicas.clone(),
            peers,
            hints: self.hints.clone(),
            clock: Arc::clone(&self.clock),
            lease: self.options.replica_lease,
        })
    }

    fn door(&self, peers: Peers) -> Door {
        Door {
            peers,
            replicas: self.store.replicas.clone(),
            fleet: self.fleet.clone(),
            hub: self.hub.clone(),
            lifecycle: self.lifecycle.clone(),
        }
    }

    /// Hands the chats' worker to the lifecycle. Once; a second call changes nothing.
    pub fn drive_chats(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((worker, recording, namer)) = worker {
            let addresses = self.quic.get().map(|daemons| daemons.addresses.clone());
            let worker = worker.reached_at(addresses.unwrap_or_default());
            let hard = self.lifecycle.hard();
            self.lifecycle.spawn_serving("traces", recording.run(hard));
            self.lifecycle.spawn_serving("names", namer.run(self.lifecycle.soft()));
            self.lifecycle.spawn_vital("chat worker", worker.run(self.lifecycle.soft()));
        }
    }

    /// Tells the lists what changes in the fleet, until the soft stop.
    pub async fn tell_lists_of_the_fleet(self) {
        let soft = self.lifecycle.soft();
        let mut changes = self.fleet.changes();
        let mut told = *changes.borrow_and_update();
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let now = *changes.borrow_and_update();
            for workspace in self.fleet.changed_since(told) {
                self.hints.workspace_changed(workspace);
            }
            told = now;
        }
    }

    /// Remembers the addresses for the commands that work beside this server.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remember_addresses(&self) -> Result<(), StartError> {
        let failed = |error| StartError::service("the database", Box::new(error));
        let url = self.http.url();
        self.store.settings.set(HTTP_URL_SETTING, url.as_bytes()).await.map_err(failed)?;
        if let Some(address) = self.quic_address() {
            let port = address.port().to_string();
            self.store.settings.set(QUIC_PORT_SETTING, port.as_bytes()).await.map_err(failed)?;
        }
        Ok(())
    }

    /// What the lists show of a workspace may have changed.
    pub fn workspace_changed(&self, id: WorkspaceId) {
        self.hints.workspace_changed(id);
    }
}

/// For the jitter of retries.
fn seed() -> Result<[u8; 8], StartError> {
    let mut seed = [0; 8];
    let filled = rand::rngs::SysRng.try_fill_bytes(&mut seed);
    filled.map_err(|error| StartError::service("the system's randomness", error))?;
    Ok(seed)
}

/// Which database the configuration names: the one named, or SQLite in the data directory.
#[must_use]
pub fn database_url(options: &Options) -> DatabaseUrl {
    let in_data_dir = || DatabaseUrl::Sqlite(options.data_dir.join("holdfast.db"));
    options.database_url.clone().unwrap_or_else(in_data_dir)
}

/// Where the key that seals secrets is.
#[must_use]
pub fn master_key_file(options: &Options) -> PathBuf {
    options.master_key_file.clone().unwrap_or_else(|| options.data_dir.join("master.key"))
}

/// Makes the data directory, for its owner alone.
///
/// # Errors
///
/// When it cannot be made, or is no directory.
pub fn prepare_data_dir(path: &Path) -> Result<(), StartError> {
    let refuse = |source| StartError::DataDir { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => Err(refuse(io::ErrorKind::NotADirectory.into())),
        Ok(meta) => {
            // It holds keys: whoever made it, others have no business in it.
            let mode = meta.permissions().mode();
            if mode & 0o077 == 0 {
                return Ok(());
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).map_err(refuse)
        }
        Err(_) => fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refuse),
    }
}

/// Makes the data directory and takes it for this program alone; the kernel gives it back however we
/// end.
///
/// # Errors
///
/// When it cannot be made, or another server has it.
pub fn lock_data_dir(data_dir: &Path) -> Result<File, StartError> {
    prepare_data_dir(data_dir)?;
    let refuse = |source| StartError::DataDir { path: data_dir.to_owned(), source };
    let file = File::create(data_dir.join("lock")).map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked { path: data_dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(refuse(source)),
    }
}
