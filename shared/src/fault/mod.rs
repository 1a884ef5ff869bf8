//! Named points at which a test may stop or kill a program. Compiled to nothing in release builds.
//!
//! ```text
//! program ──"point name"──► socket of the test        test ──┬─ one byte ──► the program goes on
//!         (its thread waits)                                 └─ SIGKILL  ──► it dies exactly there
//! ```
//!
//! A point stands between two effects whose order is a promise: before and after each commit, each
//! send, each record. The crash sweep walks all of them. The socket's path comes from
//! `HOLDFAST_FAULT_SOCKET`, read once; without it a point costs one atomic load.
//!
//! Point names begin with the window of a tool call they lie in, `w1 dispatch` for example: `w0` before the intent is
//! committed, `w1` committed but not sent, `w2` sent but not journalled, `w3` journalled but not
//! started, `w4` running, `w5` ended with the result only on the daemon, `w6` result received but
//! not committed, `w7` committed but not shown. A point of every window bears another prefix: `db` around
//! each commit, `k` around the writes of an upload.
//!
//! A simulation ([`simulation`]) owns the same points and more: it holds whoever passes, denies a
//! turn at the database, takes a rare path ([`rarely`]), and is told what reached the disk. It is
//! installed for one thread, so that many run beside each other.

#[cfg(debug_assertions)]
pub mod simulation;
mod turn;

use std::path::Path;

pub use turn::{Turn, turn};

/// A point named `name`. Blocks the calling thread while a test holds it.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static SOCKET: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(path) =
        SOCKET.get_or_init(|| std::env::var_os("HOLDFAST_FAULT_SOCKET").map(PathBuf::from))
    else {
        return;
    };
    // A test that has gone away holds nothing.
    let Ok(mut stream) = UnixStream::connect(path) else { return };
    if stream.write_all(name.as_bytes()).and_then(|()| stream.write_all(b"\n")).is_ok() {
        let _ = stream.read(&mut [0_u8; 1]);
    }
}

/// A point named `name`. Blocks the calling thread while a test holds it.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// What was asked of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// One reading statement, or a transaction of them.
    Read,
    /// A transaction that writes, or one writing statement.
    Write,
}

/// What a simulated database answers instead of doing it. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// It cannot be reached.
    Away,
    /// Its disk is full.
    Full,
    /// The transaction lost against another one.
    Contended,
}

/// How a commit ends in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// As the database says.
    Real,
    /// It is taken back, and says so.
    Denied(Denial),
    /// It is kept, and the answer is lost.
    Unsure,
}

/// What was done to a file whose bytes are a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Bytes were written and may be lost with the power.
    Wrote {
        /// From this offset on.
        at: u64,
        /// So many.
        len: u64,
    },
    /// What was written before cannot be lost any more.
    Synced,
    /// The name points to another file, until a crash perhaps no more.
    Renamed,
    /// The names of its directory cannot be lost any more.
    DirectorySynced,
}

/// As [`point`], at a place that may wait: a simulation holds the task here, lets others go first,
/// or drops it.
pub async fn pass(name: &'static str) {
    point(name);
    #[cfg(debug_assertions)]
    simulation::pass(name).await;
}

/// Whether to take the rare path `name` this time: a lost hint, a small buffer, an early timer.
/// Only ever in a simulation.
#[must_use]
pub fn rarely(name: &'static str) -> bool {
    #[cfg(debug_assertions)]
    return simulation::rarely(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}

/// Whether this thread is a simulation: then nothing may run beside it.
#[must_use]
pub fn is_simulated() -> bool {
    #[cfg(debug_assertions)]
    return simulation::installed().is_some();
    #[cfg(not(debug_assertions))]
    false
}

/// Tells a simulation what was done to a file.
pub fn disk(path: &Path, what: Disk) {
    #[cfg(debug_assertions)]
    simulation::disk(path, what);
    #[cfg(not(debug_assertions))]
    let _ = (path, what);
}
