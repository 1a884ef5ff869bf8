//! The terminal of a keeper: the pair of descriptors, its size, and what is typed into it.
//!
//! Input is taken in order and at most once: each viewer numbers what it sends, and a number that
//! is not higher than the highest taken is dropped. What is taken is written, however long the
//! program does not read: the daemon sends no more than a window ahead.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{InputModes, OptionalActions, Winsize};
use shared::protocol::pty::PtySize;

use super::protocol::{Said, TerminalStatus, Typed, TypingOutcome};
use super::timeline::Timeline;

/// Viewers whose highest number is remembered; the one that typed longest ago is forgotten.
const TYPISTS_MAX: usize = 128;
/// Less than a terminal gives at a time when it has more.
const FEW_BYTES: usize = 1024;
/// Input that waits, in pieces. A daemon that sends more is refused: it has a window of its own.
const QUEUE: usize = 64;

/// Both ends of a new terminal.
pub(super) struct Pair {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Opens a terminal of `size` for text in UTF-8, which belongs to `owner` where that is not the
/// keeper's user.
pub(super) fn open(size: PtySize, owner: Option<u32>) -> rustix::io::Result<Pair> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    // Without a path, where the kernel can: the daemon's /dev/pts may be another one.
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).or_else(|_| {
        let path = rustix::pty::ptsname(&master, Vec::new())?;
        rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
    })?;
    if let Some(owner) = owner {
        rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(owner)), None)?;
    }
    let mut modes = rustix::termios::tcgetattr(&slave)?;
    // So that an erased character is erased whole.
    modes.input_modes |= InputModes::IUTF8;
    rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes)?;
    set_size(&master, size)?;
    Ok(Pair { master, slave })
}

/// Reads what there is behind what `buffer` has, until there is no more or it is full. Gives how much.
pub(super) fn read(master: &OwnedFd, buffer: &mut Vec<u8>) -> rustix::io::Result<usize> {
    let before = buffer.len();
    while buffer.len() < buffer.capacity() {
        match rustix::io::read(master, rustix::buffer::spare_capacity(buffer)) {
            // Few bytes are all there is; what comes now is seen by the next look.
            Ok(read) if read > 0 && read < FEW_BYTES => break,
            Ok(read) if read > 0 => {}
            // What was read comes first; the end is seen again.
            ended if buffer.len() == before => return ended,
            _ => break,
        }
    }
    Ok(buffer.len() - before)
}

fn set_size(master: &OwnedFd, size: PtySize) -> rustix::io::Result<()> {
    let (ws_col, ws_row) = (size.cols(), size.rows());
    let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size)
}

/// A terminal whose program runs.
pub(super) struct Terminal {
    master: OwnedFd,
    timeline: Timeline,
    queue: VecDeque<Typing>,
    /// The one that typed last stands last.
    typed: VecDeque<Typed>,
    is_closed: bool,
}

struct Typing {
    ask: u64,
    viewer: String,
    seq: u64,
    data: Vec<u8>,
    at: usize,
}

impl Terminal {
    pub(super) const fn new(master: OwnedFd, timeline: Timeline) -> Self {
        Self { master, timeline, queue: VecDeque::new(), typed: VecDeque::new(), is_closed: false }
    }

    /// What is remembered of those who typed.
    pub(super) fn typed(&self) -> Vec<Typed> {
        self.typed.iter().cloned().collect()
    }

    pub(super) fn status(&self) -> TerminalStatus {
        TerminalStatus { size: self.timeline.size(), sizes: self.timeline.sizes() }
    }

    /// Output that begins at `offset` was read at `at_ms`.
    pub(super) fn wrote(&mut self, offset: u64, at_ms: i64) {
        self.timeline.wrote(offset, at_ms);
    }

    /// Gives the terminal another size; what is written from `offset` on is for it.
    pub(super) fn resize(&mut self, size: PtySize, offset: u64, at_ms: i64) {
        if size == self.timeline.size() {
            return;
        }
        // On record before the program can know: what it draws for the new size comes after.
        self.timeline.resized(size, offset, at_ms);
        // A terminal that is gone has no size.
        let _ = set_size(&self.master, size);
    }

    /// The group that the terminal's keys and hang-up are for; none when the program is gone.
    pub(super) fn foreground(&self) -> Option<i32> {
        let group = rustix::termios::tcgetpgrp(&self.master).ok()?;
        Some(group.as_raw_pid()).filter(|group| *group > 1)
    }

