//! Where the groups of a workspace may be made, and which means that gives.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::Serialize;
use shared::ids::ProcessId;

use super::group::{self, GroupPlan, write};
use super::mounts::{Hierarchies, OwnDirectory};
use crate::process::limits::{CgroupUse, Containment, Limits};

/// First part of the name of a workspace's directory.
const PREFIX: &str = "holdfast-";
/// The group that a service manager starts the daemon in, below the one that it has delegated
/// (`DelegateSubgroup=agentd`): limits need a delegated group without a process of its own.
const SUBGROUP: &str = "agentd";
/// What gives limits.
const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];
/// Directories of other workspaces that are older and that no daemon has locked are removed, as far
/// as they are empty: their daemon was killed and its state directory never used again. A daemon of
/// an earlier version locks nothing and must have had the time to fill its own.
const ABANDONED_AFTER: Duration = Duration::from_secs(10 * 60);
/// The same where directories cannot be locked.
const ABANDONED_UNLOCKED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Directories that one start removes: a start is to be quick, and there may be thousands.
const ABANDONED_MAX: usize = 32;
/// Times that a directory is made which somebody else removes at the same moment.
const MAKE_TRIES: usize = 10;

/// Removes the groups of the workspace whose processes are kept in `dir`, unless something is in
/// them; whether they are gone. For who has ended a workspace for good.
#[must_use]
pub fn remove_groups(dir: &Path) -> bool {
    let Ok(state) = fs::canonicalize(dir.join("keepers")) else { return true };
    let found = Hierarchies::read();
    let unified = found.unified.as_ref().map(base);
    let bases = unified.into_iter().chain(found.legacy.into_iter().map(|(_, own)| own));
    let paths: Vec<PathBuf> = bases.map(|base| base.join(name_of(&state))).collect();
    paths.iter().for_each(|path| remove_tree(path));
    !paths.iter().any(|path| path.exists())
}

/// Where one workspace makes its groups. Empty where it may make none.
#[derive(Debug, Default)]
pub(in crate::process) struct Ground {
    unified: Option<PathBuf>,
    is_limited: bool,
    may_kill: bool,
    legacy: Vec<(String, PathBuf)>,
    containment: Containment,
    /// The directories, locked: other daemons see that they are in use, however empty.
    marks: Vec<OwnedFd>,
}

/// Which means the machine gives, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// How the hierarchies are laid out, as far as the daemon may use them.
    pub layout: Layout,
    /// What a stop uses: `cgroup_kill`, `freeze_kill` or `walk`.
    pub stop: &'static str,
    /// Which limits can be set: of `pids`, `memory`, `cpu`.
    pub limits: Vec<String>,
    /// One sentence: what this means, and what to do for more.
    pub text: String,
}

/// How the hierarchies are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Version 2 with its controllers.
    V2,
    /// Version 2 to end processes, and none of its controllers.
    V2WithoutControllers,
    /// Version 2 to end processes, version 1 for limits.
    Hybrid,
    /// Version 1 alone.
    V1,
    /// None that the daemon may use.
    None,
}

impl Ground {
    /// The directories of the workspace whose state is in `state`, made and limited. Blocks.
    pub(in crate::process) fn open(state: &Path, containment: Containment) -> Self {
        let mut ground = Self::default();
        ground.containment = containment;
        if ground.containment.cgroups == CgroupUse::Off {
            return ground;
        }
        let found = Hierarchies::read();
        let name = name_of(state);
        if let Some(own) = &found.unified {
            ground.open_unified(own, &name);
        }
        if !ground.is_limited {
            for (controller, own) in found.legacy {
                remove_abandoned(&own);
                let path = own.join(&name);
                if let Some(mark) = make(&path) {
                    ground.marks.push(mark);
                    // Children count towards their parent; kernels before 5.11 have to be told.
                    let _ = write(&path.join("memory.use_hierarchy"), "1");
                    group::limit_legacy(&controller, &path, &ground.containment.workspace);
                    ground.legacy.push((controller, path));
                }
            }
        }
        ground
    }

