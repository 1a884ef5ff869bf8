//! `agentd doctor`: checks what the daemon needs, and says what to do about what is missing.

use std::fmt::Write as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use serde::Serialize;
use shared::clock::{Clock, SystemClock};
use shared::protocol::process::ProcessState;

use crate::identity::{DeviceKey, Enrolment};
use crate::process::{Availability, Layout, SandboxUse, list_offline, sandbox_available};
use crate::state_dir::StateLayout;
use crate::status::{self, AskError, LocalAnswer, LocalRequest};

/// Less than this is pointed out.
const FREE_MIB_MIN: u64 = 256;
const FREE_INODES_MIN: u64 = 1_000;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what to do.
    pub text: String,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Fine.
    Well,
    /// The daemon works without it.
    Warning,
    /// The daemon does not work.
    Unwell,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self { name, verdict, text: text.into() }
    }

    /// Whether the daemon can work.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.verdict != Verdict::Unwell
    }
}

/// Looks at everything. Changes nothing.
pub async fn examine(layout: &StateLayout) -> Vec<Check> {
    let mut checks = vec![
        state_dir(layout),
        format(layout),
        space(layout),
        root(layout),
        shell(),
        terminals(),
        process_table(),
        confinement(),
        groups(),
        sandbox(),
    ];
    checks.extend(identity(layout));
    checks.push(keepers(layout));
    checks.push(daemon(layout).await);
    checks
}

/// The checks as text, or as one line of JSON.
#[must_use]
pub fn text(checks: &[Check], json: bool) -> String {
    if json {
        return format!("{}\n", serde_json::to_string(checks).unwrap_or_default());
    }
    let mut out = String::new();
    for check in checks {
        let sign = match check.verdict {
            Verdict::Well => "ok  ",
            Verdict::Warning => "note",
            Verdict::Unwell => "FAIL",
        };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{sign}  {:<12} {}", check.name, check.text);
    }
    out
}

fn state_dir(layout: &StateLayout) -> Check {
    let path = layout.path();
    let name = "state";
    match std::fs::metadata(path) {
        Err(_) => Check::new(
            name,
            Verdict::Unwell,
            format!("{} is not there yet; `agentd join` makes it", path.display()),
        ),
        Ok(meta) if !meta.is_dir() => {
            Check::new(name, Verdict::Unwell, format!("{} is not a directory", path.display()))
        }
        Ok(_) if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err() => Check::new(
            name,
            Verdict::Unwell,
            format!("{} cannot be written by this user", path.display()),
        ),
        Ok(_) => Check::new(name, Verdict::Well, path.display().to_string()),
    }
}

fn format(layout: &StateLayout) -> Check {
    match layout.check_format() {
        Ok(()) => Check::new("format", Verdict::Well, "this program can go on with the state"),
        Err(error) => Check::new("format", Verdict::Unwell, error.to_string()),
    }
}

/// Room for records: a daemon whose disk is full begins nothing new.
fn space(layout: &StateLayout) -> Check {
    let name = "space";
    let Ok(stat) = rustix::fs::statvfs(layout.path()) else {
        return Check::new(name, Verdict::Warning, "it cannot be told before the state is there");
    };
    let free_mib = stat.f_bavail.saturating_mul(stat.f_frsize) / (1024 * 1024);
    // Some file systems make inodes as they are needed and say 0 of 0.
    let has_inodes = stat.f_files == 0 || stat.f_favail >= FREE_INODES_MIN;
    let text = format!("{free_mib} MiB free for records and output");
    match (free_mib, has_inodes) {
        (0..FREE_MIB_MIN, _) => Check::new(
            name,
            Verdict::Warning,
            format!("{text}; below that of a busy workspace: nothing new starts on a full disk"),
        ),
        (_, false) => {
            let text = format!("{} inodes left; remove small files", stat.f_favail);
            Check::new(name, Verdict::Warning, text)
        }
        _ => Check::new(name, Verdict::Well, text),
    }
}

/// Terminals need the kernel's; containers may lack it.
fn terminals() -> Check {
    match std::fs::File::options().read(true).write(true).open("/dev/ptmx") {
        Ok(_) => Check::new("terminals", Verdict::Well, "/dev/ptmx"),
        Err(error) => Check::new(
            "terminals",
            Verdict::Warning,
            format!("/dev/ptmx cannot be used ({error}); mount devpts, or there are no terminals"),
        ),
    }
}

fn groups() -> Check {
    let Availability { layout, text, .. } = Availability::here();
    let is_whole = matches!(layout, Layout::V2 | Layout::Hybrid);
    let verdict = if is_whole { Verdict::Well } else { Verdict::Warning };
    Check::new("groups", verdict, text)
}

/// A chat that may change nothing runs commands in it, or none.
fn sandbox() -> Check {
    let found = sandbox_available(SandboxUse::Auto);
    let verdict = if found.is_ok() { Verdict::Well } else { Verdict::Warning };
    let text = status::sandbox_text(&found);
    let advice = if found.is_ok() { "" } else { "; plan mode runs no commands here" };
    Check::new("sandbox", verdict, format!("{text}{advice}"))
}

