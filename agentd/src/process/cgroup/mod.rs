//! Control groups: the kernel's own idea of "everything that a process started", and its limits.
//!
//! ```text
//! <mount>/<where the daemon may make groups>/holdfast-<hash of the state directory>/   the workspace
//!                                              └── proc_…/                             one process
//! ```
//!
//! | Layout of the machine | Ended with | Limits |
//! |---|---|---|
//! | version 2, delegated | `cgroup.kill`, or freeze and kill on kernels before 5.14 | from the first instruction on |
//! | hybrid: version 2 without controllers, version 1 with them | the same | the workspace's at once, the process's a moment after its start |
//! | neither, or not allowed to | a walk over its descendants | none |
//!
//! A process is *born* in its version 2 group, which costs nothing. Moving one later makes every
//! fork of the machine wait for a grace period of the kernel, more than ten milliseconds, and
//! version 1 knows nothing else: so there only what lives longer than a moment is moved, by a
//! process that its keeper forks for it, and until then the limits of the workspace hold.
//!
//! A group's name holds the process's id, so that no pid is needed to know whose it is. Groups are
//! made and removed by the keeper; what a keeper could not remove is collected by the daemon.

mod ground;
mod group;
mod mounts;

pub(super) use ground::Ground;
pub use ground::{Availability, Layout, remove_groups};
pub(super) use group::{Group, GroupPlan};
