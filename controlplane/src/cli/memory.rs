//! How the allocator keeps what was freed.

/// From this size on a buffer is a mapping of its own, which is gone when it is dropped.
#[cfg(target_env = "gnu")]
const OWN_MAPPING_BYTES: i32 = 64 * 1024;
/// Heaps for all threads together.
#[cfg(target_env = "gnu")]
const HEAPS: i32 = 2;

/// Has memory that was freed go back to the system. By itself the allocator learns to take large
/// buffers from its heaps, a heap for each thread, and keeps there what lies below something that still
/// lives: 50 viewers that read nothing cost 2 MiB each instead of half a one (P06). To be called before
/// there is a second thread.
pub(super) fn keep_little() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "calls of the C library")]
    // SAFETY: it sets numbers of the allocator's.
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES);
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, HEAPS);
    }
}
