//! The group of one process, as its keeper has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use shared::protocol::process::{OomKilled, PidsLimit};

use crate::process::limits::Limits;
use crate::process::tree;

/// Largest control file that is read, in bytes: a full `cgroup.procs` of the workspace's limit.
const FILE_MAX_BYTES: u64 = 256 * 1024;
/// One period of a processor limit, in microseconds; the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// Rounds of killing what is frozen; a frozen group does not grow, one is enough.
const FREEZE_ROUNDS: usize = 3;
/// Rounds of moving processes that fork meanwhile.
const PLACE_ROUNDS: usize = 50;

/// Which groups a process is to have. Absolute paths; what is not there is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::process) struct GroupPlan {
    /// Of version 2.
    #[serde(default)]
    pub(in crate::process) unified: Option<PathBuf>,
    /// Whether version 2 has the limits.
    #[serde(default)]
    pub(in crate::process) is_limited: bool,
    /// Whether `cgroup.kill` may be used.
    #[serde(default)]
    pub(in crate::process) may_kill: bool,
    /// Of version 1, by controller.
    #[serde(default)]
    pub(in crate::process) legacy: Vec<(String, PathBuf)>,
    /// For the process.
    #[serde(default)]
    pub(in crate::process) limits: Limits,
}

/// The groups of one process.
pub(in crate::process) struct Group {
    plan: GroupPlan,
    /// Of version 2, open, where it was made.
    unified: Option<OwnedFd>,
    /// Whether the groups of version 1 were made.
    is_placed: bool,
}

impl Group {
    /// Makes the version 2 group with its limits. Where that is not possible there is none: the
    /// process runs without.
    pub(in crate::process) fn make(plan: GroupPlan) -> Self {
        let mut group = Self { plan, unified: None, is_placed: false };
        let Some(path) = group.plan.unified.clone() else { return group };
        let made = fs::create_dir(&path).is_ok();
        if made && group.plan.is_limited {
            limit_unified(&path, &group.plan.limits);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        group.unified = made.then(|| rustix::fs::open(&path, flags, Mode::empty()).ok()).flatten();
        group
    }

    /// The version 2 group to be born in.
    pub(in crate::process) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// The process is not in its group after all.
    pub(in crate::process) fn give_up(&mut self) {
        if self.unified.take().is_some() {
            self.remove_unified();
        }
    }

    /// Whether there are groups of version 1 that the process is not in yet.
    pub(in crate::process) fn awaits_placement(&self) -> bool {
        !self.is_placed && !self.plan.legacy.is_empty()
    }

    /// Makes the groups of version 1, to be filled by [`place`](Self::place).
    pub(in crate::process) fn make_legacy(&mut self) {
        self.is_placed = true;
        for (controller, path) in &self.plan.legacy {
            if fs::create_dir(path).is_ok() {
                limit_legacy(controller, path, &self.plan.limits);
            }
        }
    }

    /// Moves `leader` and everything below `keeper` into the groups of version 1. Takes the kernel
    /// more than ten milliseconds: for a process of its own.
    pub(in crate::process) fn place(&self, keeper: u32, own: u32) {
        let is_there = |pid: &u32| *pid != own;
        let mut placed: Vec<u32> = Vec::new();
        for _ in 0..PLACE_ROUNDS {
            let members = match &self.unified {
                Some(_) => self.members(),
                None => tree::descendants(keeper),
            };
            let mut is_done = true;
            for pid in members.into_iter().filter(is_there) {
                if placed.contains(&pid) {
                    continue;
                }
                is_done = false;
                placed.push(pid);
                for (_, path) in &self.plan.legacy {
                    // It may have ended.
                    let _ = write(&path.join("cgroup.procs"), &pid.to_string());
                }
            }
            if is_done {
                return;
            }
        }
    }

    /// Kills everything in the group at once; false where the kernel cannot, or there is no group.
    pub(in crate::process) fn kill(&self) -> bool {
        self.plan.may_kill && self.write_unified("cgroup.kill", "1")
    }

    /// Freezes the group and kills what is in it; false where there is no group that freezes.
    pub(in crate::process) fn freeze_and_kill(&self) -> bool {
        if !self.write_unified("cgroup.freeze", "1") {
            return false;
        }
        for _ in 0..FREEZE_ROUNDS {
            for pid in self.members() {
                self.signal(pid, Signal::KILL);
            }
        }
        // What is to die is let go for it.
        self.write_unified("cgroup.freeze", "0")
    }

    /// Signals `pid` if it is a member once a pidfd holds it.
    pub(in crate::process) fn signal(&self, pid: u32, signal: Signal) {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(pidfd) = rustix::process::pidfd_open(raw, PidfdFlags::empty()) else { return };
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let name = self.plan.unified.as_deref().and_then(Path::file_name);
        let is_member = own.lines().any(|line| {
            let path = line.strip_prefix("0::").map(Path::new);
            path.is_some_and(|path| path.iter().any(|part| Some(part) == name))
        });
        if is_member {
            let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
        }
    }

    /// Who is in the group, without what is in groups below it that the process made.
    pub(in crate::process) fn members(&self) -> Vec<u32> {
        let Some(path) = &self.plan.unified else { return Vec::new() };
        let text = read(&path.join("cgroup.procs"));
        text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()
    }

    /// Whether anything is in the group or below it; none: there is no group to ask.
    pub(in crate::process) fn is_populated(&self) -> Option<bool> {
        self.unified.as_ref()?;
        let path = self.plan.unified.as_ref()?;
        field(&read(&path.join("cgroup.events")), "populated").map(|value| value != 0)
    }

    /// Whether memory or processes ran out, as the kernel counted.
    pub(in crate::process) fn hits(&self) -> (Option<OomKilled>, Option<PidsLimit>) {
        (self.oom_killed(), self.pids_limit())
    }

    fn oom_killed(&self) -> Option<OomKilled> {
        let (path, names) = self.directory("memory")?;
        let (events, peak, limit) = match names {
            Version::Two => ("memory.events", "memory.peak", "memory.max"),
            Version::One => {
                ("memory.oom_control", "memory.max_usage_in_bytes", "memory.limit_in_bytes")
            }
        };
        let kills = field(&read(&path.join(events)), "oom_kill").filter(|kills| *kills > 0)?;
        let peak_bytes = number(&path.join(peak));
        // The lowest limit above it is the one that was met.
        let own = number(&path.join(limit));
        let workspace = path.parent().and_then(|path| number(&path.join(limit)));
        let limit_bytes = [own, workspace].into_iter().flatten().filter(is_a_limit).min();
        Some(OomKilled { kills, limit_bytes, peak_bytes })
    }

    fn pids_limit(&self) -> Option<PidsLimit> {
        let (path, _) = self.directory("pids")?;
        let refused = field(&read(&path.join("pids.events")), "max").filter(|n| *n > 0)?;
        let own = number(&path.join("pids.max"));
        let workspace = path.parent().and_then(|path| number(&path.join("pids.max")));
        Some(PidsLimit { refused, limit: [own, workspace].into_iter().flatten().min() })
    }

    fn directory(&self, controller: &str) -> Option<(&Path, Version)> {
        if self.plan.is_limited && self.unified.is_some() {
            return Some((self.plan.unified.as_deref()?, Version::Two));
        }
        let (_, path) = self.plan.legacy.iter().find(|(name, _)| name == controller)?;
        self.is_placed.then_some((path.as_path(), Version::One))
    }

    /// Removes what is empty. What is not stays for the daemon to collect.
    pub(in crate::process) fn remove(&self) {
        if self.unified.is_some() {
            self.remove_unified();
        }
        if self.is_placed {
            for (_, path) in &self.plan.legacy {
                let _ = fs::remove_dir(path);
            }
        }
    }

    /// Groups that the process made below its own go with it.
    fn remove_unified(&self) {
        if let Some(path) = &self.plan.unified {
            super::ground::remove_tree(path);
        }
    }

    fn write_unified(&self, file: &str, text: &str) -> bool {
        let path = self.plan.unified.as_ref().filter(|_| self.unified.is_some());
        path.is_some_and(|path| write(&path.join(file), text).is_ok())
    }

    /// The groups of a process whose keeper is gone: they are there, or they are not.
    pub(in crate::process) fn found(plan: GroupPlan) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| rustix::fs::open(path, flags, Mode::empty()).ok();
        let unified = plan.unified.as_ref().and_then(open);
        Self { plan, unified, is_placed: true }
    }
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// Version 1 says "no limit" with a number near the largest one.
const fn is_a_limit(bytes: &u64) -> bool {
    *bytes < (1 << 60)
}

pub(super) fn limit_unified(path: &Path, limits: &Limits) {
    // A controller that is not there has no file; the means that are there are told at the start.
    let set = |file: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write(&path.join(file), &value);
        }
    };
    set("pids.max", limits.pids.map(|pids| pids.to_string()));
    set("memory.max", limits.memory_bytes.map(|bytes| bytes.to_string()));
    // A limit that only moves to the disk what is too much makes the whole machine slow.
    set("memory.swap.max", limits.memory_bytes.map(|_| "0".to_owned()));
    set("cpu.max", limits.cpus.map(|cpus| format!("{} {CPU_PERIOD_US}", quota_us(cpus))));
}

