//! The one fork and exec of a keeper: a session of its own, a control group of its own, three
//! descriptors, nothing else. In two steps: the child is *armed* while the disk works, and executes
//! nothing until it is *released*, when the start is on record.
//!
//! The program is born in its group: `clone3` costs nothing, and to move it there later would make
//! every fork of the machine wait. What may not be cloned so moves itself before it is executed.
//!
//! The program is executed with `execve` on a path found before: `execvp` would hand a file of
//! another machine's format to the shell, and an error of the execution would look like an exit
//! code of the program.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::libc;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;

use super::image::{Image, InputKind, Pointers};
use super::protocol::Refusal;
use super::terminal;
use crate::process::limits::{NICE, OOM_SCORE_ADJUST};
use crate::process::sandbox::Prepared;

const OOM_TEXT: &CStr = c"500";
const _: () = assert!(OOM_SCORE_ADJUST == 500, "the text says the number");

// How far a child came that tells why it is not another program.
const STAGE_PREPARE: i32 = 0;
const STAGE_EXEC: i32 = 1;
const STAGE_SANDBOX: i32 = 2;

/// A program that runs, with the keeper's ends of its pipes.
pub(super) struct Executed {
    pub(super) pid: Pid,
    pub(super) stdout: OwnedFd,
    /// Absent with a terminal, where both are one.
    pub(super) stderr: Option<OwnedFd>,
    /// Present when its standard input stays open.
    pub(super) stdin: Option<OwnedFd>,
    /// Present with a terminal: to type into it and to size it.
    pub(super) terminal: Option<OwnedFd>,
    /// Whether it is in the group that it was to be in.
    pub(super) is_member: bool,
}

/// The keeper's ends and the program's.
struct Connected {
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    child_stdin: Option<OwnedFd>,
    child_stdout: OwnedFd,
    /// None: the same as standard output.
    child_stderr: Option<OwnedFd>,
}

fn connect(image: &Image, file: Option<OwnedFd>) -> Result<Connected, Refusal> {
    if let Some(size) = image.head.terminal {
        let before = |errno: Errno| refusal(false, errno.raw_os_error());
        let owner = image.head.identity.as_ref().map(|identity| identity.uid);
        let terminal::Pair { master, slave } = terminal::open(size, owner).map_err(before)?;
        let again = rustix::io::fcntl_dupfd_cloexec(&master, 3).map_err(before)?;
        let child_stdin = rustix::io::fcntl_dupfd_cloexec(&slave, 3).map_err(before)?;
        return Ok(Connected {
            stdout: master,
            stderr: None,
            stdin: None,
            terminal: Some(again),
            child_stdin: Some(child_stdin),
            child_stdout: slave,
            child_stderr: None,
        });
    }
    let (stdout, child_stdout) = pipe()?;
    let (stderr, child_stderr) = pipe()?;
    let (child_stdin, stdin) = match (image.head.input, file) {
        (InputKind::Open, _) => {
            let (theirs, ours) = pipe()?;
            (Some(theirs), Some(ours))
        }
        (_, file) => (file, None),
    };
    let (stderr, child_stderr) = (Some(stderr), Some(child_stderr));
    let terminal = None;
    Ok(Connected { stdout, stderr, stdin, terminal, child_stdin, child_stdout, child_stderr })
}

