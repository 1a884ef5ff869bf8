//! Child processes of the workspace: start, output, input, signals, end.
//!
//! ```text
//! handle ──start──► launch (checks) ──► table: `started` durable ──► supervise ──► keeper ──► program
//!                                                                                    │ socket
//!                                                        driver ─► machine ◄── kept ◄┘
//! followers, views, pages ◄── log on disk ◄── keeper     └─► exit durable, then shown
//! ```
//!
//! Each process has a keeper that outlives the daemon: it holds the pipes, writes the log and
//! reaps the program. The daemon asks it, reads the log by offset, and records what it tells.
//!
//! Each process has its own session and group, its output is a log on disk with absolute offsets,
//! and everything about it that must survive the daemon is a record: `started` before it is
//! executed, `exited` after it ended. Nothing polls: the driver wakes on what the keeper tells, a
//! follower on the log.
//!
//! What a process of a chat that may change nothing is kept from says `sandbox`.
//!
//! Not here: who may start a process (the control plane).
//!
//! | Guard | Holds |
//! |---|---|
//! | mutex of the table | which processes there are |
//! | driver task, one per process | its machine |
//! | link task, one per process | the socket of its keeper |
//! | keeper, one per process, outside the daemon | the writer of its log; the only one that reaps it |

pub mod log;
pub mod machine;

mod cgroup;
mod cwd;
mod driver;
mod environment;
mod error;
mod follow;
mod handle;
mod keeper;
mod kept;
mod launch;
mod limits;
mod offline;
mod pace;
mod record;
mod restore;
mod sandbox;
mod service;
mod settled;
mod signal;
mod stdin;
mod supervise;
mod table;
pub(crate) mod terminal;
mod terminfo;
mod tree;
pub mod view;

pub use cgroup::{Availability, Layout, remove_groups};
pub use environment::{Environment, LoginShell, LoginUser};
pub use follow::{FollowStep, Follower};
pub use handle::ProcessHandle;
pub use keeper::run_forker;
pub use limits::{CgroupUse, Containment, Limits};
pub use offline::{Offline, list_offline};
pub use restore::OpenProcessesError;
pub use sandbox::{SandboxUse, available as sandbox_available};
pub use supervise::{FORKER_ARGUMENT, KeeperProgram};
pub use tree::{be_subreaper, hide_memory};
