//! The half of the sandbox that knows files: a Landlock ruleset under which nothing is writable but
//! one directory and the devices that take everything.
//!
//! Three system calls, by hand: the ruleset must be a descriptor that a child can use between fork and
//! exec, and the rights must be exactly those of the ABI that was told to people.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::libc;
use rustix::fs::{Mode, OFlags};

/// Newest version whose rights are known here.
const KNOWN_ABI: u32 = 7;

// Of `linux/landlock.h`.
const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
const WRITE_FILE: u64 = 1 << 1;
/// Remove, make of every kind: bits 4 to 12.
const REMOVE_AND_MAKE: u64 = 0x1ff0;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
const SCOPE_ABSTRACT_SOCKETS: u64 = 1;
const SCOPE_SIGNALS: u64 = 1 << 1;

/// Devices that keep nothing, by path and number.
const NOTHING: &[(&CStr, u32, u32)] =
    &[(c"/dev/null", 1, 3), (c"/dev/zero", 1, 5), (c"/dev/full", 1, 7)];

#[repr(C)]
#[derive(Default)]
struct RulesetAttributes {
    files: u64,
    network: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// The version that the kernel has, at most the newest that is known here.
pub(super) fn abi() -> io::Result<u32> {
    let none = std::ptr::null::<RulesetAttributes>();
    #[expect(unsafe_code, reason = "a system call that the C library does not wrap")]
    // SAFETY: with this flag the kernel reads no attributes.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, CREATE_RULESET_VERSION)
    };
    match u32::try_from(version) {
        Ok(version) if version >= 1 => Ok(version.min(KNOWN_ABI)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Below which version the ruleset knows no signals, so that the filter has to.
pub(super) const SIGNALS_SINCE: u32 = 6;
/// Below which version a file that is open for reading can be truncated.
pub(super) const TRUNCATE_SINCE: u32 = 3;

/// Every right to change something, as version `abi` knows them.
const fn all_writes(abi: u32) -> u64 {
    let mut rights = WRITE_FILE | REMOVE_AND_MAKE;
    if abi >= 2 {
        rights |= REFER;
    }
    if abi >= TRUNCATE_SINCE {
        rights |= TRUNCATE;
    }
    if abi >= 5 {
        rights |= IOCTL_DEV;
    }
    rights
}

/// A ruleset under which only what is below `scratch` can be changed.
pub(super) fn read_only(abi: u32, scratch: &Path) -> io::Result<OwnedFd> {
    let mut attributes = RulesetAttributes { files: all_writes(abi), ..Default::default() };
    // A kernel refuses bytes that it does not know.
    let mut size = size_of::<u64>();
    if abi >= 4 {
        attributes.network = BIND_TCP | CONNECT_TCP;
        size = 2 * size_of::<u64>();
    }
    if abi >= SIGNALS_SINCE {
        attributes.scoped = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS;
        size = size_of::<RulesetAttributes>();
    }
    #[expect(unsafe_code, reason = "a system call that the C library does not wrap")]
    // SAFETY: the attributes live, and the size is not more than theirs.
    let fd = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0_u32)
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    #[expect(unsafe_code, reason = "a new descriptor gets its owner")]
    // SAFETY: the kernel has just made it, closed on exec, and nobody else has it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd) };
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let scratch = rustix::fs::open(scratch, flags | OFlags::DIRECTORY, Mode::empty())?;
    allow(&ruleset, &scratch, all_writes(abi))?;
    let of_files = all_writes(abi) & (WRITE_FILE | TRUNCATE | IOCTL_DEV);
    for (path, major, minor) in NOTHING {
        let Ok(device) = rustix::fs::open(*path, flags, Mode::empty()) else { continue };
        let stat = rustix::fs::fstat(&device)?;
        // A file in its place would keep what is written.
        let is_device = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_char_device();
        if is_device && stat.st_rdev == rustix::fs::makedev(*major, *minor) {
            allow(&ruleset, &device, of_files)?;
        }
    }
    Ok(ruleset)
}

fn allow(ruleset: &OwnedFd, beneath: &OwnedFd, rights: u64) -> io::Result<()> {
    let rule = PathBeneath { allowed: rights, parent: beneath.as_raw_fd() };
    #[expect(unsafe_code, reason = "a system call that the C library does not wrap")]
    // SAFETY: the rule lives, and is laid out as the type of rule says.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
