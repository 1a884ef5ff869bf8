//! Memory that is there and not needed: of code that ran once, of records that were dropped.
//!
//! Most memory of a program at rest is pages of its own file that its start has touched. They lie in
//! the page cache anyway; what is given back here is touched again, by the page, when it runs again.

use std::ffi::c_void;
use std::os::unix::process::CommandExt;

use rustix::mm::Advice;

/// Where the code and the constants of this program and its libraries lie. Nothing in there is ever
/// written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code(Vec<(usize, usize)>);

impl Code {
    /// Of this process. A fork has the same.
    pub(crate) fn own() -> Self {
        // Without it nothing is given back.
        Self::of(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default())
    }

    fn of(maps: &str) -> Self {
        Self(maps.lines().filter_map(clean).collect())
    }

    /// Gives back what is not in use. Costs a page fault for each run of pages that is used again.
    pub(crate) fn give_back(&self) {
        for (start, len) in &self.0 {
            let start = std::ptr::with_exposed_provenance_mut::<c_void>(*start);
            #[expect(unsafe_code, reason = "advice about memory")]
            // SAFETY: a private mapping of a file that is never written: the kernel reads the same
            // bytes again from the file.
            let _ = unsafe { rustix::mm::madvise(start, *len, Advice::LinuxDontNeed) };
        }
    }
}

/// Gives memory that was allocated and freed back to the system, from every arena. The allocator by
/// itself keeps what lies below something that still lives, in each thread's arena: after thousands of
/// records were dropped that is most of the program. Takes about a millisecond for each 10 MiB.
pub(crate) fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a call of the C library")]
    // SAFETY: it locks each arena for itself and moves nothing.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// How the allocator of a daemon is told to behave, in its own words: one heap for all threads, and no
/// cache for each thread. A heap per thread is one whose end is never given back, half a MiB to two for a
/// file that was rewritten once; and each of the hundreds of pieces that a cache holds keeps its page,
/// whatever lay beside it: +9 % of the program after 10,000 processes, +2 % without (P30).
pub const HEAP_TUNABLES: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0");

/// Executes this program anew with [`HEAP_TUNABLES`], which are read when a program begins and at no
/// other time. Goes on as it is where they are set already, by whomever, and where that cannot be. What
/// the daemon starts has an environment of its own.
pub fn begin_with_one_heap() {
    let (name, value) = HEAP_TUNABLES;
    if !cfg!(target_env = "gnu") || std::env::var_os(name).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let Some(called) = arguments.next() else { return };
    let mut again = std::process::Command::new(program);
    // Returns only if it fails.
    let _ = again.arg0(called).args(arguments).env(name, value).exec();
}

/// Start and length of the mapping on `line`, if it is of a file and cannot have been written: code, or
/// the constants with which a file begins. What the loader writes, and then protects, lies further on.
fn clean(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (permissions, offset) = (fields.next()?, fields.next()?);
    let is_code = permissions == "r-xp";
    let is_first = permissions == "r--p" && usize::from_str_radix(offset, 16) == Ok(0);
    let is_file = fields.nth(2).is_some_and(|path| path.starts_with('/'));
    if !is_file || !(is_code || is_first) {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-3000 r--p 00000000 fe:00 123 /usr/bin/agentd
3000-9000 r-xp 00002000 fe:00 123 /usr/bin/agentd
9000-a000 r--p 00008000 fe:00 123 /usr/bin/agentd
a000-b000 rw-p 00009000 fe:00 123 /usr/bin/agentd
c000-d000 rw-p 00000000 00:00 0 [heap]
e000-f000 r--p 00000000 00:00 0 [vvar]
f000-10000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn only_what_cannot_have_been_written_is_given_back() {
        assert_eq!(Code::of(MAPS), Code(vec![(0x1000, 0x2000), (0x3000, 0x6000)]));
        assert_eq!(Code::of("nonsense\n\n1-x r-xp"), Code::default());
    }

    #[test]
    fn a_program_goes_on_after_it() {
        let code = Code::own();
        assert!(!code.0.is_empty());
        code.give_back();
        assert_eq!(Code::own(), code);
    }
}
