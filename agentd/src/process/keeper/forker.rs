//! The program that makes keepers: one thread, small, and started by the daemon as a child.
//!
//! A fork of the daemon itself would copy its page tables and could meet a lock that another
//! thread holds; a program that is executed for every process would cost twice as much. So one
//! small program forks, and does so ahead: there is always one *spare*, ready to be a keeper, and
//! what a fork and a first look at the code cost is paid before anybody waits.
//!
//! ```text
//! forker ──fork──► spare ──takes an order──► keeper
//!    ▲                 │
//!    └── "taken": forks the next one; its end without that: another one, or the daemon is gone
//! ```

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::libc;
use nix::unistd::ForkResult;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::pipe::PipeFlags;

use super::rehearsal::rehearse;
use super::run::{self, Apart, Order};
use crate::resident::Code;

/// Descriptors of a message, at most: an order's last one may be missing.
const FDS_MAX: usize = 4;

/// Serves orders from the socket that is standard input, until the daemon is gone. Standard output
/// is the lock that tells the next daemon that no more keepers come from here.
///
/// Also returns in every keeper, when it has done its work.
pub fn run_forker() -> io::Result<()> {
    #[expect(unsafe_code, reason = "what was inherited, and a signal's disposition")]
    // SAFETY: this is a program of its own with one thread; the daemon has handed over nothing
    // above the standard descriptors, and no handler is set.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
        // Nobody waits for a keeper.
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        // Nor for programs of the same user to read: an image holds arguments and environments.
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
    }
    // What is forked from here is in the workspace's groups.
    for nursery in std::env::args_os().skip(2) {
        let _ = std::fs::write(std::path::Path::new(&nursery).join("cgroup.procs"), "0");
    }
    let orders = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let lock = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    // A signal to the daemon's group or terminal is not for this program.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    let _ = rustix::thread::set_name(c"agentd-forker");
    let code = Code::own();
    // What the start has used is not used again.
    code.give_back();
    loop {
        let (taken, take) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        #[expect(unsafe_code, reason = "a fork")]
        // SAFETY: this program has one thread.
        let forked = unsafe { nix::unistd::fork() };
        match forked {
            Ok(ForkResult::Child) => {
                drop(taken);
                return spare(orders, take, lock, code);
            }
            Ok(ForkResult::Parent { .. }) => {
                drop(take);
                if !is_told(&taken) && is_hung_up(&orders) {
                    return Ok(());
                }
            }
            // The next order is nobody's: its link closes, and the daemon sees that.
            Err(_) => {
                if receive(&orders)?.is_none() {
                    return Ok(());
                }
            }
        }
    }
}

/// Waits for an order and keeps what it is about. The lock is held until the keeper can be found, or
/// has gone without executing anything.
fn spare(orders: OwnedFd, take: OwnedFd, lock: OwnedFd, code: Code) -> io::Result<()> {
    let _ = rustix::thread::set_name(c"agentd-spare");
    let apart = Apart::new()?;
    rehearse();
    let Some(order) = receive(&orders)? else { return Ok(()) };
    drop(orders);
    run::keep(order, apart, Taken(take), lock, code)
}

/// An order that was taken; the forker makes the next spare when it is told.
pub(super) struct Taken(OwnedFd);

impl Taken {
    /// Tells it. Dropped untold it is the end of a spare, which has the same effect.
    pub(super) fn tell(self) {
        // A forker that is gone makes no more.
        let _ = rustix::io::write(&self.0, &[1]);
    }
}

/// Whether a byte comes before the end.
fn is_told(fd: &OwnedFd) -> bool {
    loop {
        match rustix::io::read(fd, &mut [0]) {
            Err(Errno::INTR) => {}
            read => return read == Ok(1),
        }
    }
}

/// Whether the daemon is gone and everything it ordered was taken.
fn is_hung_up(orders: &OwnedFd) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(orders, &mut [0; 1], flags), Ok((0, _)))
}

/// Sends the descriptors of one order, or of the word to go. Never blocks.
pub(in crate::process) fn send(to: &impl AsFd, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(to, &[io::IoSlice::new(&[0])], &mut control, flags)?;
    Ok(())
}

/// The next order; none when the daemon is gone.
fn receive(orders: &OwnedFd) -> io::Result<Option<Order>> {
    while let Some(fds) = receive_fds(orders)? {
        let mut fds = fds.into_iter();
        let mut next = || fds.next();
        // An order that came in part is none: its link closes, and the daemon sees that.
        if let (Some(image), Some(link), Some(cwd)) = (next(), next(), next()) {
            return Ok(Some(Order { image, link, cwd, file: next() }));
        }
    }
    Ok(None)
}

/// The descriptors that come with one byte; none at the end.
pub(super) fn receive_fds(from: &OwnedFd) -> io::Result<Option<Vec<OwnedFd>>> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let buffer = &mut [io::IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(from.as_fd(), buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes == 0 => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let fds = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        return Ok(Some(fds.collect()));
    }
}
