//! Keepers: a small supervisor for each process, which outlives the daemon. `docs/design/010-keepers.md`.
//!
//! ```text
//! agentd ──order: descriptors──► spare, of the forker's making: a keeper ──fork──► child
//!    │  ▲                                                         │  ▲                 │
//!    │  └───────── socket: status, input, signals ────────────────┘  └── pipes         │ exec
//!    └─────────── "go", once the start is durable ────────────────►  notes "begun" ───►┘ program
//! ```
//!
//! Everything up to the child is made while the disk works on the start's records; without a "go" the
//! keeper leaves, and nothing was executed.
//!
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
mod rehearsal;
mod run;
mod stop;
mod terminal;
pub(super) mod timeline;

pub use forker::run_forker;
pub(super) use forker::send;
