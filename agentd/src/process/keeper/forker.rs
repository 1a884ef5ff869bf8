//! The program that makes keepers: one thread, small, and started by the daemon as a child.
//!
//! A fork of the daemon itself would copy its page tables and could meet a lock that another
//! thread holds; a program that is executed for every process would cost twice as much. So one
//! small program waits for orders and forks.

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

use super::run::{self, Order};
use crate::resident::Code;

/// Descriptors of an order, at most; the last one may be missing.
const ORDER_FDS: usize = 6;

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
    while let Some(order) = receive(&orders)? {
        #[expect(unsafe_code, reason = "a fork")]
        // SAFETY: this program has one thread.
        let forked = unsafe { nix::unistd::fork() };
        if let Ok(ForkResult::Child) = forked {
            drop((orders, lock));
            return run::keep(order, code);
        }
        // A fork that failed closes the descriptors: the daemon reads the end of the link.
    }
    Ok(())
}

/// Sends the descriptors of one order. Never blocks.
pub(in crate::process) fn send(orders: &OwnedFd, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ORDER_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(orders, &[io::IoSlice::new(&[0])], &mut control, flags)?;
    Ok(())
}

/// The next order; none when the daemon is gone.
fn receive(orders: &OwnedFd) -> io::Result<Option<Order>> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ORDER_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let buffer = &mut [io::IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(orders.as_fd(), buffer, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes == 0 => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut fds = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let mut next = || fds.next();
        // An order that came in part is none: its link closes, and the daemon sees that.
        if let (Some(image), Some(link), Some(listener), Some(record), Some(cwd)) =
            (next(), next(), next(), next(), next())
        {
            let file = next();
            return Ok(Some(Order { image, link, listener, record, cwd, file }));
        }
    }
}
