//! One child of the operating system: executing it, and learning how it ended.
//!
//! The seam at which a supervisor outside the daemon can take over: everything above knows a
//! process by its pipes, its pid and its end, and not by who its parent is.
//!
//! The program is executed with `execve` on a path found before: `execvp` would hand a file of
//! another machine's format to the shell, and an error of the execution would look like an exit
//! code of the program.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::libc;
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use shared::protocol::process::{Exit, Stdin};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::StartError;
use super::launch::{self, Launch};

/// A child that was executed, with the daemon's ends of its pipes (non-blocking).
pub(super) struct Spawned {
    pub(super) child: Child,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Present when its standard input stays open.
    pub(super) stdin: Option<OwnedFd>,
}

/// The leader of a process: its pid is its own until [`Child::ended`] has told its end.
pub(super) struct Child {
    pid: Pid,
    pidfd: AsyncFd<Arc<OwnedFd>>,
}

/// Executes `launch` in a session and a group of its own. Returns when it runs, or why not.
pub(super) fn spawn(launch: &Launch) -> Result<Spawned, StartError> {
    let program = launch
        .program
        .as_ref()
        .map_err(|cause| StartError::Spawn { program: launch.name.clone(), cause: *cause })?;
    let (stdout, child_stdout) = pipe()?;
    let (stderr, child_stderr) = pipe()?;
    let (stdin, child_stdin) = match &launch.stdin {
        Stdin::Closed => (None, Stdio::null()),
        Stdin::Bytes { data } => (None, Stdio::from(file_of(data)?)),
        Stdin::Open => {
            let (child_end, ours) = raw_pipe()?;
            rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK).map_err(pipe_error)?;
            (Some(ours), Stdio::from(child_end))
        }
    };
    let image = Image::new(launch, program);
    let mut command = Command::new("/");
    command.stdin(child_stdin).stdout(child_stdout).stderr(child_stderr);
    #[expect(unsafe_code, reason = "a session, a directory by descriptor and execve itself")]
    // SAFETY: between fork and exec the closure makes system calls only: it allocates nothing,
    // takes no lock, and what it reads was built before.
    unsafe {
        command.pre_exec(move || image.execute());
    }
    let spawned = command.spawn();
    // The child's ends close here, so that the end of the output can be seen.
    drop(command);
    let process = spawned.map_err(|error| spawn_error(launch, program, error))?;
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| StartError::NoRoom(io::Error::other("no pid")))?;
    let child = Child::adopt(pid).inspect_err(|_| {
        // Nobody could learn of its end: it must not run.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    })?;
    Ok(Spawned { child, stdout, stderr, stdin })
}

impl Child {
    fn adopt(pid: Pid) -> Result<Self, StartError> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(pipe_error)?;
        let pidfd = watch(pidfd, Interest::READABLE).map_err(StartError::Pipe)?;
        Ok(Self { pid, pidfd })
    }

    /// The operating system's pid; also the id of its session and of its group.
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the end and reaps it. Cancel-safe. Not to be asked again after it has told.
    pub(super) async fn ended(&self) -> Exit {
        loop {
            // A failed readiness only costs the wake; the state is asked for below.
            let ready = self.pidfd.readable().await;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(Some(status)) => {
                    return match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code { code },
                        (None, signal) => {
                            Exit::Signal { signal: signal.unwrap_or(0), core: status.dumped() }
                        }
                    };
                }
                Ok(None) | Err(Errno::INTR) => {}
                // Somebody else has reaped it; its code is lost and its end is not.
                Err(_) => return Exit::Signal { signal: 0, core: false },
            }
            if let Ok(mut ready) = ready {
                ready.clear_ready();
            }
        }
    }
}

/// Registers a descriptor with the executor.
pub(super) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    #[expect(unsafe_code, reason = "the registration needs a promise about the descriptor")]
    // SAFETY: an `OwnedFd` is open and the same for as long as it lives; the registration holds it.
    let registered = unsafe { AsyncFd::register_with_interest(Arc::new(fd), interest) };
    registered.map_err(Into::into)
}

