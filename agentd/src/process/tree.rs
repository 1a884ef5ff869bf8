//! What `/proc` tells of processes that are not direct children any more. Blocks for the walk.
//!
//! A bare pid is never an identity: pids are looked up, compared and signalled through a pidfd, so
//! that a number that was reused in between hits nobody.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use shared::ids::ProcessId;

use super::environment::PROCESS_MARK;
use super::keeper::protocol::Leader;

/// Rounds of stopping and killing. A tree that forks faster than it is stopped ends in a few: what
/// is stopped does not fork.
const KILL_ROUNDS: usize = 20;

/// When a process began, in clock ticks since the boot; none when there is no such process.
///
/// Together with the boot id and the pid it names one process for ever.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let end = memchr::memrchr(b')', &stat)?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    rest.split(' ').nth(19)?.parse().ok()
}

/// Names this boot of the machine; empty where the kernel does not say.
pub(super) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// How many processes but its keeper hold one of these pipes open.
pub(super) fn holders(pipes: &[u64], keeper: Option<u32>) -> u32 {
    let names: Vec<String> = pipes.iter().map(|inode| format!("pipe:[{inode}]")).collect();
    let holds = |pid: u32| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().any(|fd| {
            fs::read_link(fd.path())
                .is_ok_and(|link| names.iter().any(|name| link.as_os_str() == OsStr::new(name)))
        })
    };
    let count = pids().filter(|pid| Some(*pid) != keeper && holds(*pid)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Every process that `process` started, directly or not, by the mark in its environment.
pub(super) fn members(process: ProcessId) -> Vec<u32> {
    let mark = format!("{PROCESS_MARK}={process}");
    let own = std::process::id();
    let is_marked = |pid: &u32| {
        *pid != own
            && fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
            })
            && !is_zombie(*pid)
    };
    pids().filter(is_marked).collect()
}

/// Sends `signal` to every member of `process`. Gives how many there were.
pub(super) fn signal_members(process: ProcessId, signal: Signal) -> usize {
    let members = members(process);
    for pid in &members {
        signal_one(process, *pid, signal);
    }
    members.len()
}

/// Ends every member of `process`: stops them, so that none forks, and kills them. Gives how many
/// are left, which is none unless the kernel holds one.
pub(super) fn kill_members(process: ProcessId) -> usize {
    for _ in 0..KILL_ROUNDS {
        if signal_members(process, Signal::STOP) == 0 {
            return 0;
        }
        signal_members(process, Signal::KILL);
    }
    members(process).len()
}

/// Signals `pid` if it is still a member once a pidfd holds it.
fn signal_one(process: ProcessId, pid: u32, signal: Signal) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    let mark = format!("{PROCESS_MARK}={process}");
    let environ = fs::read(format!("/proc/{}/environ", pid.as_raw_pid())).unwrap_or_default();
    if environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
        // It may have ended in between, which is as well.
        let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
    }
}

/// Makes processes whose parent has ended the daemon's children, so that a daemon that a command
/// left behind is found and reaped. Reap with `reap_strays`.
pub fn be_subreaper() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Into::into)
}

/// Kills the group of the process that `leader` names, if that process is still there.
pub(super) fn kill_group(leader: &Leader) {
    let Some(pid) = i32::try_from(leader.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    if leader.boot_id != boot_id() || start_time(leader.pid) != Some(leader.start_time) {
        return;
    }
    // A stopped leader does not end in between, so that its number stays its own.
    if rustix::process::pidfd_send_signal(&pidfd, Signal::STOP).is_ok() {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

/// Reaps children that nobody waits for: those that came to the daemon as their sub-reaper.
/// `is_leader` says which pids have a driver of their own.
pub(super) fn reap_strays(is_leader: impl Fn(u32) -> bool) {
    let own = std::process::id();
    let path = format!("/proc/{own}/task/{own}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let strays = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    for pid in strays.filter(|pid| !is_leader(*pid)) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::Pid(pid), options);
        }
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    memchr::memrchr(b')', &stat)
        .and_then(|end| stat.get(end + 2))
        .is_none_or(|state| *state == b'Z')
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        std::str::from_utf8(name.as_bytes()).ok()?.parse().ok()
    })
}
