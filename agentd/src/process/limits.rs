//! How much a workspace and each of its processes may take, and what is done so that they give way
//! to the daemon.

use serde::{Deserialize, Serialize};

use super::sandbox::SandboxUse;
use crate::user::Identity;

/// Processes and threads of one process, when nobody says.
const PROCESS_PIDS: u64 = 512;
/// Processes and threads of a workspace, when nobody says.
const WORKSPACE_PIDS: u64 = 4_096;
/// What is added to the chance of being chosen when memory is short: the workload goes first.
pub(super) const OOM_SCORE_ADJUST: i32 = 500;
/// How much nicer than the daemon a command is: the daemon answers also when all processors are
/// busy.
pub(super) const NICE: i32 = 5;

/// What one group may take. None: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads together.
    #[serde(default)]
    pub pids: Option<u64>,
    /// Bytes of memory.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Processors; 1.5 is one and a half.
    #[serde(default)]
    pub cpus: Option<f64>,
}

/// How the processes of a workspace are held together.
#[derive(Clone, Debug, PartialEq)]
pub struct Containment {
    /// Which control groups may be used.
    pub cgroups: CgroupUse,
    /// All processes of the workspace together.
    pub workspace: Limits,
    /// Each process with everything that it starts.
    pub process: Limits,
    /// Whose they are; none: the daemon's user's.
    pub identity: Option<Identity>,
    /// What a sandbox may be made of.
    pub sandbox: SandboxUse,
}

impl Default for Containment {
    fn default() -> Self {
        Self {
            cgroups: CgroupUse::Auto,
            workspace: Limits { pids: Some(WORKSPACE_PIDS), ..Limits::default() },
            process: Limits { pids: Some(PROCESS_PIDS), ..Limits::default() },
            identity: None,
            sandbox: SandboxUse::Auto,
        }
    }
}

/// Which control groups may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CgroupUse {
    /// What the machine has.
    #[default]
    Auto,
    /// Not `cgroup.kill`, as on kernels before 5.14.
    Freeze,
    /// None: no limits, and a stop walks over the descendants.
    Off,
}
