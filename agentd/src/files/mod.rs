//! The files of the workspace: read, write, edit, delete, list, glob, search.
//!
//! Owns the confinement to the root, the temporary files of unfinished changes and the lock that
//! lets one change happen at a time. Knows nothing of the wire's frames or of the journal's file:
//! a change comes in two halves, and whoever keeps the journal records between them.
//!
//! ```text
//!             plan_write, plan_edit, plan_delete            apply
//! request ─────────────────────────────────────► Prepared ─────────► FileReply
//!          checks, computes in memory,              │      renames, directory fsync
//!          writes and syncs temporary files         │
//!                                          record() │ into the journal, synced
//!                                                   ▼
//!                           after a crash: recover(record) rolls forward; sweep() removes the rest
//! ```
//!
//! Why two halves: `docs/design/007-file-changes.md`.
//!
//! Invariants: no path leaves the root (`root.rs`); a file is old or new, never mixed; nothing is
//! allocated by a size that a file claims. A hard link or a bind mount that was put inside the root
//! counts as inside. A write replaces the file by rename, so other hard links keep the old content.

mod calls;
mod delete;
mod edit;
mod error;
mod glob;
mod handle;
mod ignored;
mod lines;
mod list;
mod owner;
mod path;
mod prepared;
mod read;
mod root;
mod search;
mod temp;
mod text;
mod walk;
mod write;

#[cfg(test)]
mod tests;

pub use calls::{only_reads, serve, serves, settle};
pub use error::FileError;
pub use handle::{FilesHandle, OpenFilesError};
pub use prepared::{FileReply, Prepared};