/// What `execve` gets, with the pointers made before the fork.
struct Image {
    program: CString,
    /// Own what the pointers point to.
    _argv: Vec<CString>,
    _env: Vec<CString>,
    argv_pointers: Vec<*const c_char>,
    env_pointers: Vec<*const c_char>,
    /// Open as long as the launch lives, which is longer than the call of `spawn`.
    cwd: RawFd,
}

#[expect(unsafe_code, reason = "the pointers lead to heap memory that the same value owns")]
// SAFETY: nothing is changed after `new`, and a move of the value moves no string's bytes.
unsafe impl Send for Image {}
#[expect(unsafe_code, reason = "see above")]
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    fn new(launch: &Launch, program: &CString) -> Self {
        let (argv, env) = (launch.argv.clone(), launch.env.clone());
        let pointers = |strings: &[CString]| {
            let ends = std::iter::once(std::ptr::null());
            strings.iter().map(|string| string.as_ptr()).chain(ends).collect()
        };
        Self {
            program: program.clone(),
            argv_pointers: pointers(&argv),
            env_pointers: pointers(&env),
            _argv: argv,
            _env: env,
            cwd: launch.cwd.fd.as_raw_fd(),
        }
    }

    /// In the child, after the fork. Returns only with an error.
    #[expect(unsafe_code, reason = "system calls between fork and exec")]
    fn execute(&self) -> io::Result<()> {
        // SAFETY: plain system calls on values that live; see `spawn`.
        unsafe {
            if libc::setsid() < 0 || libc::fchdir(self.cwd) < 0 {
                return Err(io::Error::last_os_error());
            }
            // Whatever the daemon itself inherited or has open without the flag. Kernels before
            // 5.11 do not know it; everything the daemon opens has the flag anyway.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::execve(
                self.program.as_ptr(),
                self.argv_pointers.as_ptr(),
                self.env_pointers.as_ptr(),
            );
        }
        Err(io::Error::last_os_error())
    }
}

/// Makes processes whose parent has ended the daemon's children, so that a daemon that a command
/// left behind is found and reaped. Reap with `tree::reap_strays`.
pub fn be_subreaper() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Into::into)
}

/// A pipe that the child writes: the daemon's end does not block.
fn pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    let (ours, child_end) = raw_pipe()?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK).map_err(pipe_error)?;
    Ok((ours, child_end))
}

fn raw_pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(pipe_error)
}

/// A file in memory: the child reads it at its own pace, and nobody has to write.
fn file_of(data: &[u8]) -> Result<OwnedFd, StartError> {
    let fd = rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC).map_err(pipe_error)?;
    let mut file = std::fs::File::from(fd);
    io::Write::write_all(&mut file, data).map_err(StartError::Pipe)?;
    io::Seek::rewind(&mut file).map_err(StartError::Pipe)?;
    Ok(file.into())
}

fn pipe_error(errno: Errno) -> StartError {
    match errno {
        Errno::MFILE | Errno::NFILE => StartError::TooManyOpenFiles,
        _ => StartError::Pipe(errno.into()),
    }
}

fn spawn_error(launch: &Launch, program: &CString, error: io::Error) -> StartError {
    let Some(errno) = error.raw_os_error() else { return StartError::NoRoom(error) };
    match Errno::from_raw_os_error(errno) {
        Errno::MFILE | Errno::NFILE => StartError::TooManyOpenFiles,
        Errno::AGAIN | Errno::NOMEM => StartError::NoRoom(error),
        Errno::TOOBIG => {
            let bytes = launch.argv.iter().chain(&launch.env).map(|s| s.as_bytes().len() + 9).sum();
            StartError::TooLarge { what: "argv and env together".to_owned(), bytes }
        }
        _ => {
            let path = Path::new(std::ffi::OsStr::from_bytes(program.as_bytes()));
            let cause = launch::cause(path, errno);
            StartError::Spawn { program: launch.name.clone(), cause }
        }
    }
}

/// Sends a signal that has only a number to the group of `leader`.
pub(super) fn signal_group(leader: Pid, number: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the safe wrappers know named signals only")]
    // SAFETY: kill takes two numbers and touches no memory.
    let sent = unsafe { libc::kill(-leader.as_raw_pid(), number) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
