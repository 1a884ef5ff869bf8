//! A control plane's fleet in this process and a real daemon: what the link alone costs.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use controlplane::fleet::{
    CertificateAuthority, Deadline, Fleet, JoinTokens, Listener, ListenerOptions, ListenerParts,
    Operation, WorkspaceLink,
};
use controlplane::secrets::SecretBox;
use controlplane::store::{DatabaseUrl, NewWorkspace, Store};
use shared::clock::{Clock, SystemClock};
use shared::ids::{IdSource, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::process::{
    GetProcess, ProcessState, Program, StartProcess, Stdin, WaitProcess,
};
use tests::programs::bin_dir;

/// The link to one daemon.
pub struct Linked {
    link: WorkspaceLink,
    ids: Arc<dyn IdSource>,
    daemon: Child,
    _home: tempfile::TempDir,
}

impl Linked {
    /// Starts a daemon and waits until it is connected.
    pub async fn start() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = DatabaseUrl::Sqlite(home.path().join("holdfast.db"));
        let store = Store::open(&url, Arc::clone(&clock), Arc::clone(&ids)).await?;
        let secrets = SecretBox::open_or_create(&home.path().join("master.key"))?;
        let now_ms = clock.now_ms();
        let ca = CertificateAuthority::open_or_create(&store.settings, &secrets, now_ms).await?;
        let (pin, ca) = (ca.pin(), Arc::new(ca));
        let fleet = Fleet::new(Arc::clone(&clock), Arc::clone(&ids));
        let lifecycle = Lifecycle::new();
        let parts = ListenerParts {
            lifecycle: lifecycle.clone(),
            clock: Arc::clone(&clock),
            store: store.clone(),
            ca,
            fleet: fleet.clone(),
            replica_id: ids.id(),
        };
        let listener = Listener::bind(ListenerOptions::at("127.0.0.1:0".parse()?), parts)?;
        let port = listener.address()?.port();
        lifecycle.spawn_serving("listener", listener.run());

        let new = NewWorkspace { name: "bench".to_owned(), labels: Default::default() };
        let workspace = store.workspaces.create(&new).await?;
        let tokens = JoinTokens::new(store.join_tokens.clone(), clock, pin, port);
        let token = tokens.issue(workspace.id, None).await?.token;
        let root = home.path().join("root");
        std::fs::create_dir(&root)?;
        // The host of the address is all that counts here; the token names the port.
        let daemon = Command::new(bin_dir()?.join("agentd"))
            .args(["join", "http://127.0.0.1:9", "--token", &token, "--root"])
            .arg(root)
            .arg("--state-dir")
            .arg(home.path().join("agentd"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let link = fleet.workspace(workspace.id);
        let linked = Self { link, ids, daemon, _home: home };
        let connected = tokio::time::timeout(tests::api::PATIENCE, linked.link.connected()).await;
        connected.context("the daemon did not connect")?;
        Ok(linked)
    }

    /// One question that the daemon answers from memory: a round trip.
    pub async fn ask(&self) -> Result<()> {
        let request = GetProcess { process_id: self.ids.id() };
        let answer = self.link.read(&request, Deadline::NONE).await;
        anyhow::ensure!(answer.is_err(), "there is no such process");
        Ok(())
    }

    /// Starts a program and waits until it has ended, on record.
    pub async fn run_to_end(&self, program: &str) -> Result<()> {
        let process_id = self.ids.id();
        let request = StartProcess {
            process_id,
            program: Program::Argv { argv: vec![program.to_owned()] },
            cwd: None,
            env: Default::default(),
            stdin: Stdin::Closed,
            chat_id: None,
            output_kept_bytes: None,
        };
        let op_id = self.ids.id();
        let fence = Fence { scope: "bench".to_owned(), epoch: 1, hash: "00".to_owned() };
        self.link.operate(&Operation::new(op_id, fence), &request).await?;
        let wait = WaitProcess { process_id, timeout_ms: 60_000 };
        let process = self.link.read(&wait, Deadline::NONE).await?;
        anyhow::ensure!(
            matches!(process.state, ProcessState::Exited { .. }),
            "it has not ended: {process:?}"
        );
        self.link.acknowledge(vec![op_id]);
        Ok(())
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
