//! Append-only record files: what makes a promise survive a crash.
//!
//! Knows bytes and durability, not meaning. The journal and the process table each have one file.
//!
//! ```text
//! append ──► Recorder (one task) ──batch──► RecordFile: write, fdatasync ──► every waiter of the batch
//!                  │                                              │
//!                  └─ file grew to twice its live records ──► rewrite beside it, rename, go on
//! ```
//!
//! Several callers that wait at one time share one `fdatasync` (group commit). A failed
//! `fdatasync` is final: the kernel may have dropped the pages, so nothing is acknowledged after
//! it and the program ends.

mod batch;
mod file;
mod recorder;
mod room;

pub use file::{AppendError, Location, OpenError, RecordFile, Urgency};
pub use recorder::{Live, LiveRecord, Recorder, RecorderError, RecorderHandle};