/// A child that has everything its program is to have, and waits to become it.
pub(super) struct Armed {
    pid: Pid,
    is_born: bool,
    /// What the child tells when it does not become its program; closed when it does.
    told: OwnedFd,
    /// A byte lets it go, its end tells it to end.
    go: OwnedFd,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

/// Makes a child that will execute `image` in the directory `cwd` and in `group`, and that executes
/// nothing before [`Armed::release`].
pub(super) fn arm(
    image: &Image,
    cwd: &OwnedFd,
    file: Option<OwnedFd>,
    group: Option<BorrowedFd<'_>>,
) -> Result<Armed, Refusal> {
    let prepared = image.head.sandbox.as_ref().map(Prepared::new).transpose();
    let prepared = prepared.map_err(|error| Refusal {
        is_sandbox: true,
        ..refusal(false, error.raw_os_error().unwrap_or(0))
    })?;
    let sandbox = prepared.as_ref();
    let connected = connect(image, file)?;
    let Connected { stdout, stderr, stdin, terminal, .. } = connected;
    let Connected { child_stdin, child_stdout, child_stderr, .. } = connected;
    let (told, tell) = pipe()?;
    let (goes, go) = pipe()?;
    let child = Ends {
        // The keeper's own standard input is /dev/null.
        stdin: child_stdin.as_ref().map_or(0, AsRawFd::as_raw_fd),
        stdout: child_stdout.as_raw_fd(),
        stderr: child_stderr.as_ref().unwrap_or(&child_stdout).as_raw_fd(),
        is_terminal: terminal.is_some(),
        cwd: cwd.as_raw_fd(),
        tell: tell.as_raw_fd(),
        goes: goes.as_raw_fd(),
        go: go.as_raw_fd(),
        enter: -1,
    };
    let pointers = image.pointers();
    let (pid, is_born) = match group.map(clone_into) {
        Some(Ok(0)) => become_program(&pointers, &child, sandbox),
        Some(Ok(pid)) => (pid, true),
        Some(Err(_)) | None => {
            // Filtered, or an older kernel: it enters its group by itself.
            let enter = group.and_then(|group| {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(group, "cgroup.procs", flags, Mode::empty()).ok()
            });
            let child = Ends { enter: enter.as_ref().map_or(-1, AsRawFd::as_raw_fd), ..child };
            match fork()? {
                0 => become_program(&pointers, &child, sandbox),
                pid => (pid, false),
            }
        }
    };
    // The child's ends close here, so that the end of the output can be seen.
    drop((child_stdin, child_stdout, child_stderr, tell, goes));
    let pid = Pid::from_raw(pid).ok_or_else(|| refusal(false, libc::ESRCH))?;
    Ok(Armed { pid, is_born, told, go, stdout, stderr, stdin, terminal })
}

impl Armed {
    /// Lets it become its program. Returns when it runs, or why it does not.
    pub(super) fn release(self, group: Option<BorrowedFd<'_>>) -> Result<Executed, Refusal> {
        let Self { pid, is_born, told, go, stdout, stderr, stdin, terminal } = self;
        // One that has ended has told why.
        let _ = rustix::io::write(&go, &[1]);
        drop(go);
        if let Some(refusal) = refused(&told) {
            // It has told why and ends.
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            return Err(refusal);
        }
        for ours in [Some(&stdout), stderr.as_ref(), stdin.as_ref()].into_iter().flatten() {
            let _ = rustix::io::ioctl_fionbio(ours, true);
        }
        let is_member = is_born || group.is_some_and(|group| is_in(group, pid));
        Ok(Executed { pid, stdout, stderr, stdin, terminal, is_member })
    }

    /// Ends it: it never was a program.
    pub(super) fn disarm(self) {
        drop(self.go);
        let _ = rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty());
    }
}

/// A fork whose child is in `group` from the start: 0 in the child.
fn clone_into(group: BorrowedFd<'_>) -> Result<i32, io::Error> {
    #[expect(unsafe_code, reason = "a fork")]
    // SAFETY: a keeper has one thread, and the child makes system calls only; the structure may be
    // all zeros.
    let pid = unsafe {
        let mut asked: CloneArguments = std::mem::zeroed();
        asked.flags = CLONE_INTO_CGROUP;
        asked.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
        asked.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
        libc::syscall(libc::SYS_clone3, &raw const asked, size_of::<CloneArguments>())
    };
    i32::try_from(pid).ok().filter(|pid| *pid >= 0).ok_or_else(io::Error::last_os_error)
}

/// 0 in the child.
fn fork() -> Result<i32, Refusal> {
    #[expect(unsafe_code, reason = "a fork")]
    // SAFETY: a keeper has one thread, and the child makes system calls only.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => Ok(0),
        Ok(nix::unistd::ForkResult::Parent { child }) => Ok(child.as_raw()),
        Err(errno) => Err(refusal(false, errno as i32)),
    }
}

fn is_in(group: BorrowedFd<'_>, pid: Pid) -> bool {
    let mut text = String::new();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(group, "cgroup.procs", flags, Mode::empty());
    let read = file.map(|file| io::Read::read_to_string(&mut std::fs::File::from(file), &mut text));
    matches!(read, Ok(Ok(_))) && text.lines().any(|line| line == pid.to_string())
}

struct Ends {
    stdin: RawFd,
    stdout: RawFd,
    stderr: RawFd,
    is_terminal: bool,
    cwd: RawFd,
    tell: RawFd,
    /// Where the word to go comes, and the keeper's end of it.
    goes: RawFd,
    go: RawFd,
    /// `cgroup.procs` of the group to enter; negative: none.
    enter: RawFd,
}

