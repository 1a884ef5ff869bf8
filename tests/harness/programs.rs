//! The two real programs: started in a temporary home, killed by pid, started again.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shared::protocol::join_token::JoinToken;
use tokio::sync::{mpsc, oneshot};

use crate::api::{Api, Socket};
use crate::ports;

/// Lines of a daemon that may wait for a test to read them.
const HEARD_MAX: usize = 256;

/// Where the programs lie and how they are started.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Folder of the binaries; none: beside the test's own.
    pub bins: Option<PathBuf>,
    /// A Postgres database; none: SQLite in the home.
    pub database_url: Option<String>,
    /// Environment of the control plane.
    pub server_env: Vec<(String, String)>,
    /// Environment of the daemon.
    pub daemon_env: Vec<(String, String)>,
}

/// A control plane and a daemon with their state.
pub struct Programs {
    /// How they are started; may be changed before a restart.
    pub setting: Setting,
    home: tempfile::TempDir,
    server: Option<Child>,
    daemon: Option<Child>,
    http: String,
    quic: String,
    /// The administrator's client.
    pub api: Api,
    /// The joined workspace; empty before [`join`](Self::join).
    pub workspace_id: String,
    /// From start to the ready line, of the last start.
    pub server_ready: Duration,
    /// From start to the workspace shown as connected, of the last start.
    pub daemon_ready: Duration,
}

