//! The one fork and exec of a keeper: a session of its own, three descriptors, nothing else.
//!
//! The program is executed with `execve` on a path found before: `execvp` would hand a file of
//! another machine's format to the shell, and an error of the execution would look like an exit
//! code of the program.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::unistd::ForkResult;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;

use super::image::{Image, InputKind, Pointers};
use super::protocol::Refusal;

/// A program that runs, with the keeper's ends of its pipes.
pub(super) struct Executed {
    pub(super) pid: Pid,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Present when its standard input stays open.
    pub(super) stdin: Option<OwnedFd>,
}

/// Executes `image` in the directory `cwd`. Returns when it runs, or why it does not.
pub(super) fn execute(
    image: &Image,
    cwd: &OwnedFd,
    file: Option<OwnedFd>,
) -> Result<Executed, Refusal> {
    let (stdout, child_stdout) = pipe()?;
    let (stderr, child_stderr) = pipe()?;
    let (child_stdin, stdin) = match (image.head.input, file) {
        (InputKind::Open, _) => {
            let (theirs, ours) = pipe()?;
            (Some(theirs), Some(ours))
        }
        (_, file) => (file, None),
    };
    let (told, tell) = pipe()?;
    let child = Ends {
        // The keeper's own standard input is /dev/null.
        stdin: child_stdin.as_ref().map_or(0, AsRawFd::as_raw_fd),
        stdout: child_stdout.as_raw_fd(),
        stderr: child_stderr.as_raw_fd(),
        cwd: cwd.as_raw_fd(),
        tell: tell.as_raw_fd(),
    };
    let pointers = image.pointers();
    #[expect(unsafe_code, reason = "a fork")]
    // SAFETY: a keeper has one thread, and the child makes system calls only.
    let forked = unsafe { nix::unistd::fork() };
    let pid = match forked {
        Ok(ForkResult::Child) => become_program(&pointers, &child),
        Ok(ForkResult::Parent { child }) => child.as_raw(),
        Err(errno) => return Err(refusal(false, errno as i32)),
    };
    // The child's ends close here, so that the end of the output can be seen.
    drop((child_stdin, child_stdout, child_stderr, tell));
    let pid = Pid::from_raw(pid).ok_or_else(|| refusal(false, libc::ESRCH))?;
    if let Some(refusal) = refused(&told) {
        // It has told why and ends.
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        return Err(refusal);
    }
    for ours in [Some(&stdout), Some(&stderr), stdin.as_ref()].into_iter().flatten() {
        let _ = rustix::io::ioctl_fionbio(ours, true);
    }
    Ok(Executed { pid, stdout, stderr, stdin })
}

struct Ends {
    stdin: RawFd,
    stdout: RawFd,
    stderr: RawFd,
    cwd: RawFd,
    tell: RawFd,
}

/// In the child, after the fork.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
fn become_program(image: &Pointers, ends: &Ends) -> ! {
    // SAFETY: plain system calls on values that live; nothing is allocated. The keeper's other
    // descriptors are above the standard three and close at the exec.
    unsafe {
        let mut is_exec = 0;
        let mut nothing: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut nothing);
        let is_ready = libc::setsid() >= 0
            && libc::fchdir(ends.cwd) == 0
            && libc::dup2(ends.stdin, 0) >= 0
            && libc::dup2(ends.stdout, 1) >= 0
            && libc::dup2(ends.stderr, 2) >= 0;
        if is_ready {
            // What a keeper ignores or blocks is no business of the program's.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const nothing, std::ptr::null_mut());
            // Kernels before 5.11 do not know it; everything a keeper opens has the flag anyway.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            is_exec = 1;
            libc::execve(image.program, image.argv.as_ptr(), image.env.as_ptr());
        }
        let told = [is_exec, *libc::__errno_location()];
        libc::write(ends.tell, told.as_ptr().cast(), size_of_val(&told));
        libc::_exit(127)
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
    Some(refusal(i32::from_ne_bytes([a, b, c, d]) == 1, i32::from_ne_bytes([e, f, g, h])))
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Refusal> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| refusal(false, io::Error::from(errno).raw_os_error().unwrap_or(0)))
}

const fn refusal(is_exec: bool, errno: i32) -> Refusal {
    Refusal { is_exec, errno }
}
