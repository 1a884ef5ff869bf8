//! Child processes of the workspace: start, output, input, signals, end.
//!
//! ```text
//! handle ──start──► launch (checks) ──► table: `started` durable ──► child: exec
//!                                                                      │ pipes        │ pidfd
//!                                                      reader ─► log ◄─┘              ▼
//!                                                                  └─ output ended ─► driver ─► machine
//! followers, views, pages ◄── log                                  exit durable, then shown ◄──┘
//! ```
//!
//! Each process has its own session and group, its output is a log on disk with absolute offsets,
//! and everything about it that must survive the daemon is a record: `started` before it is
//! executed, `exited` after it ended. Nothing polls: the driver wakes on the pidfd, the reader on
//! the pipes, a follower on the log.
//!
//! Not here: what a process may do (the sandbox), and who may start one (the control plane).
//!
//! | Guard | Holds |
//! |---|---|
//! | mutex of the table | which processes there are |
//! | driver task, one per process | its machine; the only one that reaps it |
//! | reader task, one per process | the writer of its log |

pub mod log;
pub mod machine;

mod child;
mod cwd;
mod driver;
mod environment;
mod error;
mod follow;
mod handle;
mod launch;
mod reader;
mod record;
mod restore;
mod service;
mod signal;
mod stdin;
mod table;
mod tree;
pub mod view;

pub use child::be_subreaper;
pub use environment::Environment;
pub use follow::{FollowStep, Follower};
pub use handle::ProcessHandle;
pub use restore::OpenProcessesError;
