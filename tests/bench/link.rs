//! A control plane's fleet in this process and a real daemon: what the link alone costs.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use controlplane::fleet::{
    CertificateAuthority, Deadline, Fleet, JoinTokens, Listener, ListenerOptions, ListenerParts,
    Operation, PtyEvent, WorkspaceLink,
};
use controlplane::secrets::SecretBox;
use controlplane::store::{DatabaseUrl, NewWorkspace, Store};
use nix::unistd::Pid;
use shared::clock::{Clock, SystemClock};
use shared::ids::{IdSource, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::process::{
    GetProcess, ListProcesses, ProcessState, ProcessView, Program, StartProcess, Stdin,
    StopProcess, WaitProcess,
};
use shared::protocol::pty::{
    AttachFrom, AttachPty, ClosePty, OpenPty, PtySize, PtyView, WriteWish,
};
use tests::programs::bin_dir;

use crate::product::now;

/// The link to one daemon.
pub struct Linked {
    link: WorkspaceLink,
    ids: Arc<dyn IdSource>,
    daemon: Child,
    home: tempfile::TempDir,
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
            door: None,
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
        let linked = Self { link, ids, daemon, home };
        linked.connected().await?;
        Ok(linked)
    }

    /// One question that the daemon answers from memory: a round trip.
    pub async fn ask(&self) -> Result<()> {
        let request = GetProcess { process_id: self.ids.id() };
        let answer = self.link.read(&request, Deadline::NONE).await;
        anyhow::ensure!(answer.is_err(), "there is no such process");
        Ok(())
    }

    async fn connected(&self) -> Result<()> {
        let connected = tokio::time::timeout(tests::api::PATIENCE, self.link.connected()).await;
        connected.context("the daemon did not connect")?;
        Ok(())
    }

    /// Of the daemon.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Ends the daemon and starts it again. Gives how long it took from the start until it had told
    /// that `running` processes run.
    pub async fn restart(&mut self, running: usize) -> Result<Duration> {
        // In order, so that the link is known to be gone before the clock starts.
        let pid = Pid::from_raw(i32::try_from(self.daemon.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.daemon.wait()?;
        let _ = self.link.changed().wait_for(|presence| !presence.connected).await;
        let start = now();
        self.daemon = Command::new(bin_dir()?.join("agentd"))
            .args(["run", "--state-dir"])
            .arg(self.home.path().join("agentd"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.connected().await?;
        let found = self.processes().await?;
        let took = start.elapsed();
        let is_running = |view: &&ProcessView| view.state == ProcessState::Running;
        let count = found.iter().filter(is_running).count();
        anyhow::ensure!(count == running, "{count} of {running} processes run");
        Ok(took)
    }

    /// The link itself.
    pub fn link(&self) -> &WorkspaceLink {
        &self.link
    }

    /// Opens a terminal with a program.
    pub async fn open_pty(&self, argv: &[&str]) -> Result<PtyView> {
        let request = OpenPty {
            pty_id: self.ids.id(),
            program: Some(program(argv)),
            cwd: None,
            env: Default::default(),
            size: PtySize::default(),
            chat_id: None,
            output_kept_bytes: None,
        };
        Ok(self.link.operate(&self.operation(), &request).await?)
    }

    /// Closes a terminal.
    pub async fn close_pty(&self, pty: &PtyView) -> Result<()> {
        let request = ClosePty { pty_id: pty.pty_id, grace_ms: 0 };
        self.link.operate(&self.operation(), &request).await?;
        Ok(())
    }

    /// Follows a terminal to its end, as a viewer that need not see everything.
    pub async fn pty_ended(&self, pty: &PtyView) -> Result<PtyView> {
        let request = AttachPty {
            pty_id: pty.pty_id,
            viewer: "bench".to_owned(),
            from: AttachFrom::Screen { scrollback_lines: 0 },
            write: WriteWish::Never,
            size: None,
            skip_behind_bytes: Some(0),
        };
        // Both halves stay: who drops its voice detaches.
        let mut attached = self.link.attach(&request).await?;
        loop {
            if let PtyEvent::End(pty) = attached.events.next().await?.context("it ends in order")? {
                return Ok(*pty);
            }
        }
    }

    /// Every process.
    pub async fn processes(&self) -> Result<Vec<ProcessView>> {
        let list = ListProcesses { chat_id: None, limit: Some(1_000) };
        Ok(self.link.read(&list, Deadline::NONE).await?.items)
    }

    /// Starts a process that does nothing for long.
    pub async fn start_silent(&self) -> Result<ProcessView> {
        self.start_program(&["/bin/sleep", "3600"]).await
    }

    /// Stops everything that runs; how many that were.
    pub async fn end_all(&self) -> Result<usize> {
        let running = self.processes().await?;
        let running = running.iter().filter(|view| view.state == ProcessState::Running);
        let mut ended = 0;
        for view in running {
            let stop = StopProcess { process_id: view.process_id, grace_ms: 0 };
            self.link.operate(&self.operation(), &stop).await?;
            ended += 1;
        }
        Ok(ended)
    }

    fn operation(&self) -> Operation {
        let fence = Fence { scope: "bench".to_owned(), epoch: 1, hash: "00".to_owned() };
        Operation::new(self.ids.id(), fence)
    }

    async fn start_program(&self, argv: &[&str]) -> Result<ProcessView> {
        let request = StartProcess {
            process_id: self.ids.id(),
            program: program(argv),
            cwd: None,
            env: Default::default(),
            stdin: Stdin::Closed,
            chat_id: None,
            output_kept_bytes: None,
        };
        let operation = self.operation();
        let view = self.link.operate(&operation, &request).await?;
        self.link.acknowledge(vec![operation.op_id]);
        Ok(view)
    }

    /// Starts a program and waits until it has ended, on record.
    pub async fn run_to_end(&self, program: &str) -> Result<()> {
        let process_id = self.start_program(&[program]).await?.process_id;
        let wait = WaitProcess { process_id, timeout_ms: 60_000 };
        let process = self.link.read(&wait, Deadline::NONE).await?;
        anyhow::ensure!(
            matches!(process.state, ProcessState::Exited { .. }),
            "it has not ended: {process:?}"
        );
        Ok(())
    }
}

fn program(argv: &[&str]) -> Program {
    Program::Argv { argv: argv.iter().map(|text| (*text).to_owned()).collect() }
}

impl Drop for Linked {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
