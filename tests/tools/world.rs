//! A daemon with its real services, the fleet's link to it in memory, and the tools on top.

use std::path::Path;
use std::sync::{Arc, Mutex};

use agentd::daemon::{Daemon, DaemonParts};
use agentd::process::{Environment, KeeperProgram};
use agentd::state_dir::StateDir;
use controlplane::fleet::{Attachment, Fleet, NewLink, WorkspaceLink};
use controlplane::tools::{
    Catalogue, LiveOutput, OperationKey, ToolContext, ToolError, ToolOutcome,
};
use serde_json::Value;
use shared::clock::{Clock, SystemClock};
use shared::ids::{ChatId, IdSource, SystemIds, WorkspaceId};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::hello::Hello;
use shared::testing::link::{TestLink, TestStreams};
use tests::programs::bin_dir;
use tokio_util::sync::CancellationToken;

/// One workspace and one chat in it.
pub struct World {
    pub link: Arc<TestLink>,
    root: tempfile::TempDir,
    catalogue: Catalogue,
    ids: Arc<dyn IdSource>,
    fleet: Fleet,
    workspace: WorkspaceId,
    chat: ChatId,
    _daemon: Daemon,
    _state: tempfile::TempDir,
    _attachment: Attachment,
}

impl World {
    pub async fn new() -> Self {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let lifecycle = Lifecycle::new();
        let parts = DaemonParts {
            lifecycle: lifecycle.clone(),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            environment: Environment::read(),
            keepers: KeeperProgram::at(bin_dir().unwrap().join("agentd")),
        };
        let layout = StateDir::open(state.path()).unwrap();
        let daemon = Daemon::open(layout.layout(), root.path(), parts).await.unwrap();
        let fleet = Fleet::new(clock, Arc::clone(&ids));
        let link = TestLink::new(&lifecycle, Arc::new(daemon.dispatch.clone()), 1);
        let workspace = ids.id();
        let streams = Arc::new(TestStreams(Arc::clone(&link)));
        let hello = hello(&*ids, root.path());
        let attachment =
            fleet.attach(NewLink { workspace_id: workspace, epoch: 1, hello, streams }).unwrap();
        Self {
            link,
            root,
            catalogue: Catalogue::new(),
            chat: ids.id(),
            ids,
            fleet,
            workspace,
            _daemon: daemon,
            _state: state,
            _attachment: attachment,
        }
    }

    /// The workspace's root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A context with an operation of its own, and what is shown while the tool runs.
    pub fn context(&self) -> (ToolContext<WorkspaceLink>, Arc<Mutex<String>>) {
        let shown = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&shown);
        let context = ToolContext {
            workspace: Some(self.fleet.workspace(self.workspace)),
            operation: OperationKey {
                op_id: self.ids.id(),
                fence: Fence { scope: self.chat.to_string(), epoch: 1, hash: "00".to_owned() },
                process_id: self.ids.id(),
                read_only: false,
            },
            chat_id: self.chat,
            mode: "auto".to_owned(),
            live: LiveOutput::new(move |text| sink.lock().unwrap().push_str(text)),
            cancel: CancellationToken::new(),
        };
        (context, shown)
    }

    /// Runs a tool as a new operation.
    pub async fn run(&self, tool: &str, args: &Value) -> ToolOutcome {
        self.ask(&self.context().0, tool, args).await.unwrap()
    }

    /// Runs a tool once as the operation of `context`.
    pub async fn ask(
        &self,
        context: &ToolContext<WorkspaceLink>,
        tool: &str,
        args: &Value,
    ) -> Result<ToolOutcome, ToolError> {
        self.catalogue.run(context.clone(), tool, args).await
    }
}

fn hello(ids: &dyn IdSource, root: &Path) -> Hello {
    Hello {
        minor_min: 0,
        minor_max: 0,
        version: "0.1.0".to_owned(),
        instance_id: ids.id(),
        features: Vec::new(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        hostname: "box".to_owned(),
        root: root.display().to_string(),
        now_ms: 0,
    }
}
