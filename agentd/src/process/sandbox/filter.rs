//! The half of the sandbox that knows system calls: a filter of what Landlock does not cover.
//!
//! ```text
//! another architecture ─► ENOSYS      a number that is not known here, x32 too ─► ENOSYS
//! listed ─► EPERM                     listed with a condition ─► its arguments decide
//! everything else ─► allowed
//! ```
//!
//! A list of what is refused, and not of what is allowed: programs of every language run here, and most
//! of what a kernel can do is harmless under the ruleset. It is closed at its upper end instead: what a
//! later kernel adds is refused until somebody has looked at it. By hand, since no filter generator
//! knows that last rule, and what is refused can be read here from top to bottom.

use nix::libc;

use super::landlock::{SIGNALS_SINCE, TRUNCATE_SINCE};

/// `SECCOMP_MODE_FILTER`.
pub(super) const MODE_FILTER: libc::c_ulong = 2;

/// `open_tree_attr`, of Linux 6.15: the last one that was looked at. From 424 on the numbers are those
/// of every architecture.
const LAST_KNOWN: u32 = 467;

/// The architecture as the kernel names it in `seccomp_data`; none: not one that is known here.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xC000_003E)
} else if cfg!(target_arch = "aarch64") {
    Some(0xC000_00B7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xC000_00F3)
} else {
    None
};

// Offsets in `struct seccomp_data`; of an argument the lower half, on little-endian machines.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

// Instructions of `linux/bpf_common.h`.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const fn errno(errno: i32) -> u32 {
    0x0005_0000 | errno.unsigned_abs()
}
const REFUSE: u32 = errno(libc::EPERM);

/// Refused, whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    // Owner, mode, times and attributes of what is only read.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SYS_SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_REMOVEXATTRAT,
    // Every socket: of the internet, of this machine, of the kernel.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // A second way to do what is refused here.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes, and their memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_ioprio_set,
    // Another view of the file system, or of anything.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    // The machine.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // Keys, and what stays in the kernel when its maker is gone.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Names that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[libc::SYS_kexec_load];

/// Where the ruleset knows no signals: nobody can say whom one is for.
const SIGNALS: &[libc::c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
];

/// Allowed for the caller itself, which is process 0.
const OWN_ONLY: &[libc::c_long] = &[
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
];

// Newer than some C libraries' headers; the same everywhere.
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_REMOVEXATTRAT: libc::c_long = 466;
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;

/// Commands of terminals that put something into them for others to read.
const TYPES_FOR_OTHERS: &[u32] = &[
    0x5412, // TIOCSTI
    0x541C, // TIOCLINUX
    0x541D, // TIOCCONS
    0x5423, // TIOCSETD
];

/// Any of the name spaces that a clone can make.
const NEW_NAMESPACES: u32 = 0x7E02_0080;

/// Whether the kernel takes filters that answer with an error.
pub(super) fn is_available() -> bool {
    const GET_ACTION_AVAIL: libc::c_long = 2;
    let action = REFUSE & 0xffff_0000;
    #[expect(unsafe_code, reason = "a system call that the C library does not wrap")]
    // SAFETY: the kernel reads one number that lives.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    known == 0 && ARCHITECTURE.is_some() && cfg!(target_endian = "little")
}