    /// The terminal, while something waits for room in it.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        Some(self.master.as_fd()).filter(|_| !self.queue.is_empty())
    }

    /// Takes input in. The answer, when it is known at once.
    pub(super) fn add(
        &mut self,
        ask: u64,
        viewer: String,
        seq: u64,
        data: Vec<u8>,
    ) -> Option<Said> {
        let answer = |outcome| Some(Said::Typed { ask, outcome });
        if let Some(waiting) =
            self.queue.iter_mut().find(|typing| typing.viewer == viewer && typing.seq == seq)
        {
            waiting.ask = ask;
            return None;
        }
        let known = self.typed.iter().position(|typed| typed.viewer == viewer);
        let highest = known.and_then(|at| self.typed.get(at)).map_or(0, |typed| typed.seq);
        if seq <= highest {
            return answer(TypingOutcome::Done);
        }
        if self.is_closed {
            return answer(TypingOutcome::Closed);
        }
        if self.queue.len() >= QUEUE {
            return answer(TypingOutcome::Full);
        }
        if let Some(known) = known {
            self.typed.remove(known);
        } else if self.typed.len() >= TYPISTS_MAX {
            self.typed.pop_front();
        }
        self.typed.push_back(Typed { viewer: viewer.clone(), seq });
        self.queue.push_back(Typing { ask, viewer, seq, data, at: 0 });
        None
    }

    /// Looks for output at once, for as long as an echo takes. To sleep and to be woken for it costs more
    /// than to look; whoever has work on this processor goes first.
    pub(super) fn has_echo(&self, until: impl Fn() -> bool) -> bool {
        let none = Timespec::default();
        loop {
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            if rustix::event::poll(&mut fds, Some(&none)).is_ok_and(|ready| ready > 0) {
                return true;
            }
            if until() {
                return false;
            }
            rustix::thread::sched_yield();
        }
    }

    /// Writes what the terminal takes. Gives the answers that are known now.
    pub(super) fn pump(&mut self) -> Vec<Said> {
        let mut answers = Vec::new();
        while let Some(typing) = self.queue.front_mut() {
            let outcome = pour(&self.master, typing);
            let Some(outcome) = outcome else { break };
            answers.push(Said::Typed { ask: typing.ask, outcome });
            self.queue.pop_front();
        }
        answers
    }

    /// The program ended: nobody reads any more.
    pub(super) fn close(&mut self) -> Vec<Said> {
        self.is_closed = true;
        let gone = self.queue.drain(..);
        gone.map(|typing| Said::Typed { ask: typing.ask, outcome: TypingOutcome::Closed }).collect()
    }
}

/// None: the terminal is full.
fn pour(master: &OwnedFd, typing: &mut Typing) -> Option<TypingOutcome> {
    while typing.at < typing.data.len() {
        match rustix::io::write(master, &typing.data[typing.at..]) {
            Ok(taken) => typing.at += taken,
            Err(Errno::AGAIN) => return None,
            Err(Errno::INTR) => {}
            Err(_) => return Some(TypingOutcome::Closed),
        }
    }
    Some(TypingOutcome::Done)
}

/// Makes the terminal that is standard input the controlling one. In the child, after the fork.
pub(super) fn control() -> bool {
    #[expect(unsafe_code, reason = "a system call between fork and exec")]
    // SAFETY: the ioctl takes a number and touches no memory.
    unsafe {
        nix::libc::ioctl(rustix::stdio::stdin().as_raw_fd(), nix::libc::TIOCSCTTY, 0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(dir: &std::path::Path) -> (Terminal, OwnedFd) {
        let Pair { master, slave } = open(PtySize::default(), None).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let mut raw = rustix::termios::tcgetattr(&slave).unwrap();
        raw.make_raw();
        rustix::termios::tcsetattr(&slave, OptionalActions::Now, &raw).unwrap();
        (Terminal::new(master, Timeline::new(dir.join("t"), PtySize::default(), 0)), slave)
    }

    fn done(ask: u64) -> Said {
        Said::Typed { ask, outcome: TypingOutcome::Done }
    }

    #[test]
    fn each_number_of_a_viewer_is_typed_once() {
        let dir = tempfile::tempdir().unwrap();
        let (mut terminal, slave) = terminal(dir.path());
        let mut add = |ask, viewer: &str, seq, data: &[u8]| {
            let answer = terminal.add(ask, viewer.to_owned(), seq, data.to_vec());
            (answer, terminal.pump())
        };
        assert_eq!(add(1, "a", 1, b"one"), (None, vec![done(1)]));
        assert_eq!(add(2, "a", 1, b"one"), (Some(done(2)), vec![]));
        assert_eq!(add(3, "b", 1, b"two"), (None, vec![done(3)]));
        assert_eq!(add(4, "a", 9, b"six"), (None, vec![done(4)]));
        assert_eq!(add(5, "a", 8, b"no"), (Some(done(5)), vec![]));
        let mut bytes = Vec::new();
        while bytes.len() < 9 {
            let mut some = [0; 64];
            let read = rustix::io::read(&slave, &mut some).unwrap();
            bytes.extend_from_slice(&some[..read]);
        }
        assert_eq!(bytes, b"onetwosix");
        let typed: Vec<_> = terminal.typed().into_iter().map(|t| (t.viewer, t.seq)).collect();
        assert_eq!(typed, [("b".to_owned(), 1), ("a".to_owned(), 9)]);
    }

    #[test]
    fn what_is_not_read_waits_within_bounds_and_ends_with_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let (mut terminal, _slave) = terminal(dir.path());
        let mut full = 0;
        for seq in 1..=100 {
            if terminal.add(seq, "a".to_owned(), seq, vec![b'x'; 64 * 1024]).is_some() {
                full += 1;
            }
            assert!(terminal.pump().is_empty(), "nobody reads");
        }
        assert_eq!(full, 100 - QUEUE);
        assert!(terminal.wanted().is_some());
        assert_eq!(terminal.close().len(), QUEUE);
        let closed = Said::Typed { ask: 1, outcome: TypingOutcome::Closed };
        assert_eq!(terminal.add(1, "b".to_owned(), 1, vec![1]), Some(closed));
    }
}
