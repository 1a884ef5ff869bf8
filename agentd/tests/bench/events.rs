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

/// `wait`, with the patience of every wait.
pub async fn in_time<T>(wait: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(PATIENCE.unsigned_abs()), wait).await.ok()
}
