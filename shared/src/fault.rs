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
//! each commit.

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
