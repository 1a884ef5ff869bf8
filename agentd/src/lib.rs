//! The daemon of one workspace.
//!
//! It runs processes, reads and edits files, and keeps the journal that makes every operation run
//! at most once. It dials the control plane and listens nowhere but on a 0600 Unix socket for its
//! own command line.
//!
//! ```text
//!            link (QUIC, dials out)        local socket (status, ps)
//!                    │ calls                      │
//!                    ▼                            │
//!                dispatch ── one match ───────────┤
//!              │       │       │                  │
//!              ▼       ▼       ▼                  ▼
//!          journal  process  files            (handles)
//!              │       │       │
//!              └─ records ─────┴──►  state directory, locked
//! ```
//!
//! | Module | Owns |
//! |---|---|
//! | [`options`], [`command`] | the command line and what each command does |
//! | [`daemon`] | builds the services in order and recovers before the first call |
//! | [`dispatch`] | method → service: the table of contents |
//! | [`status`], [`show`], [`doctor`] | the local socket, and what people are told |
//! | [`systemd`] | what the service manager is told |
//! | [`state_dir`], [`file_lock`] | the locked directory everything durable lives in |
//! | [`options`], [`limit_options`] | flags and environment, checked once |
//! | [`identity`] | the daemon's key and what the control plane signed for it |
//! | [`link`] | the connection to the control plane, and joining |
//! | [`journal`] | which operation was done, and with what answer |
//! | [`process`] | child processes: start, output, input, signals, end |
//! | [`files`] | the files below the root: reads, atomic changes, search |
//! | [`user`] | whose commands and files they are |
//! | [`resident`] | memory that is there and not needed: code that ran once, dropped records |
//! | [`records`] | append-only record files: durable, replayed, compacted |

#![deny(unsafe_code)]

pub mod command;
pub mod daemon;
pub mod dispatch;
pub mod doctor;
pub mod file_lock;
pub mod files;
pub mod identity;
pub mod journal;
pub mod limit_options;
pub mod link;
pub mod options;
pub mod process;
pub mod pty;
pub mod records;
pub mod resident;
pub mod show;
pub mod state_dir;
pub mod status;
pub mod systemd;
pub mod tls;
pub mod user;
