//! The sandbox of a process that may change nothing: what the operating system keeps it from.
//! `docs/design/021-sandbox.md`.
//!
//! ```text
//! daemon    probes once what the kernel has ──► told in hello, status, doctor
//!           refuses `sandbox_unavailable` where it is not enough; makes the private directory
//! keeper    Prepared: a Landlock ruleset and a filter of system calls, before the fork
//! child     no new privileges, no capabilities, ruleset, filter ──► execve           one that fails: not executed
//! keeper    its leader ended: everything it started is killed
//! daemon    removes the private directory with what the keeper had
//! ```
//!
//! | Kept from | By |
//! |---|---|
//! | changing what a path names: write, create, remove, rename, link, truncate | Landlock |
//! | changing owner, mode, times, attributes; mounts, namespaces, modules, clocks | the filter |
//! | every kind of network, and sockets of this machine | the filter; Landlock where it can |
//! | signals and traces of what it did not start | Landlock; below ABI 6 the filter, which refuses all signals |
//! | privileges of a set-user-id program, of root | no new privileges; capabilities but reading are dropped |
//!
//! Writable are the private directory (`TMPDIR`), `/dev/null`, `/dev/zero` and `/dev/full`. Reading is as
//! it is without: what is read can leave only through the answer to the model.

mod filter;
mod landlock;
mod scratch;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};
use shared::protocol::process::SandboxFacts;

pub(super) use scratch::{make as make_scratch, path as scratch_path, remove as remove_scratch};

/// Which part of what the kernel has may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SandboxUse {
    /// What the machine has.
    #[default]
    Auto,
    /// Landlock as on Linux 5.13, its first version.
    Oldest,
    /// None: what asks for a sandbox is refused.
    Off,
}

/// What a keeper needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SandboxPlan {
    pub(super) facts: SandboxFacts,
    /// Where it may write.
    pub(super) scratch: PathBuf,
}

/// Everything that the child needs between fork and exec.
pub(super) struct Prepared {
    ruleset: OwnedFd,
    filter: Vec<libc::sock_filter>,
}

/// What this machine can hold a sandbox with.
///
/// # Errors
/// For people: what is missing.
pub fn available(allowed: SandboxUse) -> Result<SandboxFacts, String> {
    if allowed == SandboxUse::Off {
        return Err("it is turned off by the daemon's options".to_owned());
    }
    if !filter::is_available() {
        return Err("the kernel or the container has no seccomp filters".to_owned());
    }
    let newest = landlock::abi().map_err(|error| {
        format!("the kernel or the container has no Landlock ({error}); Linux 5.13 or newer has")
    })?;
    let landlock_abi = if allowed == SandboxUse::Oldest { 1 } else { newest };
    Ok(SandboxFacts { landlock_abi, seccomp: true })
}

impl Prepared {
    /// Makes both halves. In the keeper, before the fork.
    pub(super) fn new(plan: &SandboxPlan) -> io::Result<Self> {
        let abi = plan.facts.landlock_abi;
        let ruleset = landlock::read_only(abi, Path::new(&plan.scratch))?;
        Ok(Self { ruleset, filter: filter::program(abi) })
    }

    /// Takes everything away, for ever. In the child, before the exec: system calls on values that
    /// live, nothing is allocated.
    #[expect(unsafe_code, reason = "system calls between fork and exec")]
    pub(super) unsafe fn enforce(&self) -> bool {
        let program = libc::sock_fprog {
            // Checked by a test: a filter has far fewer instructions.
            len: self.filter.len() as libc::c_ushort,
            filter: self.filter.as_ptr().cast_mut(),
        };
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: each call takes numbers, or pointers to values that live here; the kernel copies.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && has_dropped_capabilities()
                // A core file would be written where the program stood.
                && libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) == 0
                && libc::syscall(libc::SYS_landlock_restrict_self, self.ruleset.as_raw_fd(), 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, filter::MODE_FILTER, &raw const program) == 0
        }
    }
}

/// `struct __user_cap_header_struct` and two of `__user_cap_data_struct`, as version 3 has them.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// Reading what others own stays as it is without a sandbox.
const CAP_DAC_READ_SEARCH: u32 = 1 << 2;

/// With no new privileges, an exec gives back none of them, not to root either.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
unsafe fn has_dropped_capabilities() -> bool {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: plain system calls on values that live; the structures are as the version says.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if libc::syscall(libc::SYS_capget, &raw const header, &raw mut words) != 0 {
            return false;
        }
        let kept = words[0].permitted & CAP_DAC_READ_SEARCH;
        words = [CapabilityWord::default(); 2];
        words[0] = CapabilityWord { effective: kept, permitted: kept, inheritable: 0 };
        libc::syscall(libc::SYS_capset, &raw const header, &raw const words) == 0
    }
}
