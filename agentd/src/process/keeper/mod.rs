//! Keepers: a small supervisor for each process, which outlives the daemon. `docs/design/010-keepers.md`.
//!
//! ```text
//! agentd ──order: descriptors──► forker ──fork──► keeper ──fork, exec──► program
//!    ▲                                              │  ▲
//!    └──────── socket: status, input, signals ──────┘  └── pipes ──► log on disk, record on disk
//! ```
//!
//! A keeper holds the pipes, writes the log, reaps its program, and writes down how it ended. It
//! runs no executor and starts no thread; it is forked from a program that does nothing else, so it
//! is small. Everything here but [`protocol`], [`image`] and [`record`] runs outside the daemon;
//! the daemon's half is `process::supervise` and `process::kept`.

mod conversation;
mod ending;
mod exec;
mod flow;
mod forker;
pub(super) mod image;
mod input;
mod link;
mod machine;
mod output;
pub(super) mod protocol;
pub(super) mod record;
mod run;
mod stop;
mod terminal;
pub(super) mod timeline;

pub use forker::run_forker;
pub(super) use forker::send;
