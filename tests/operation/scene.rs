//! An enrolled daemon under the packaged unit, in a systemd of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::fleet::{FleetWorld, Remote};
use tests::programs::bin_dir;
use tests::systemd::Systemd;

/// The unit under test.
pub const UNIT: &str = "agentd.service";

/// What an operator has done: the binary installed, the machine joined, the unit in its place.
pub struct Scene {
    pub systemd: Systemd,
    pub remote: Remote,
    _world: FleetWorld,
}

impl Scene {
    /// None, with a line that says why, where there can be no systemd.
    pub async fn open() -> Result<Option<Self>> {
        let systemd = match Systemd::boot()? {
            Ok(systemd) => systemd,
            Err(why) => {
                println!("skipped: {why}");
                return Ok(None);
            }
        };
        let world = FleetWorld::start().await?;
        let folder = systemd.folder();
        for dir in ["bin", "root"] {
            std::fs::create_dir(folder.join(dir))?;
        }
        let remote = world.enrol(&systemd.var_lib().join("holdfast"), &folder.join("root")).await?;
        let scene = Self { systemd, remote, _world: world };
        scene.install(&bin_dir()?.join("agentd"))?;
        scene.unit("")?;
        Ok(Some(scene))
    }

    pub fn root(&self) -> PathBuf {
        self.systemd.folder().join("root")
    }

    pub fn state(&self) -> PathBuf {
        self.systemd.var_lib().join("holdfast")
    }

    /// Puts `program` in the binary's place, as a package does: beside it, then renamed.
    pub fn install(&self, program: &Path) -> Result<()> {
        let bin = self.systemd.folder().join("bin");
        std::fs::copy(program, bin.join("agentd.new"))
            .with_context(|| format!("{} is not built: cargo build --bins", program.display()))?;
        std::fs::rename(bin.join("agentd.new"), bin.join("agentd"))?;
        Ok(())
    }

    /// The packaged unit, with the binary's place and `more` in a drop-in.
    pub fn unit(&self, more: &str) -> Result<()> {
        let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/system");
        let unit = std::fs::read_to_string(packaged.join(UNIT))?;
        let binary = self.systemd.folder().join("bin/agentd");
        let dropin = format!(
            "[Service]\nExecStart=\nExecStart={} run\nStandardError=append:{}\n{more}\n",
            binary.display(),
            self.systemd.log_file().display(),
        );
        self.write(UNIT, &unit)?;
        self.write(&format!("{UNIT}.d/test.conf"), &dropin)?;
        self.systemd.must(&["daemon-reload"])
    }

    /// Lets `fifo` in the root be written to when the unit fails for good; for the next
    /// [`unit`](Self::unit) with `OnFailure=told.service`.
    pub fn tell_failure(&self) -> Result<PathBuf> {
        let fifo = self.root().join("failed");
        ensure!(Command::new("mkfifo").arg(&fifo).status()?.success(), "no FIFO");
        let told = format!(
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n\
             ExecStart=/bin/sh -c 'echo failed > {}'\n",
            fifo.display()
        );
        self.write("told.service", &told)?;
        Ok(fifo)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let mut tee = self.systemd.inside("sh");
        tee.args(["-c", "mkdir -p \"$(dirname \"$1\")\" && cat > \"$1\"", "sh"]);
        tee.arg(format!("/run/systemd/system/{name}")).stdin(Stdio::piped());
        let mut child = tee.spawn()?;
        let mut input = child.stdin.take().context("its input is a pipe")?;
        input.write_all(text.as_bytes())?;
        drop(input);
        ensure!(child.wait()?.success(), "{name} was not written");
        Ok(())
    }

    /// Starts the unit and waits until the daemon is connected.
    pub async fn start(&self) -> Result<()> {
        let before = self.remote.instance();
        self.systemd.must(&["start", UNIT])?;
        self.remote.another(before).await?;
        Ok(())
    }

    /// The main process's pid, outside.
    pub fn main_pid(&self) -> Result<u32> {
        self.systemd.pid_outside(self.systemd.show(UNIT)?.number("MainPID"))
    }
}
