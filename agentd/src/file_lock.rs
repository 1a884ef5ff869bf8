//! Waiting for a file lock, for a time: the kernel has no such call.

use std::fs::File;
use std::io;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Locks `file` for itself alone, and waits at most `limit` for whoever holds it. Blocks.
///
/// None: it was not to be had in time. The file is given away, because a lock that comes too late
/// belongs to it: it is let go at once.
pub fn lock_within(file: File, limit: Duration) -> io::Result<Option<File>> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let (tell, told) = sync_channel(1);
    let wait = move || {
        let locked = loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                locked => break locked,
            }
        };
        // Nobody waits any more: the file is closed, and with it goes the lock.
        let _ = tell.try_send(locked.map(|()| file));
    };
    std::thread::Builder::new().name("lock".to_owned()).spawn(wait)?;
    match told.recv_timeout(limit) {
        Ok(locked) => Ok(Some(locked?)),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_and_one_that_comes_too_late_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || File::options().create(true).append(true).open(&path).unwrap();
        let held = lock_within(open(), Duration::ZERO).unwrap().expect("it is free");
        assert!(lock_within(open(), Duration::from_millis(20)).unwrap().is_none());
        let waiting = std::thread::spawn({
            let file = open();
            move || lock_within(file, Duration::from_secs(60)).unwrap()
        });
        drop(held);
        drop(waiting.join().unwrap().expect("it was let go"));
        // The one that gave up above does not hold it behind our back.
        assert!(lock_within(open(), Duration::from_secs(60)).unwrap().is_some());
    }
}