impl Programs {
    /// Starts a control plane and sets it up.
    pub async fn start(setting: Setting) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut programs = Self {
            setting,
            home,
            server: None,
            daemon: None,
            http: format!("127.0.0.1:{}", ports::lasting()?),
            quic: format!("127.0.0.1:{}", ports::lasting()?),
            api: Api::new("", "")?,
            workspace_id: String::new(),
            server_ready: Duration::ZERO,
            daemon_ready: Duration::ZERO,
        };
        let ready = programs.start_server()?;
        let setup_url =
            ready["setup_url"].as_str().with_context(|| format!("no setup_url in {ready}"))?;
        programs.api = Api::set_up(&format!("http://{}", programs.http), setup_url).await?;
        Ok(programs)
    }

    /// Folder in which the workspace's files lie.
    pub fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    /// The temporary home of both programs.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Starts the control plane again, at the addresses it had; its ready line. Blocks until then.
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    pub fn start_server(&mut self) -> Result<Value> {
        let start = Instant::now();
        let mut lines = self.spawn_server()?;
        let ready = lines.by_ref().map_while(Result::ok).find_map(|line| ready_of(&line));
        let ready = ready.with_context(|| self.not_ready())?;
        self.server_ready = start.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        let address = |name: &str| -> Result<String> {
            let text = ready[name].as_str().with_context(|| format!("no {name} in {ready}"))?;
            Ok(text.trim_start_matches("http://").trim_end_matches('/').to_owned())
        };
        self.http = address("http")?;
        self.quic = address("quic")?;
        // Connections to an earlier one lie in the pool of its client.
        self.api = self.api.anew()?;
        Ok(ready)
    }

    /// Starts the control plane again and does not wait: it may be held or killed before it is ready.
    /// Resolves when it is, or fails when it has ended before.
    pub fn start_server_unwatched(&mut self) -> Result<oneshot::Receiver<()>> {
        let mut lines = self.spawn_server()?;
        self.api = self.api.anew()?;
        let (tell, ready) = oneshot::channel();
        std::thread::spawn(move || {
            let lines = &mut lines;
            if lines.map_while(Result::ok).any(|line| ready_of(&line).is_some()) {
                let _ = tell.send(()); // nobody may wait any more
            }
            lines.for_each(drop);
        });
        Ok(ready)
    }

    /// Why the control plane is not ready, where it has ended.
    pub fn not_ready(&self) -> String {
        format!("the control plane ended before it was ready: {}", self.logged("server.log"))
    }

    fn spawn_server(&mut self) -> Result<Lines<BufReader<ChildStdout>>> {
        let mut command = Command::new(self.bin("controlplane")?);
        command
            .args([
                "serve",
                "--log-format",
                "json",
                "--http",
                &self.http,
                "--quic",
                &self.quic,
                "--data-dir",
            ])
            .arg(self.home.path().join("server"))
            .envs(self.setting.server_env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.log("server.log")?);
        if let Some(url) = &self.setting.database_url {
            command.args(["--database-url", url]);
        }
        let mut server = command.spawn()?;
        let output = server.stdout.take().context("its output is piped")?;
        self.server = Some(server);
        Ok(BufReader::new(output).lines())
    }

    /// Where the control plane is reached.
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Where the control plane listens for daemons.
    pub fn quic(&self) -> &str {
        &self.quic
    }

    /// Makes a workspace, enrols the daemon and waits until it is shown as connected.
    pub async fn join(&mut self) -> Result<()> {
        self.join_through(None).await
    }

    /// The same, with the link through a relay on another port.
    pub async fn join_through(&mut self, port: Option<u16>) -> Result<()> {
        let workspace = self.api.post("/workspaces", &json!({"name": "tests"})).await?;
        self.workspace_id = workspace["id"].as_str().context("no workspace id")?.to_owned();
        let path = format!("/workspaces/{}/join-tokens", self.workspace_id);
        let token = self.api.post(&path, &json!({})).await?;
        let mut token: JoinToken = token["token"].as_str().context("no join token")?.parse()?;
        token.port = port.unwrap_or(token.port);
        let token = token.to_string();
        std::fs::create_dir_all(self.root())?;
        let mut join = self.agentd()?;
        join.args(["join", &format!("http://{}", self.http), "--token", &token, "--root"])
            .arg(self.root());
        self.run_daemon(join).await
    }

    /// Starts the enrolled daemon again and waits until it is shown as connected.
    pub async fn start_daemon(&mut self) -> Result<()> {
        let mut run = self.agentd()?;
        run.arg("run");
        self.run_daemon(run).await
    }

    /// Starts the enrolled daemon again and does not wait.
    pub fn start_daemon_unwatched(&mut self) -> Result<()> {
        let mut run = self.agentd()?;
        run.arg("run").arg("--state-dir").arg(self.home.path().join("agentd"));
        self.daemon = Some(run.spawn()?);
        Ok(())
    }

    /// Starts the enrolled daemon again, does not wait, and tells what it says from now on, line by line.
    pub fn start_daemon_heard(&mut self) -> Result<mpsc::Receiver<String>> {
        let mut run = self.agentd()?;
        run.arg("run").arg("--state-dir").arg(self.home.path().join("agentd"));
        let mut daemon = run.stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(daemon.stderr.take().context("its messages are piped")?).lines();
        self.daemon = Some(daemon);
        let (said, heard) = mpsc::channel(HEARD_MAX);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = said.try_send(line); // nobody may listen any more
            }
        });
        Ok(heard)
    }

    fn agentd(&self) -> Result<Command> {
        let mut command = Command::new(self.bin("agentd")?);
        command
            .envs(self.setting.daemon_env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log("agentd.log")?);
        Ok(command)
    }

    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    async fn run_daemon(&mut self, mut command: Command) -> Result<()> {
        let mut events = self.events().await?;
        let start = Instant::now();
        self.daemon =
            Some(command.arg("--state-dir").arg(self.home.path().join("agentd")).spawn()?);
        let id = self.workspace_id.clone();
        events
            .until(|event| {
                event["workspace"]["id"] == id.as_str()
                    && event["workspace"]["status"] == "connected"
            })
            .await
            .with_context(|| {
                format!("the daemon did not connect: {}", self.logged("agentd.log"))
            })?;
        self.daemon_ready = start.elapsed();
        Ok(())
    }

    /// Resolves when the control plane has ended, however. It is not reaped: see
    /// [`kill_server`](Self::kill_server).
    pub fn server_end(&self) -> Result<oneshot::Receiver<()>> {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.server_pid()?)?);
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
            let _ = ended.send(()); // nobody may wait any more
        });
        Ok(end)
    }

    /// SIGTERM, and no more.
    pub fn ask_server_to_stop(&self) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.server_pid()?)?);
        Ok(nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?)
    }

    /// SIGKILL, then reaps; also one that has ended by itself.
    pub fn kill_server(&mut self) -> Result<()> {
        let mut server = self.server.take().context("no control plane runs")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }

    /// SIGKILL, then reaps.
    pub fn kill_daemon(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon runs")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// SIGKILL for every keeper of the daemon; how many there were. They are known by the record
    /// that each holds open in the daemon's state directory.
    pub fn kill_keepers(&self) -> Result<usize> {
        let keepers = self.home.path().join("agentd/processes/keepers");
        let mut killed = 0;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let is_keeper = std::fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|name| name.trim_end() == "agentd-keeper");
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let holds_record = |fd: std::fs::DirEntry| {
                std::fs::read_link(fd.path()).is_ok_and(|file| file.starts_with(&keepers))
            };
            let mut fds =
                std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            if is_keeper && fds.any(holds_record) {
                let pid = nix::unistd::Pid::from_raw(pid);
                // One that has just left is gone as well.
                killed += usize::from(
                    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).is_ok(),
                );
            }
        }
        Ok(killed)
    }

    /// SIGTERM, then waits for the end.
    pub fn stop_server(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), terminate)
    }

    /// SIGTERM, then waits for the end, and until the workspace is shown as unreachable.
    pub async fn stop_daemon(&mut self) -> Result<()> {
        let mut events = self.events().await?;
        self.daemon.take().map_or(Ok(()), terminate)?;
        events.until(|event| event["workspace"]["status"] == "unreachable").await?;
        Ok(())
    }

    /// What is told from now on: without waiting for `ready`, a daemon that ends at once would be
    /// gone before anybody listened.
    async fn events(&self) -> Result<Socket> {
        let mut events = self.api.socket("/events").await?;
        events.until(|event| event["type"] == "ready").await?;
        Ok(events)
    }

    /// The running control plane's pid.
    pub fn server_pid(&self) -> Result<u32> {
        Ok(self.server.as_ref().context("no control plane runs")?.id())
    }

    /// The running daemon's pid.
    pub fn daemon_pid(&self) -> Result<u32> {
        Ok(self.daemon.as_ref().context("no daemon runs")?.id())
    }

    /// A provider and a model at a Chat Completions base URL; the model's id.
    pub async fn model(&self, kind: &str, base_url: &str) -> Result<String> {
        let provider = json!({"kind": kind, "name": format!("{kind} {base_url}"), "base_url": base_url, "api_key": "none"});
        let provider = self.api.post("/providers", &provider).await?;
        let model = json!({
            "provider_id": provider["id"], "model": "test", "display_name": "test", "context_limit": 200_000, "default": true,
        });
        let model = self.api.post("/models", &model).await?;
        Ok(model["id"].as_str().with_context(|| format!("no model id in {model}"))?.to_owned())
    }

    /// The program's file.
    pub fn bin(&self, name: &str) -> Result<PathBuf> {
        let folder = match &self.setting.bins {
            Some(folder) => folder.clone(),
            None => bin_dir()?,
        };
        let path = folder.join(name);
        ensure!(path.exists(), "{} is not built: cargo build --bins", path.display());
        Ok(path)
    }

    fn log(&self, name: &str) -> Result<std::fs::File> {
        Ok(std::fs::File::options().create(true).append(true).open(self.home.path().join(name))?)
    }

    /// The end of a program's log, for messages.
    pub fn logged(&self, name: &str) -> String {
        end_of_log(&self.home.path().join(name))
    }

    /// The ends of both programs' logs at the time of the call.
    pub fn logs(&self) -> impl Fn() -> String + Send + Sync + use<> {
        let home = self.home.path().to_owned();
        move || ["server.log", "agentd.log"].map(|name| end_of_log(&home.join(name))).join("\n")
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for mut child in self.daemon.take().into_iter().chain(self.server.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn end_of_log(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Folder of the binaries that cargo built beside this test or benchmark.
pub fn bin_dir() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program lies in a folder")?;
    Ok(if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}

/// Ends a child politely and reaps it.
pub fn terminate(mut child: Child) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    child.wait()?;
    Ok(())
}

/// Resident memory of a process, in MiB.
pub fn rss_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// CPU time that the threads of a process have used so far, in milliseconds.
pub fn cpu_ms(pid: u32) -> Result<f64> {
    let mut ns = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        let line = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        ns += line.split_whitespace().next().unwrap_or("0").parse::<f64>()?;
    }
    Ok(ns / 1e6)
}

/// What the control plane says of itself when it is ready; none: another line.
fn ready_of(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(|value: &Value| value["event"] == "ready")
}