    fn open_unified(&mut self, own: &OwnDirectory, name: &str) {
        let base = base(own);
        remove_abandoned(&base);
        let path = base.join(name);
        let Some(mark) = make(&path) else { return };
        self.marks.push(mark);
        // A group with processes of its own may not hand out controllers, except the root.
        let is_root = !base.join("cgroup.type").exists();
        if is_root || base != own.own {
            enable(&base);
            self.is_limited = enable(&path);
        }
        if self.is_limited {
            group::limit_unified(&path, &self.containment.workspace);
        }
        let has_kill = path.join("cgroup.kill").exists();
        self.may_kill = has_kill && self.containment.cgroups == CgroupUse::Auto;
        self.unified = Some(path);
    }

    /// The groups that `process` is to have.
    pub(in crate::process) fn plan(&self, process: ProcessId) -> GroupPlan {
        let name = process.to_string();
        let legacy = self.legacy.iter().map(|(kind, path)| (kind.clone(), path.join(&name)));
        GroupPlan {
            unified: self.unified.as_ref().map(|path| path.join(&name)),
            is_limited: self.is_limited,
            may_kill: self.may_kill,
            legacy: legacy.collect(),
            limits: self.containment.process,
        }
    }

    /// What the program that makes keepers is to enter: the groups of version 1, so that what it
    /// forks is in them from the first instruction on.
    pub(in crate::process) fn nursery(&self) -> impl Iterator<Item = &Path> {
        self.legacy.iter().map(|(_, path)| path.as_path())
    }

    /// Removes the groups of processes of which `is_kept` says no, as far as they are empty.
    pub(in crate::process) fn collect(&self, is_kept: impl Fn(ProcessId) -> bool) {
        for workspace in self.unified.iter().chain(self.legacy.iter().map(|(_, path)| path)) {
            for entry in fs::read_dir(workspace).into_iter().flatten().flatten() {
                let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
                if id.is_some_and(|id| !is_kept(id)) {
                    remove_tree(&entry.path());
                }
            }
        }
    }

    /// Which means this gives.
    pub(in crate::process) fn availability(&self) -> Availability {
        let layout = match (&self.unified, self.is_limited, self.legacy.is_empty()) {
            (Some(_), true, _) => Layout::V2,
            (Some(_), false, false) => Layout::Hybrid,
            (Some(_), false, true) => Layout::V2WithoutControllers,
            (None, _, false) => Layout::V1,
            (None, _, true) => Layout::None,
        };
        let stop = match (&self.unified, self.may_kill) {
            (Some(_), true) => "cgroup_kill",
            (Some(_), false) => "freeze_kill",
            (None, _) => "walk",
        };
        let limits = match (&self.unified, self.is_limited) {
            (Some(path), true) => controllers(path, "cgroup.subtree_control"),
            _ => self.legacy.iter().map(|(controller, _)| controller.clone()).collect(),
        };
        let text = match layout {
            Layout::V2 => {
                "control groups of version 2: a stop is the kernel's, limits hold at once"
            }
            Layout::Hybrid => {
                "control groups of version 2 to stop and of version 1 to limit: the workspace's limits hold at \
                 once, those of a process a moment after its start"
            }
            Layout::V2WithoutControllers => {
                "control groups of version 2 without controllers: a stop is the kernel's, there are no limits; \
                 a service with Delegate=yes and DelegateSubgroup=agentd has them"
            }
            Layout::V1 => {
                "control groups of version 1: there are limits, a stop walks over the descendants"
            }
            Layout::None => {
                "no control groups that may be used: a stop walks over the descendants, there are no limits; \
                 a service with Delegate=yes and DelegateSubgroup=agentd has them"
            }
        };
        Availability { layout, stop, limits, text: text.to_owned() }
    }
}

impl Availability {
    /// What a daemon that is started here and now would have. Changes nothing that stays.
    #[must_use]
    pub fn here() -> Self {
        let none = Limits::default();
        let containment = Containment { workspace: none, process: none, ..Containment::default() };
        let trial = PathBuf::from(format!("trial of {}", std::process::id()));
        Ground::open(&trial, containment).availability()
    }
}

impl Drop for Ground {
    /// Removes the workspace's directories, unless processes are in them.
    fn drop(&mut self) {
        for path in self.unified.iter().chain(self.legacy.iter().map(|(_, path)| path)) {
            let _ = fs::remove_dir(path);
        }
    }
}

