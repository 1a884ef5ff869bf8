//! Waiting for what happens outside the program, by what the kernel tells of it.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, Signal};

/// Longest wait, in seconds; then a test has failed.
const PATIENCE: i64 = 60;
/// Between two looks at what has no event.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Looks within the patience.
const LOOKS: u32 = 12_000;

/// Waits until `path` exists. Blocks, so the process that makes it must not need this runtime.
pub fn until_exists(path: &Path) {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    let made = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&events, path.parent().unwrap(), made).unwrap();
    let mut space = [MaybeUninit::uninit(); 4_096];
    while !path.exists() {
        readable(&events, &format!("{} never came", path.display()));
        inotify::Reader::new(&events, &mut space).next().unwrap();
    }
}

/// Waits until `path` does not exist any more. Blocks.
pub fn until_removed(path: &Path) {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&events, path.parent().unwrap(), inotify::WatchFlags::DELETE).unwrap();
    let mut space = [MaybeUninit::uninit(); 4_096];
    while path.exists() {
        readable(&events, &format!("{} is still there", path.display()));
        inotify::Reader::new(&events, &mut space).next().unwrap();
    }
}

/// Waits until the process `pid` has ended. Blocks.
pub fn until_gone(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // None: it has gone already.
    if let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        readable(&pidfd, &format!("{pid:?} does not end"));
    }
}

/// SIGKILL, and the end of it; what is gone already is as well.
pub fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    if let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        readable(&pidfd, &format!("{pid:?} does not end"));
    }
}

fn readable(fd: &impl AsFd, otherwise: &str) {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let ready = rustix::event::poll(&mut fds, Some(&patience)).unwrap();
    assert!(ready > 0, "{otherwise}");
}

/// Looks until there is something to see, a moment apart and not for ever. Only for what the kernel
/// tells nobody, or nobody but a parent: a process that is halted or goes, the group that it is in,
/// the end of processes that are no children. Everything else has an event to wait for.
pub async fn seen<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    };
    in_time(looking).await.unwrap_or_else(|| panic!("it was not seen that {what}"))
}

/// [`seen`] where nothing can wait: it blocks.
pub fn seen_blocking<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(seen) = look() {
            return seen;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    panic!("it was not seen that {what}");
}

/// `wait`, with the patience of every wait.
pub async fn in_time<T>(wait: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(PATIENCE.unsigned_abs()), wait).await.ok()
}
