//! Who starts the daemon again: the test by hand, or systemd.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tests::fleet::{FleetWorld, Remote};
use tests::programs::{bin_dir, terminate};

use crate::scene::{Scene, UNIT};

/// A daemon, and what brings it back.
pub enum Host {
    ByHand(Box<ByHand>),
    Systemd(Box<Scene>),
}

/// A child of the test.
pub struct ByHand {
    folder: tempfile::TempDir,
    remote: Remote,
    child: Option<Child>,
    /// Version that new keepers say they are.
    version: u16,
    /// Where it runs, if not where the test runs.
    mounts: Option<Mounts>,
    _world: FleetWorld,
}

/// What a killed daemon's host has to do next.
pub struct Killed {
    at: tokio::time::Instant,
}

impl Host {
    pub async fn by_hand() -> Result<Self> {
        Ok(Self::ByHand(Box::new(ByHand::start().await?)))
    }

    /// None, with a line that says why, where there can be no systemd.
    pub async fn systemd() -> Result<Option<Self>> {
        let Some(scene) = Scene::open().await? else { return Ok(None) };
        // As packaged, but for a start limit that fifty kills in a minute would meet.
        scene.unit("RestartSec=100ms\n[Unit]\nStartLimitBurst=1000")?;
        scene.start().await?;
        Ok(Some(Self::Systemd(Box::new(scene))))
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::ByHand(_) => "by hand",
            Self::Systemd(_) => "under systemd",
        }
    }

    pub const fn remote(&self) -> &Remote {
        match self {
            Self::ByHand(host) => &host.remote,
            Self::Systemd(scene) => &scene.remote,
        }
    }

    pub fn root(&self) -> PathBuf {
        match self {
            Self::ByHand(host) => host.folder.path().join("root"),
            Self::Systemd(scene) => scene.root(),
        }
    }

    /// SIGKILL. By hand nothing starts it again before [`back`](Self::back).
    pub fn kill(&mut self) -> Result<Killed> {
        match self {
            Self::ByHand(host) => {
                host.kill()?;
            }
            Self::Systemd(scene) => {
                let pid = Pid::from_raw(i32::try_from(scene.main_pid()?)?);
                nix::sys::signal::kill(pid, Signal::SIGKILL)?;
            }
        }
        Ok(Killed { at: tokio::time::Instant::now() })
    }

    /// Lets it come back; the moment from which on it is expected.
    pub fn back(&mut self, killed: Killed) -> Result<tokio::time::Instant> {
        match self {
            Self::ByHand(host) => {
                let now = tokio::time::Instant::now();
                host.spawn()?;
                Ok(now)
            }
            Self::Systemd(_) => Ok(killed.at),
        }
    }

    /// An upgrade: `program` in the binary's place, then an orderly restart. Keepers that it makes
    /// say that they are of `version`. The moment at which the old daemon was asked to end.
    pub fn swap(&mut self, program: &Path, version: u16) -> Result<tokio::time::Instant> {
        let now;
        match self {
            Self::ByHand(host) => {
                let bin = host.folder.path().join("bin");
                std::fs::copy(program, bin.join("agentd.new"))?;
                std::fs::rename(bin.join("agentd.new"), bin.join("agentd"))?;
                host.version = version;
                now = tokio::time::Instant::now();
                terminate(host.child.take().context("a daemon runs")?)?;
                host.spawn()?;
            }
            Self::Systemd(scene) => {
                scene.install(program)?;
                scene.unit(&format!(
                    "RestartSec=100ms\nEnvironment=HOLDFAST_KEEPER_VERSION={version}\n\
                     [Unit]\nStartLimitBurst=1000"
                ))?;
                now = tokio::time::Instant::now();
                scene.systemd.must(&["restart", UNIT])?;
            }
        }
        Ok(now)
    }
}

impl ByHand {
    /// An enrolled daemon that is connected.
    pub async fn start() -> Result<Self> {
        let mut host = Self::enrolled().await?;
        host.spawn()?;
        host.remote.another(None).await?;
        Ok(host)
    }