fn name_of(state: &Path) -> String {
    let hash = blake3::hash(state.as_os_str().as_encoded_bytes()).to_hex();
    format!("{PREFIX}{}", &hash[..16])
}

/// Beside the daemon where it was put into a group of its own, else below it.
fn base(own: &OwnDirectory) -> PathBuf {
    let is_subgroup = own.own != own.mount && own.own.ends_with(SUBGROUP);
    let parent = own.own.parent().filter(|_| is_subgroup);
    parent.unwrap_or(&own.own).to_owned()
}

/// Makes a directory, or takes the one that is there, and marks it as one in use for as long as the
/// descriptor lives. None: there may be none.
fn make(path: &Path) -> Option<OwnedFd> {
    for _ in 0..MAKE_TRIES {
        match fs::create_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        let Ok(dir) = open(path) else { continue };
        // Waits for somebody who is just removing it. Where there are no locks its age protects it.
        let _ = flock(&dir, FlockOperation::LockShared);
        let is_there = Some(fs::metadata(path).ok().map(|meta| meta.ino()))
            == rustix::fs::fstat(&dir).ok().map(|stat| Some(stat.st_ino));
        if is_there {
            return Some(dir);
        }
    }
    None
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Hands the controllers on to the groups below `path`; whether those that matter are.
fn enable(path: &Path) -> bool {
    let available = controllers(path, "cgroup.controllers");
    for controller in CONTROLLERS {
        if available.iter().any(|name| name == controller) {
            // One by one: one that cannot be had does not cost the others.
            let _ = write(&path.join("cgroup.subtree_control"), &format!("+{controller}"));
        }
    }
    let enabled = controllers(path, "cgroup.subtree_control");
    ["pids", "memory"].iter().all(|name| enabled.iter().any(|enabled| enabled == name))
}

fn controllers(path: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(path.join(file)).unwrap_or_default();
    text.split_whitespace().filter(|name| CONTROLLERS.contains(name)).map(str::to_owned).collect()
}

fn remove_abandoned(base: &Path) {
    #[expect(clippy::disallowed_methods, reason = "compared with the times of the file system")]
    let now = SystemTime::now();
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let ours = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)));
    let abandoned = ours.filter_map(|entry| {
        let age = now.duration_since(entry.metadata().ok()?.modified().ok()?).ok()?;
        let lock = abandoned(&entry.path(), age)?;
        Some((entry.path(), lock))
    });
    for (path, _lock) in abandoned.take(ABANDONED_MAX) {
        remove_tree(&path);
    }
}

/// The lock of a directory that nobody uses.
fn abandoned(path: &Path, age: Duration) -> Option<OwnedFd> {
    if age <= ABANDONED_AFTER {
        return None;
    }
    let dir = open(path).ok()?;
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(dir),
        Err(Errno::WOULDBLOCK) => None,
        Err(_) => (age > ABANDONED_UNLOCKED_AFTER).then_some(dir),
    }
}

/// Removes a group and those below it, as far as nothing is in them: the kernel refuses the rest.
pub(super) fn remove_tree(path: &Path) {
    if fs::remove_dir(path).is_ok() {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a directory of the disk: what locks and names do is the same there.
    #[test]
    fn what_a_daemon_uses_is_not_abandoned_and_what_none_uses_is() {
        let base = tempfile::tempdir().unwrap();
        let (used, unused) = (base.path().join("holdfast-a"), base.path().join("holdfast-b"));
        let mark = make(&used).unwrap();
        drop(make(&unused).unwrap());
        let young = ABANDONED_AFTER;
        let old = young + Duration::from_secs(1);
        assert!(abandoned(&unused, young).is_none(), "it may be about to be filled");
        assert!(abandoned(&unused, old).is_some());
        assert!(abandoned(&used, ABANDONED_UNLOCKED_AFTER * 2).is_none(), "however long it idles");
        let again = make(&used).unwrap();
        drop(mark);
        assert!(abandoned(&used, old).is_none(), "the next daemon of the workspace has it");
        drop(again);
        let lock = abandoned(&used, old).unwrap();
        remove_tree(&used);
        drop(lock);
        assert!(make(&used).is_some(), "and is made anew");
        assert!(used.exists());
    }
}