pub(super) fn limit_legacy(controller: &str, path: &Path, limits: &Limits) {
    let set = |file: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write(&path.join(file), &value);
        }
    };
    match controller {
        "pids" => set("pids.max", limits.pids.map(|pids| pids.to_string())),
        "memory" => {
            let bytes = limits.memory_bytes.map(|bytes| bytes.to_string());
            set("memory.limit_in_bytes", bytes.clone());
            set("memory.memsw.limit_in_bytes", bytes);
        }
        "cpu" => set("cpu.cfs_quota_us", limits.cpus.map(|cpus| quota_us(cpus).to_string())),
        _ => {}
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a number of processors is small and positive"
)]
fn quota_us(cpus: f64) -> u64 {
    // The kernel's least quota is one millisecond.
    ((cpus * CPU_PERIOD_US as f64) as u64).max(1_000)
}

/// The number after `name` in a file of lines `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The number that a file holds; none for `max`.
fn number(path: &Path) -> Option<u64> {
    read(path).trim().parse().ok()
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(FILE_MAX_BYTES).read_to_string(&mut text);
    }
    text
}

pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    // A file that is not there is none of the kernel's, and must not be made.
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_by_their_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(field(events, "oom_kill"), Some(2));
        assert_eq!(field(events, "oom"), Some(3));
        assert_eq!(field(events, "max"), None);
    }

    #[test]
    fn half_a_processor_is_half_a_period() {
        assert_eq!((quota_us(0.5), quota_us(2.0), quota_us(0.0)), (50_000, 200_000, 1_000));
    }
}
