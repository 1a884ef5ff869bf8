//! What a hostile command does that a shell cannot: one forbidden thing, straight at the kernel.
//!
//! `hostile WHAT [VALUE…]` prints `REACHED` if it was done, and why not otherwise. It ends with 0 either
//! way, so that what a sandbox refuses is told apart from a program that did not run.
#![expect(unsafe_code, reason = "system calls that no library offers, because they are attacks")]

use std::ffi::CString;
use std::io::{Error, Result};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;

use nix::libc::{self, c_int, c_long};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match attack(&arguments) {
        Ok(()) => println!("REACHED"),
        Err(error) => println!("refused: {error}"),
    }
}

fn attack(arguments: &[&str]) -> Result<()> {
    match *arguments {
        ["tcp", address] => TcpStream::connect(address).map(drop),
        ["udp", from, to] => UdpSocket::bind(from)?.send_to(b"x", to).map(drop),
        ["ping"] => socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)
            .or_else(|_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
        ["netlink"] => socket(libc::AF_NETLINK, libc::SOCK_RAW, 0),
        ["listen"] => std::net::TcpListener::bind("127.0.0.1:0").map(drop),
        ["unix", path] => UnixStream::connect(path).map(drop),
        ["abstract", name] => abstract_socket(name),
        ["pair", path] => datagram_through_a_pair(path),
        ["io_uring"] => {
            let mut parameters = [0_u8; 120];
            call(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) })
        }
        ["trace", pid] => call(unsafe { libc::ptrace(libc::PTRACE_SEIZE, number(pid), 0, 0) }),
        ["peek", pid] => peek(number(pid)),
        ["pidfd", pid] => {
            let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, number(pid), 0) };
            call(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, 0, 0) })
        }
        ["nice", pid] => call(c_long::from(unsafe {
            libc::setpriority(libc::PRIO_PROCESS, number(pid).unsigned_abs(), 15)
        })),
        ["mount", path] => {
            let (path, kind) = (text(path), text("tmpfs"));
            let (from, none) = (kind.as_ptr(), std::ptr::null());
            call(c_long::from(unsafe { libc::mount(from, path.as_ptr(), from, 0, none) }))
        }
        ["unshare"] => {
            call(c_long::from(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }))
        }
        ["empty", path] => {
            let flags = libc::O_RDONLY | libc::O_TRUNC;
            call(c_long::from(unsafe { libc::open(text(path).as_ptr(), flags) }))
        }
        ["tmpfile", dir, name] => unnamed_file(dir, name),
        ["exchange", one, two] => {
            let (one, two) = (text(one), text(two));
            let at = libc::AT_FDCWD;
            let flags = libc::RENAME_EXCHANGE;
            call(c_long::from(unsafe {
                libc::renameat2(at, one.as_ptr(), at, two.as_ptr(), flags)
            }))
        }
        ["attribute", path] => {
            let (path, name) = (text(path), text("user.evil"));
            let value = b"x".as_ptr().cast();
            call(c_long::from(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value, 1, 0) }))
        }
        ["flags", path] => inode_flags(path),
        ["shared", key] => {
            call(c_long::from(unsafe { libc::shmget(number(key), 4096, libc::IPC_CREAT | 0o600) }))
        }
        ["descriptors"] => descriptors(),
        ["memory", pid] => {
            let path = format!("/proc/{pid}/mem");
            std::fs::OpenOptions::new().write(true).open(path).map(drop)
        }
        _ => Err(Error::other(format!("no such attack: {arguments:?}"))),
    }
}

fn call(answer: c_long) -> Result<()> {
    if answer < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn number(text: &str) -> c_int {
    text.parse().unwrap_or(0)
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<()> {
    call(c_long::from(unsafe { libc::socket(family, kind, protocol) }))
}

fn abstract_socket(name: &str) -> Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).map(drop)
}

/// A pair of datagram sockets needs no `socket` and can send to others all the same.
fn datagram_through_a_pair(path: &str) -> Result<()> {
    let mut pair: [RawFd; 2] = [0; 2];
    call(c_long::from(unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, pair.as_mut_ptr())
    }))?;
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = 1;
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from.cast_signed();
    }
    let size = u32::try_from(size_of_val(&address)).unwrap_or(0);
    let to = (&raw const address).cast();
    let sent = unsafe { libc::sendto(pair[0], b"x".as_ptr().cast(), 1, 0, to, size) };
    call(sent as c_long)
}

/// Whether another process's memory may be read; where nothing is mapped, the kernel says so only to
/// whom it would let.
fn peek(pid: c_int) -> Result<()> {
    let mut byte = 0_u8;
    let ours = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let theirs = libc::iovec { iov_base: std::ptr::without_provenance_mut(4096), iov_len: 1 };
    let read = unsafe { libc::process_vm_readv(pid, &raw const ours, 1, &raw const theirs, 1, 0) };
    match call(read as c_long) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        ended => ended,
    }
}

/// A file without a name that gets one when it is written.
fn unnamed_file(dir: &str, name: &str) -> Result<()> {
    let flags = libc::O_TMPFILE | libc::O_RDWR;
    let fd = unsafe { libc::open(text(dir).as_ptr(), flags, 0o600) };
    call(c_long::from(fd))?;
    let (from, to) = (text(&format!("/proc/self/fd/{fd}")), text(name));
    let at = libc::AT_FDCWD;
    call(c_long::from(unsafe {
        libc::linkat(at, from.as_ptr(), at, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
    }))
}

/// Sets "no dump" on a file that is open for reading alone, as `chattr +d` does.
fn inode_flags(path: &str) -> Result<()> {
    const SET_FLAGS: libc::c_ulong = 0x4008_6602;
    const NO_DUMP: c_long = 0x40;
    let fd = unsafe { libc::open(text(path).as_ptr(), libc::O_RDONLY) };
    call(c_long::from(fd))?;
    let flags = NO_DUMP;
    call(c_long::from(unsafe { libc::ioctl(fd, SET_FLAGS as _, &raw const flags) }))
}

/// Writes to whatever was left open for it.
fn descriptors() -> Result<()> {
    let is_open = |fd: RawFd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
    match (3..1024).find(|fd| is_open(*fd)) {
        Some(_) => Ok(()),
        None => Err(Error::other("none was left open")),
    }
}
