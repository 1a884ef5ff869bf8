//! A real systemd as PID 1 of namespaces of its own, with control groups of its own.
//!
//! ```text
//! test ──► unshare (pid, mount, ipc, cgroup) ──► sh: private /proc, /run, cgroups, /var/lib; the rest read-only ──► systemd
//!   └──► nsenter … systemctl start agentd
//! ```
//!
//! The network is the machine's, so that daemons reach the test; nothing else is. It needs root, and
//! systemd installed (it need not run the machine); [`Systemd::boot`] says what is missing.

use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long a systemd may take to boot nothing.
const BOOTS_WITHIN: Duration = Duration::from_secs(60);
/// How long killed processes may take to be gone, in milliseconds.
const EMPTY_WITHIN_MS: u16 = 10_000;
/// What the first process of the namespaces does. `$1` is the folder of the test.
///
/// Everything is read-only but the test's folder, and no unit of the machine can be seen: starting
/// a service pulls in `sysinit.target`, and what usually belongs to that empties `/tmp` and sets the
/// kernel's parameters, of the machine.
const SETUP: &str = r#"
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$1" "$1"
mount --bind "$1/lib" /var/lib
mount -o remount,bind,ro /
mkdir -p /run/systemd/system /run/none
for d in /usr/lib/systemd/system /lib/systemd/system /etc/systemd/system /usr/local/lib/systemd/system \
    /usr/lib/systemd/system-generators /lib/systemd/system-generators /etc/systemd/system-generators \
    /usr/lib/systemd/system-preset /usr/lib/systemd/system-environment-generators; do
    if [ -d "$d" ]; then mount --bind /run/none "$d"; fi
done
for unit in t sysinit basic shutdown umount multi-user network-online network; do
    printf '[Unit]\nDefaultDependencies=no\n' > "/run/systemd/system/$unit.target"
done
exec env -i container=test NOTIFY_SOCKET="$1/ready" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "$2" --system --unit=t.target --log-target=null --show-status=0
"#;

/// A booted systemd. Dropped, everything in it ends.
pub struct Systemd {
    unshare: Child,
    init: u32,
    groups: Vec<PathBuf>,
    folder: tempfile::TempDir,
}

/// What a unit is like, by property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(Vec<(String, String)>);

