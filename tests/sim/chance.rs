//! Takes the operating system's randomness out of a world.
//!
//! The standard library seeds its hash maps, and tokio its own generator (the order in which those are
//! woken who wait for one `watch`), from `getrandom`. The linker takes the function below instead of
//! the C library's; in the process of a world it answers the same each time.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;

static FIXED: AtomicBool = AtomicBool::new(false);

/// From here on this process knows no randomness. Threads that have used some keep it: call it
/// before the thread of the world begins.
pub fn abolish() {
    FIXED.store(true, Ordering::SeqCst);
}

/// In the place of the C library's.
///
/// # Safety
/// As for the C library's: `buffer` has room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    len: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    if FIXED.load(Ordering::SeqCst) {
        // SAFETY: the caller's promise.
        unsafe { buffer.cast::<u8>().write_bytes(0x5A, len) };
        return libc::ssize_t::try_from(len).unwrap_or(libc::ssize_t::MAX);
    }
    // SAFETY: the same call with the same arguments.
    let read = unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) };
    libc::ssize_t::try_from(read).unwrap_or(-1)
}