/// The filter beside a ruleset of version `abi`.
pub(super) fn program(abi: u32) -> Vec<libc::sock_filter> {
    let mut out = Program::default();
    out.load(ARCH);
    out.unless(JUMP_EQUAL, ARCHITECTURE.unwrap_or_default(), errno(libc::ENOSYS));
    out.load(NUMBER);
    out.when(JUMP_AT_LEAST, LAST_KNOWN + 1, errno(libc::ENOSYS));
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        out.when(JUMP_EQUAL, number(*call), REFUSE);
    }
    if abi < SIGNALS_SINCE {
        for call in SIGNALS {
            out.when(JUMP_EQUAL, number(*call), REFUSE);
        }
    }
    // Its flags stand in memory, which a filter cannot read; a C library then takes `clone`.
    out.when(JUMP_EQUAL, number(libc::SYS_clone3), errno(libc::ENOSYS));
    out.block(libc::SYS_clone, |out| {
        out.load(argument(0));
        out.when(JUMP_ANY_BIT, NEW_NAMESPACES, REFUSE);
        out.give(ALLOW);
    });
    // A pair that is connected to itself; one of datagrams could be sent to others.
    out.block(libc::SYS_socketpair, |out| {
        out.load(argument(0));
        out.unless(JUMP_EQUAL, libc::AF_UNIX.unsigned_abs(), REFUSE);
        out.load(argument(1));
        out.step(AND, 0xf);
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
            out.when(JUMP_EQUAL, kind.unsigned_abs(), ALLOW);
        }
        out.give(REFUSE);
    });
    // Of all commands those of terminals, which also say whether something is one.
    out.block(libc::SYS_ioctl, |out| {
        out.load(argument(1));
        for command in TYPES_FOR_OTHERS {
            out.when(JUMP_EQUAL, *command, REFUSE);
        }
        out.step(AND, 0xff00);
        out.when(JUMP_EQUAL, 0x5400, ALLOW);
        out.give(errno(libc::ENOTTY));
    });
    out.block(libc::SYS_setpriority, |out| {
        for index in [0, 1] {
            out.load(argument(index));
            out.unless(JUMP_EQUAL, 0, REFUSE);
        }
        out.give(ALLOW);
    });
    for call in OWN_ONLY {
        out.block(*call, |out| {
            out.load(argument(0));
            out.unless(JUMP_EQUAL, 0, REFUSE);
            out.give(ALLOW);
        });
    }
    if abi < TRUNCATE_SINCE {
        out.truncation();
    }
    out.give(ALLOW);
    out.0
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

#[derive(Default)]
struct Program(Vec<libc::sock_filter>);

