//! Who starts the daemon again: the test by hand, or systemd.

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
    _world: FleetWorld,
}

/// What a killed daemon's host has to do next.
pub struct Killed {
    at: tokio::time::Instant,
}

impl Host {
    pub async fn by_hand() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let world = FleetWorld::start().await?;
        for dir in ["bin", "root"] {
            std::fs::create_dir(folder.path().join(dir))?;
        }
        let root = std::fs::canonicalize(folder.path().join("root"))?;
        let remote = world.enrol(&folder.path().join("state"), &root).await?;
        std::fs::copy(bin_dir()?.join("agentd"), folder.path().join("bin/agentd"))?;
        let mut host = ByHand { folder, remote, child: None, version: 1, _world: world };
        host.spawn()?;
        host.remote.another(None).await?;
        Ok(Self::ByHand(Box::new(host)))
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
                let mut child = host.child.take().context("a daemon runs")?;
                child.kill()?;
                child.wait()?;
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
    fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "one daemon at a time");
        let log = self.folder.path().join("agentd.log");
        let mut command = Command::new(self.folder.path().join("bin/agentd"));
        command
            .args(["run", "--state-dir"])
            .arg(self.folder.path().join("state"))
            .env("HOLDFAST_KEEPER_VERSION", self.version.to_string())
            .stdin(Stdio::null())
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
        // What a failed test left running: every keeper is named by its folder.
        end_processes(&self.folder.path().join("state/processes/keepers"));
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