/// What runs, with or without a daemon.
fn keepers(layout: &StateLayout) -> Check {
    let name = "processes";
    match list_offline(&layout.processes()) {
        Ok(found) => {
            let processes = found.processes.iter().map(|view| &view.state);
            let terminals = found.terminals.iter().map(|view| &view.state);
            let states: Vec<&ProcessState> = processes.chain(terminals).collect();
            let count =
                |wanted: fn(&ProcessState) -> bool| states.iter().filter(|s| wanted(s)).count();
            let running = count(|state| matches!(state, ProcessState::Running));
            let lost = count(|state| matches!(state, ProcessState::Lost { .. }));
            let text = format!("{running} run, {lost} were lost, {} are on record", states.len());
            Check::new(name, Verdict::Well, text)
        }
        Err(error) => Check::new(name, Verdict::Unwell, error.to_string()),
    }
}

fn root(layout: &StateLayout) -> Check {
    let name = "root";
    match layout.workspace() {
        Ok(Some(workspace)) if workspace.root.is_dir() => {
            Check::new(name, Verdict::Well, workspace.root.display().to_string())
        }
        Ok(Some(workspace)) => Check::new(
            name,
            Verdict::Unwell,
            format!("{} is not a directory; pass another with --root", workspace.root.display()),
        ),
        Ok(None) => Check::new(name, Verdict::Warning, "none is remembered; `agentd join` does"),
        Err(error) => Check::new(name, Verdict::Unwell, error.to_string()),
    }
}

fn identity(layout: &StateLayout) -> Vec<Check> {
    let dir = layout.identity();
    let key = match DeviceKey::load(&dir) {
        Ok(Some(_)) => Check::new("key", Verdict::Well, "there, and readable by this user alone"),
        Ok(None) => Check::new("key", Verdict::Unwell, "none; run `agentd join`"),
        Err(error) => Check::new("key", Verdict::Unwell, error.to_string()),
    };
    let certificate = match Enrolment::load(&dir) {
        Ok(Some(enrolment)) if enrolment.not_after_ms < SystemClock.now_ms() => Check::new(
            "certificate",
            Verdict::Warning,
            format!("expired by this machine's clock; {} is asked for a fresh one", enrolment.host),
        ),
        Ok(Some(enrolment)) => Check::new(
            "certificate",
            Verdict::Well,
            format!("workspace {} at {}", enrolment.workspace_name, enrolment.url),
        ),
        Ok(None) => Check::new("certificate", Verdict::Unwell, "not joined; run `agentd join`"),
        Err(error) => Check::new("certificate", Verdict::Unwell, error.to_string()),
    };
    vec![key, certificate]
}

fn shell() -> Check {
    let path = Path::new("/bin/sh");
    match rustix::fs::access(path, rustix::fs::Access::EXEC_OK) {
        Ok(()) => Check::new("shell", Verdict::Well, "/bin/sh"),
        Err(_) => Check::new("shell", Verdict::Unwell, "/bin/sh is missing; commands cannot run"),
    }
}

fn process_table() -> Check {
    match std::fs::metadata("/proc/self/environ") {
        Ok(_) => Check::new("proc", Verdict::Well, "/proc is mounted"),
        Err(_) => Check::new(
            "proc",
            Verdict::Unwell,
            "/proc is not mounted; what a command leaves behind cannot be found",
        ),
    }
}

/// Some containers' filters refuse the system call that confines paths.
fn confinement() -> Check {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, ".", flags, Mode::empty(), ResolveFlags::BENEATH) {
        Ok(_) => Check::new("openat2", Verdict::Well, "paths are confined by the kernel"),
        Err(error) => Check::new(
            "openat2",
            Verdict::Unwell,
            format!(
                "the kernel or a filter refuses openat2 ({error}); Linux 5.6 or newer is needed"
            ),
        ),
    }
}

async fn daemon(layout: &StateLayout) -> Check {
    match status::ask(layout, &LocalRequest::Status).await {
        Ok(LocalAnswer::Status(status)) => match status.link {
            Some(link) => match link.fault {
                Some(fault) => Check::new("link", Verdict::Unwell, fault.text),
                None => {
                    let text =
                        format!("runs (pid {}), {:?} to {}", status.pid, link.state, link.server);
                    Check::new("link", Verdict::Well, text.to_lowercase())
                }
            },
            None => Check::new("link", Verdict::Warning, "the daemon runs without a link"),
        },
        Err(error @ AskError::NotRunning { .. }) => {
            Check::new("link", Verdict::Warning, error.to_string())
        }
        Ok(_) => Check::new("link", Verdict::Unwell, AskError::NotUnderstood.to_string()),
        Err(error) => Check::new("link", Verdict::Unwell, error.to_string()),
    }
}