impl Program {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.0.push(libc::sock_filter { code, jt, jf, k });
    }

    fn load(&mut self, offset: u32) {
        self.push(LOAD, 0, 0, offset);
    }

    fn step(&mut self, code: u16, k: u32) {
        self.push(code, 0, 0, k);
    }

    fn give(&mut self, answer: u32) {
        self.push(RETURN, 0, 0, answer);
    }

    /// Gives `answer` where the test holds.
    fn when(&mut self, test: u16, k: u32, answer: u32) {
        self.push(test, 0, 1, k);
        self.give(answer);
    }

    /// Gives `answer` where the test does not hold.
    fn unless(&mut self, test: u16, k: u32, answer: u32) {
        self.push(test, 1, 0, k);
        self.give(answer);
    }

    /// What decides about one call. `body` must give an answer on every way: it loads something
    /// else than the number.
    fn block(&mut self, call: libc::c_long, body: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        body(&mut inner);
        let len = u8::try_from(inner.0.len()).unwrap_or(u8::MAX);
        self.push(JUMP_EQUAL, 0, len, number(call));
        self.0.append(&mut inner.0);
    }

    /// What the ruleset learnt with version 3.
    fn truncation(&mut self) {
        self.when(JUMP_EQUAL, number(libc::SYS_truncate), REFUSE);
        self.when(JUMP_EQUAL, number(libc::SYS_openat2), errno(libc::ENOSYS));
        #[cfg(target_arch = "x86_64")]
        self.block(libc::SYS_open, |out| out.no_truncating_read(1));
        self.block(libc::SYS_openat, |out| out.no_truncating_read(2));
    }

    /// Refuses flags that open for reading and empty the file all the same.
    fn no_truncating_read(&mut self, flags: u32) {
        let mask = (libc::O_ACCMODE | libc::O_TRUNC).unsigned_abs();
        self.load(argument(flags));
        self.step(AND, mask);
        self.when(JUMP_EQUAL, (libc::O_RDONLY | libc::O_TRUNC).unsigned_abs(), REFUSE);
        self.give(ALLOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does.
    fn answer(program: &[libc::sock_filter], arch: u32, number: u32, arguments: &[u64]) -> u32 {
        let mut accumulator = 0_u32;
        let mut at = 0;
        loop {
            let step = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                LOAD => {
                    accumulator = match step.k {
                        NUMBER => number,
                        ARCH => arch,
                        offset => {
                            let index = (offset as usize - 16) / 8;
                            arguments.get(index).map_or(0, |value| *value as u32)
                        }
                    }
                }
                AND => accumulator &= step.k,
                JUMP_EQUAL => at += jump(accumulator == step.k),
                JUMP_AT_LEAST => at += jump(accumulator >= step.k),
                JUMP_ANY_BIT => at += jump(accumulator & step.k != 0),
                RETURN => return step.k,
                code => panic!("{code:#x}"),
            }
        }
    }

    fn here(abi: u32, call: libc::c_long, arguments: &[u64]) -> u32 {
        answer(&program(abi), ARCHITECTURE.unwrap(), u32::try_from(call).unwrap(), arguments)
    }

    #[test]
    fn a_filter_is_whole_and_every_jump_stays_inside() {
        for abi in 1..=7 {
            let program = program(abi);
            assert!(program.len() < 4_096, "{} instructions", program.len());
            for (at, step) in program.iter().enumerate() {
                if matches!(step.code, JUMP_EQUAL | JUMP_AT_LEAST | JUMP_ANY_BIT) {
                    let furthest = at + 1 + usize::from(step.jt.max(step.jf));
                    assert!(furthest < program.len(), "{at} jumps to {furthest}");
                }
            }
        }
    }

    #[test]
    fn what_is_listed_is_refused_and_what_reads_is_not() {
        for abi in [1, 7] {
            for call in REFUSED.iter().chain(REFUSED_HERE) {
                assert_eq!(here(abi, *call, &[]), REFUSE, "{call}");
            }
            for call in [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_exit_group] {
                assert_eq!(here(abi, call, &[]), ALLOW, "{call}");
            }
        }
    }

    #[test]
    fn what_nobody_has_looked_at_is_not_there() {
        const STATMOUNT: u32 = 457;
        let absent = errno(libc::ENOSYS);
        let (all, arch) = (program(7), ARCHITECTURE.unwrap());
        for number in [LAST_KNOWN + 1, 1_000, 0x4000_0000, 0x4000_0000 | 41, u32::MAX] {
            assert_eq!(answer(&all, arch, number, &[]), absent, "{number:#x}");
        }
        assert_eq!(answer(&all, arch, STATMOUNT, &[]), ALLOW);
        // The same machine's older instruction set, where every number means something else.
        assert_eq!(answer(&all, 0x4000_0003, 1, &[]), absent);
        assert_eq!(here(7, libc::SYS_clone3, &[]), absent);
    }

    #[test]
    fn arguments_decide_where_a_call_has_a_harmless_form() {
        let rows: &[(libc::c_long, &[u64], u32)] = &[
            (libc::SYS_clone, &[17], ALLOW),
            (libc::SYS_clone, &[0x4000_0011], REFUSE),
            (libc::SYS_clone, &[0x1000_0000], REFUSE),
            (libc::SYS_socketpair, &[1, 1], ALLOW),
            (libc::SYS_socketpair, &[1, 1 | 0x80000], ALLOW),
            (libc::SYS_socketpair, &[1, 2], REFUSE),
            (libc::SYS_socketpair, &[16, 3], REFUSE),
            (libc::SYS_ioctl, &[0, 0x5401], ALLOW),
            (libc::SYS_ioctl, &[0, 0x5412], REFUSE),
            (libc::SYS_ioctl, &[0, 0x4008_6602], errno(libc::ENOTTY)),
            (libc::SYS_setpriority, &[0, 0, 5], ALLOW),
            (libc::SYS_setpriority, &[0, 4_242, 5], REFUSE),
            (libc::SYS_setpriority, &[2, 0, 5], REFUSE),
            (libc::SYS_prlimit64, &[0, 7], ALLOW),
            (libc::SYS_prlimit64, &[4_242, 7], REFUSE),
        ];
        for (call, arguments, expected) in rows {
            assert_eq!(here(7, *call, arguments), *expected, "{call} {arguments:x?}");
        }
    }

    #[test]
    fn an_old_ruleset_is_made_up_for() {
        let flags = |flags: i32| u64::from(flags.unsigned_abs());
        let emptying = [0, 0, flags(libc::O_RDONLY | libc::O_TRUNC)];
        let writing = [0, 0, flags(libc::O_WRONLY | libc::O_TRUNC)];
        assert_eq!(here(2, libc::SYS_openat, &emptying), REFUSE);
        // The ruleset decides about it.
        assert_eq!(here(2, libc::SYS_openat, &writing), ALLOW);
        assert_eq!(here(3, libc::SYS_openat, &emptying), ALLOW);
        assert_eq!(here(2, libc::SYS_truncate, &[]), REFUSE);
        for call in SIGNALS {
            assert_eq!((here(5, *call, &[]), here(6, *call, &[])), (REFUSE, ALLOW));
        }
    }
}