/// `struct clone_args` of `linux/sched.h`, which not every C library has.
#[repr(C)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Of `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// In the child, after the fork.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
fn become_program(image: &Pointers<'_>, ends: &Ends, sandbox: Option<&Prepared>) -> ! {
    // SAFETY: plain system calls on values that live; nothing is allocated. The keeper's other
    // descriptors are above the standard three and close at the exec.
    unsafe {
        let mut stage = STAGE_PREPARE;
        let mut nothing: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut nothing);
        give_way(ends.enter);
        let is_ready = libc::setsid() >= 0
            && is_somebody_else(image)
            && libc::fchdir(ends.cwd) == 0
            && libc::dup2(ends.stdin, 0) >= 0
            && libc::dup2(ends.stdout, 1) >= 0
            && libc::dup2(ends.stderr, 2) >= 0
            && (!ends.is_terminal || terminal::control());
        if is_ready {
            // What a keeper ignores or blocks is no business of the program's, nor what whoever
            // started the daemon did: a script's `agentd run &` ignores SIGINT, and Ctrl-C would end
            // nothing in any terminal. Numbers that no program may set are refused, and harmless.
            for signal in 1..=libc::SIGRTMAX() {
                libc::signal(signal, libc::SIG_DFL);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const nothing, std::ptr::null_mut());
            // Kernels before 5.11 do not know it; everything a keeper opens has the flag anyway.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            // Else the end of the keeper would never be seen here.
            libc::close(ends.go);
            await_go(ends.goes);
            stage = STAGE_SANDBOX;
            // Last: nothing that comes before is for the program to do.
            if sandbox.is_none_or(|sandbox| sandbox.enforce()) {
                stage = STAGE_EXEC;
                libc::execve(image.program, image.argv.as_ptr(), image.env.as_ptr());
            }
        }
        let told = [stage, *libc::__errno_location()];
        libc::write(ends.tell, told.as_ptr().cast(), size_of_val(&told));
        libc::_exit(127)
    }
}

/// Waits for the word to go; the end of the keeper, or of the start, is the end of this process.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
unsafe fn await_go(goes: RawFd) {
    // SAFETY: a read of one byte into one that lives.
    unsafe {
        let mut byte = 0_u8;
        loop {
            match libc::read(goes, (&raw mut byte).cast(), 1) {
                1 => return,
                -1 if *libc::__errno_location() == libc::EINTR => {}
                _ => libc::_exit(0),
            }
        }
    }
}

/// Takes its place among the machine's processes: after the daemon. What is refused is no reason not
/// to run.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
unsafe fn give_way(enter: RawFd) {
    // SAFETY: plain system calls on values that live.
    unsafe {
        if enter >= 0 {
            libc::write(enter, c"0".as_ptr().cast(), 1);
        }
        // A keeper hides its memory from programs of the same user; a program's own is its own.
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        if score >= 0 {
            libc::write(score, OOM_TEXT.as_ptr().cast(), OOM_TEXT.count_bytes());
            libc::close(score);
        }
        libc::nice(NICE);
    }
}

/// Becomes the user that programs run as, where that is not the daemon's: all at once and for ever,
/// or not at all.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
unsafe fn is_somebody_else(image: &Pointers<'_>) -> bool {
    let Some(identity) = image.identity else { return true };
    // SAFETY: plain system calls; the groups live in the image.
    unsafe {
        // What a service manager gave the daemon is not for its programs.
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        libc::setgroups(identity.groups.len(), identity.groups.as_ptr()) == 0
            && libc::setresgid(identity.gid, identity.gid, identity.gid) == 0
            && libc::setresuid(identity.uid, identity.uid, identity.uid) == 0
    }
}

/// Waits until the child is another program, or has told why not.
fn refused(told: &OwnedFd) -> Option<Refusal> {
    let mut bytes = [0_u8; 8];
    loop {
        match rustix::io::read(told, &mut bytes) {
            Ok(8) => break,
            Err(Errno::INTR) => {}
            _ => return None,
        }
    }
    let [a, b, c, d, e, f, g, h] = bytes;
    let stage = i32::from_ne_bytes([a, b, c, d]);
    let errno = i32::from_ne_bytes([e, f, g, h]);
    Some(Refusal { is_sandbox: stage == STAGE_SANDBOX, ..refusal(stage == STAGE_EXEC, errno) })
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Refusal> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| refusal(false, io::Error::from(errno).raw_os_error().unwrap_or(0)))
}

const fn refusal(is_exec: bool, errno: i32) -> Refusal {
    Refusal { is_exec, is_sandbox: false, errno }
}
