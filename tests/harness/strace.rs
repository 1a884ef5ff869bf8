//! Watches the system calls of a running program, or kills it at a chosen one, with `strace`.
//!
//! ```text
//! count(pid)                 every call of KINDS is noted ─► ended ─► per kind: the most that one thread made
//! kill_at(pid, kind, nth)    SIGKILL as a thread enters its nth call of that kind since the attachment
//! ```
//!
//! `strace` counts per thread, so a place is "the first thread that comes to its nth call". Where
//! the kill falls, before the call's effect or just after it, is the kernel's choice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// The calls by which a control plane has effects: on its disk, on its database, on a daemon, on a
/// browser, and on its own threads.
pub const KINDS: [&str; 8] =
    ["fdatasync", "fsync", "pwrite64", "write", "writev", "sendto", "sendmsg", "sendmmsg"];

/// Whether there is one. A test without it says that it was skipped.
#[must_use]
pub fn is_there() -> bool {
    let version = Command::new("strace").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// A tracer that is attached. Dropped: it lets go of what it traces.
pub struct Strace {
    child: Child,
    /// Of the calls; empty where none are noted.
    trace: Option<tempfile::NamedTempFile>,
}

impl Strace {
    /// Notes every call of [`KINDS`] from now on.
    pub fn count(pid: u32) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("strace");
        command.arg("-o").arg(file.path()).arg("-e").arg(format!("trace={}", KINDS.join(",")));
        Self::attach(command, pid, Some(file))
    }

    /// Kills the program as a thread of it enters its `nth` call (from 1) of `kind`.
    pub fn kill_at(pid: u32, kind: &str, nth: usize) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-e", &format!("trace={kind}")]);
        command.args(["-e", &format!("inject={kind}:signal=KILL:when={nth}")]);
        Self::attach(command, pid, None)
    }

    /// Comes back once every thread is traced.
    fn attach(
        mut command: Command,
        pid: u32,
        trace: Option<tempfile::NamedTempFile>,
    ) -> Result<Self> {
        command.arg("-f").args(["-p", &pid.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("could not start strace")?;
        let mut said = BufReader::new(child.stderr.take().context("its messages are piped")?);
        let mut line = String::new();
        loop {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                bail!("strace ended before it was attached: {}", child.wait()?);
            }
            if line.contains("attached") {
                break;
            }
            if line.contains("attach:") {
                bail!("strace may not trace here: {}", line.trim_end());
            }
        }
        // It stops when nobody reads what it says. And once it has killed a thread of a program it may
        // wait for ever for the others, which wait for it: whoever traces no more is not waited for.
        let tracer = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if line.contains("+++ killed by SIGKILL") {
                    let _ = nix::sys::signal::kill(tracer, nix::sys::signal::Signal::SIGKILL);
                    break;
                }
            }
        });
        Ok(Self { child, trace })
    }

    /// Lets go, and tells for each kind the most that one thread called it.
    pub fn counted(mut self) -> Result<BTreeMap<String, usize>> {
        self.let_go();
        let Some(trace) = &self.trace else { return Ok(BTreeMap::new()) };
        let text = std::fs::read_to_string(trace.path())?;
        let mut per_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            // The second half of a call that was interrupted by another's line is none of its own.
            let Some((kind, _)) = call.trim_start().split_once('(') else { continue };
            if KINDS.contains(&kind) {
                *per_thread.entry((thread, kind)).or_default() += 1;
            }
        }
        let mut most: BTreeMap<String, usize> = BTreeMap::new();
        for ((_, kind), count) in per_thread {
            let most = most.entry(kind.to_owned()).or_default();
            *most = (*most).max(count);
        }
        Ok(most)
    }

    /// A polite end: one that is killed would leave the program stopped.
    fn let_go(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.let_go();
    }
}
