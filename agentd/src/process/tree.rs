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
use shared::protocol::process::SystemProcess;

use super::environment::PROCESS_MARK;
use super::keeper::protocol::Leader;

/// Rounds of stopping and killing. A tree that forks faster than it is stopped ends in a few: what
/// is stopped does not fork.
const KILL_ROUNDS: usize = 20;
/// Longest command of a process that is named, in bytes.
const COMMAND_SHOWN_BYTES: usize = 128;

/// When a process began, in clock ticks since the boot; none when there is no such process.
///
/// Together with the boot id and the pid it names one process for ever.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.start_time)
}

/// What `/proc/<pid>/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: u32,
    group: u32,
    start_time: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name, in parentheses, may hold anything.
        let end = memchr::memrchr(b')', stat)?;
        let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
        let mut fields = rest.split(' ');
        let state = *fields.next()?.as_bytes().first()?;
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let start_time = fields.nth(16)?.parse().ok()?;
        Some(Self { state, parent, group, start_time })
    }

    const fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Everything below `ancestor` that is not dead, parents before their children.
///
/// What lost its parent is below the next sub-reaper above it; so for a sub-reaper nothing that was
/// ever started below it is missing, except what is forked during the walk.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    below(ancestor).into_iter().map(|(pid, _)| pid).collect()
}

fn below(ancestor: u32) -> Vec<(u32, Stat)> {
    let all: Vec<(u32, Stat)> = pids().filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
    let mut found: Vec<(u32, Stat)> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            // A number that was reused during the walk must not make a circle.
            if *pid != ancestor && !found.iter().any(|(known, _)| known == pid) {
                found.push((*pid, *stat));
                parents.push(*pid);
            }
        }
    }
    found.retain(|(_, stat)| !stat.is_dead());
    found
}

/// Signals everything below `ancestor` that is not in the group of `leader`.
pub(super) fn signal_descendants(ancestor: u32, leader: Option<Pid>, signal: Signal) {
    let group = leader.and_then(|leader| u32::try_from(leader.as_raw_pid()).ok());
    for (pid, stat) in below(ancestor) {
        if Some(stat.group) != group {
            signal_same(pid, stat.start_time, signal);
        }
    }
}

/// Kills everything below `ancestor`: first all are stopped, so that few fork meanwhile.
pub(super) fn kill_descendants(ancestor: u32) {
    let found = below(ancestor);
    for signal in [Signal::STOP, Signal::KILL] {
        for (pid, stat) in &found {
            signal_same(*pid, stat.start_time, signal);
        }
    }
}

/// Kills the children of `own`, which is this process: only it can reap them, so their numbers are
/// theirs until then. False when there are none.
pub(super) fn kill_children(own: u32) -> bool {
    let path = format!("/proc/{own}/task/{own}/children");
    let Ok(children) = fs::read_to_string(path) else {
        // A kernel without the file: the slow way.
        kill_descendants(own);
        return !descendants(own).is_empty();
    };
    let mut is_any = false;
    for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        is_any = true;
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    is_any
}

/// Signals `pid` if it is the process that began at `start_time`.
fn signal_same(pid: u32, start_time: u64, signal: Signal) {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(raw, PidfdFlags::empty()) else { return };
    // Read after the pidfd holds it: the number cannot pass to another in between.
    if self::start_time(pid) == Some(start_time) {
        let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
    }
}

/// The process `pid` as people know it: its command line, else its name.
pub(super) fn named(pid: u32) -> SystemProcess {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line).replace('\0', " ");
    let text = match text.trim() {
        "" => fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default(),
        text => text.to_owned(),
    };
    let text = text.trim();
    let command = text[..text.floor_char_boundary(COMMAND_SHOWN_BYTES)].to_owned();
    SystemProcess { pid, command }
}

/// Names this boot of the machine; empty where the kernel does not say.
pub(super) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Which processes but its keeper hold one of these pipes open.
pub(super) fn holders(pipes: &[u64], keeper: Option<u32>) -> Vec<u32> {
    let names: Vec<String> = pipes.iter().map(|inode| format!("pipe:[{inode}]")).collect();
    let holds = |pid: &u32| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().any(|fd| {
            fs::read_link(fd.path())
                .is_ok_and(|link| names.iter().any(|name| link.as_os_str() == OsStr::new(name)))
        })
    };
    pids().filter(|pid| Some(*pid) != keeper).filter(holds).collect()
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
/// were found, and those that are left, which is none unless the kernel holds one.
pub(super) fn kill_members(process: ProcessId) -> (usize, Vec<u32>) {
    let mut found = 0;
    for _ in 0..KILL_ROUNDS {
        let count = signal_members(process, Signal::STOP);
        if count == 0 {
            return (found, Vec::new());
        }
        found = found.max(count);
        signal_members(process, Signal::KILL);
    }
    (found, members(process))
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

/// Keeps programs of the same user from reading this process's memory, environment and descriptors,
/// and from tracing it. A process that may trace everything still can.
pub fn hide_memory() {
    // Refused by no kernel.
    let behavior = rustix::process::DumpableBehavior::NotDumpable;
    let _ = rustix::process::set_dumpable_behavior(behavior);
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
    Stat::of(pid).is_none_or(Stat::is_dead)
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        std::str::from_utf8(name.as_bytes()).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_hides_no_field() {
        let line = b"7 (a) R (b) T 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 777 21\n";
        let stat = Stat { state: b'T', parent: 3, group: 4, start_time: 777 };
        assert_eq!(Stat::parse(line), Some(stat));
        for bad in [&b""[..], b"7 (x", b"7 (x) ", b"7 (x) R 1 2", b"7 (x) R a b"] {
            assert_eq!(Stat::parse(bad), None);
        }
    }

    #[test]
    fn this_process_is_named_and_found_by_when_it_began() {
        let own = std::process::id();
        let stat = Stat::of(own).unwrap();
        assert_eq!(start_time(own), Some(stat.start_time));
        assert!(named(own).command.len() <= COMMAND_SHOWN_BYTES);
        assert!(descendants(stat.parent).contains(&own));
    }
}