    /// One that lives where `script` has mounted what it wants, as root in a mount namespace of its
    /// own; `$1` is the folder. None, with a line that says why, where that cannot be had.
    pub async fn start_in(script: &str) -> Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: mounts need root");
            return Ok(None);
        }
        let mut host = Self::enrolled().await?;
        host.mounts = Some(Mounts::make(script, host.folder.path())?);
        host.spawn()?;
        host.remote.another(None).await?;
        Ok(Some(host))
    }

    async fn enrolled() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let world = FleetWorld::start().await?;
        for dir in ["bin", "root"] {
            std::fs::create_dir(folder.path().join(dir))?;
        }
        let root = std::fs::canonicalize(folder.path().join("root"))?;
        let remote = world.enrol(&folder.path().join("state"), &root).await?;
        std::fs::copy(bin_dir()?.join("agentd"), folder.path().join("bin/agentd"))?;
        Ok(Self { folder, remote, child: None, version: 1, mounts: None, _world: world })
    }

    pub const fn remote(&self) -> &Remote {
        &self.remote
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The running daemon's pid.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("a daemon runs")?.id())
    }

    /// Runs a shell script where the daemon lives, in its folder; what it prints.
    pub fn sh(&self, script: &str) -> Result<String> {
        let mut command = match &self.mounts {
            Some(mounts) => mounts.inside("sh"),
            None => Command::new("sh"),
        };
        let script = format!("cd '{}' && {{ {script}; }}", self.folder.path().display());
        let output = command.args(["-c", &script]).stdin(Stdio::null()).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{script}: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// SIGKILL, and reaped.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("a daemon runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The daemon of the moment is one that the test has started itself.
    pub fn adopt(&mut self, child: Child) {
        self.child = Some(child);
    }

    /// How a daemon that ends by itself ended, and what it has said.
    pub fn ended(&mut self) -> Result<(Option<i32>, String)> {
        let status = self.child.take().context("a daemon runs")?.wait()?;
        Ok((status.code(), std::fs::read_to_string(self.folder.path().join("agentd.log"))?))
    }

    /// `agentd run` on the same state directory.
    pub fn command(&self) -> Command {
        let program = self.folder.path().join("bin/agentd");
        let mut command = match &self.mounts {
            Some(mounts) => mounts.inside(&program.to_string_lossy()),
            None => Command::new(program),
        };
        let state = match &self.mounts {
            Some(_) => self.folder.path().join("disk/state"),
            None => self.folder.path().join("state"),
        };
        command.args(["run", "--state-dir"]).arg(state).stdin(Stdio::null());
        command
    }

    /// Starts it again.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "one daemon at a time");
        let log = self.folder.path().join("agentd.log");
        let mut command = self.command();
        command
            .env("HOLDFAST_KEEPER_VERSION", self.version.to_string())
            .stdout(Stdio::null())
            .stderr(std::fs::File::options().create(true).append(true).open(log)?);
        self.child = Some(command.spawn()?);
        Ok(())
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() || std::env::var_os("HOLDFAST_TEST_SHOW_LOG").is_some() {
            let log = std::fs::read_to_string(self.folder.path().join("agentd.log"));
            println!("{}", log.unwrap_or_default());
        }
        // What a failed test left running: every keeper is named by its folder.
        let keepers = match &self.mounts {
            Some(mounts) => PathBuf::from(format!(
                "/proc/{}/root{}",
                mounts.holder.id(),
                self.folder.path().join("disk/state/processes/keepers").display()
            )),
            None => self.folder.path().join("state/processes/keepers"),
        };
        end_processes(&keepers);
    }
}

/// A mount namespace that is there for as long as this.
pub struct Mounts {
    holder: Child,
}

impl Mounts {
    fn make(script: &str, folder: &Path) -> Result<Self> {
        let whole = format!("set -e; {script}\necho ready; exec sleep infinity");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &whole, "sh"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = holder.stdout.take().context("its output is piped")?;
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "ready\n", "the mounts could not be made");
        Ok(Self { holder })
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--", program]);
        command
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// SIGKILL to everything that carries the mark of a process in `keepers`.
fn end_processes(keepers: &Path) {
    let ids: Vec<String> = std::fs::read_dir(keepers)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| format!("HOLDFAST_PROCESS_ID={}", entry.file_name().to_string_lossy()))
        .collect();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_ours =
            environ.split(|byte| *byte == 0).any(|v| ids.iter().any(|id| id.as_bytes() == v));
        if is_ours {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