impl Systemd {
    /// Boots one, or says why this machine cannot.
    pub fn boot() -> Result<std::result::Result<Self, &'static str>> {
        let programs = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
        let Some(program) = programs.into_iter().find(|path| Path::new(path).exists()) else {
            return Ok(Err("systemd is not installed"));
        };
        if !nix::unistd::geteuid().is_root() {
            return Ok(Err("namespaces with a systemd in them need root"));
        }
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("lib"))?;
        let groups = own_groups(folder.path())?;
        let script = format!(
            "for g in {}; do echo $$ > \"$g/cgroup.procs\"; done\n\
             exec unshare --fork --pid --mount --ipc --cgroup --kill-child sh -c \"$SETUP\" sh \"$FOLDER\" {program}",
            groups
                .iter()
                .map(|group| format!("'{}'", group.display()))
                .collect::<Vec<_>>()
                .join(" ")
        );
        let ready = UnixDatagram::bind(folder.path().join("ready"))?;
        ready.set_read_timeout(Some(BOOTS_WITHIN))?;
        let mut unshare = Command::new("sh")
            .args(["-c", &script])
            .env("SETUP", SETUP)
            .env("FOLDER", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("setup.log"))?)
            .spawn()?;
        // As a container's manager is told by its payload.
        let mut told = [0; 4_096];
        loop {
            match ready.recv(&mut told) {
                Ok(len) if told[..len].split(|byte| *byte == b'\n').any(|l| l == b"READY=1") => {
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    let _ = unshare.kill();
                    let _ = unshare.wait();
                    remove_groups(&groups);
                    let log = std::fs::read_to_string(folder.path().join("setup.log"))?;
                    bail!("systemd did not start: {error}\n{log}");
                }
            }
        }
        let init = first_child(unshare.id()).context("unshare has a child")?;
        Ok(Ok(Self { unshare, init, groups, folder }))
    }

    /// A folder that lies at the same path inside and outside.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where `/var/lib` of the inside lies.
    pub fn var_lib(&self) -> PathBuf {
        self.folder.path().join("lib")
    }

    /// `command` inside.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.init.to_string(),
            "--pid",
            "--mount",
            "--cgroup",
            "--ipc",
            "--",
        ]);
        command.arg(program);
        command
    }

    /// `systemctl` with `arguments`; waits for the job it starts.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.inside("systemctl").args(arguments).stdin(Stdio::null()).output()?)
    }

    /// The same; an exit other than 0 is an error that says what systemd logged.
    pub fn must(&self, arguments: &[&str]) -> Result<()> {
        let output = self.systemctl(arguments)?;
        ensure!(
            output.status.success(),
            "systemctl {arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.logged()
        );
        Ok(())
    }

    /// Properties of a unit.
    pub fn show(&self, unit: &str) -> Result<Shown> {
        let output = self.systemctl(&["show", unit])?;
        let text = String::from_utf8(output.stdout)?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(Shown(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }

    /// The pid outside of a process's pid inside.
    pub fn pid_outside(&self, inside: u32) -> Result<u32> {
        let is_it = |pid: &u32| {
            let same = |name: &str| {
                let of = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).ok();
                of(*pid) == of(self.init)
            };
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let last = line.and_then(|line| line.split_whitespace().last()?.parse::<u32>().ok());
            last == Some(inside) && same("pid")
        };
        let pids = std::fs::read_dir("/proc")?.flatten();
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(is_it).with_context(|| format!("no process has pid {inside} inside"))
    }

    /// Where a service of a test may log to.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("service.log")
    }

    /// The end of it, for messages.
    pub fn logged(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The first process of a pid namespace takes all others with it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        if let Ok(pid) = i32::try_from(self.init) {
            let init = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL);
        }
        remove_groups(&self.groups);
    }
}

impl Shown {
    /// One property; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// One property as a number; 0 when there is none.
    pub fn number(&self, name: &str) -> u32 {
        self.get(name).parse().unwrap_or(0)
    }
}

/// Our own control group in the unified hierarchy and, where there is one, in systemd's own.
fn own_groups(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = folder.file_name().context("a temporary folder has a name")?;
    let name = format!("holdfast-test{}", name.to_string_lossy());
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"];
    let usable = roots.into_iter().map(Path::new).filter(|root| root.join("cgroup.procs").exists());
    let groups: Vec<PathBuf> = usable.map(|root| root.join(&name)).collect();
    ensure!(!groups.is_empty(), "no control groups are mounted");
    for group in &groups {
        std::fs::create_dir(group)
            .with_context(|| format!("could not make {}", group.display()))?;
    }
    Ok(groups)
}

/// Ends what is in the groups and removes them, from the leaves up. Only version 2 says when the last
/// process is gone; it is gone from the other hierarchies then as well.
fn remove_groups(groups: &[PathBuf]) {
    fn remove(group: &Path) {
        for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
        let _ = std::fs::remove_dir(group);
    }
    for group in groups {
        let _ = std::fs::write(group.join("cgroup.kill"), "1");
        wait_until_empty(group);
    }
    groups.iter().for_each(|group| remove(group));
}

/// The kernel tells of each change of the file; a group without it has nothing to wait for.
fn wait_until_empty(group: &Path) {
    use nix::poll::{PollFd, PollFlags, poll};
    let Ok(mut events) = std::fs::File::open(group.join("cgroup.events")) else { return };
    loop {
        let mut text = String::new();
        let read = events.rewind().and_then(|()| events.read_to_string(&mut text));
        if read.is_err() || text.lines().any(|line| line == "populated 0") {
            return;
        }
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        // What the kernel holds for longer stays, empty one day and harmless.
        if poll(&mut fds, EMPTY_WITHIN_MS).unwrap_or(0) <= 0 {
            return;
        }
    }
}

fn first_child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
