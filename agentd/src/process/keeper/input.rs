//! Standard input that stays open: writes in order, each done once, none waited for by blocking.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use shared::ids::OpId;

use super::protocol::{InputOutcome, Said};

/// How long a full pipe is waited for before the writer is told.
const BLOCKED_AFTER: Duration = Duration::from_secs(5);
/// Operations whose answer is remembered for a daemon that asks again.
const REMEMBERED: usize = 16;
/// Writes that wait; a daemon sends one at a time.
const QUEUE: usize = 8;

/// The pipe and what waits for it.
#[derive(Default)]
pub(super) struct Input {
    pipe: Option<OwnedFd>,
    queue: VecDeque<Write>,
    done: VecDeque<(OpId, u64, InputOutcome)>,
}

struct Write {
    ask: u64,
    op: OpId,
    data: Vec<u8>,
    at: usize,
    close: bool,
    until: Option<Instant>,
}

impl Input {
    pub(super) fn new(pipe: Option<OwnedFd>) -> Self {
        Self { pipe, ..Self::default() }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// The pipe, while something waits for room in it.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| !self.queue.is_empty()).map(AsFd::as_fd)
    }

    /// When the write in progress is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.front().and_then(|write| write.until)
    }

    /// Takes a write in. The answer, when it is known at once: an operation that was done before is
    /// not done again, and one that waits is answered under its new number.
    pub(super) fn add(&mut self, ask: u64, op: OpId, data: Vec<u8>, close: bool) -> Option<Said> {
        if let Some((_, written, outcome)) = self.done.iter().find(|(done, ..)| *done == op) {
            return Some(Said::Written { ask, written: *written, outcome: *outcome });
        }
        if let Some(waiting) = self.queue.iter_mut().find(|write| write.op == op) {
            waiting.ask = ask;
            return None;
        }
        if self.queue.len() >= QUEUE {
            return Some(Said::Written { ask, written: 0, outcome: InputOutcome::Blocked });
        }
        self.queue.push_back(Write { ask, op, data, at: 0, close, until: None });
        None
    }

    /// Writes what the pipe takes. Gives the answers that are known now.
    pub(super) fn pump(&mut self, now: Instant) -> Vec<Said> {
        let mut answers = Vec::new();
        while let Some(write) = self.queue.front_mut() {
            let until = *write.until.get_or_insert(now + BLOCKED_AFTER);
            let outcome = match &self.pipe {
                None => Some(InputOutcome::Closed),
                Some(pipe) => pour(pipe, write),
            };
            let outcome = outcome.or((now >= until).then_some(InputOutcome::Blocked));
            let Some(outcome) = outcome else { break };
            let written = write.at as u64;
            answers.push(Said::Written { ask: write.ask, written, outcome });
            self.done.push_back((write.op, written, outcome));
            if self.done.len() > REMEMBERED {
                self.done.pop_front();
            }
            if write.close || outcome == InputOutcome::Closed {
                self.pipe = None;
            }
            self.queue.pop_front();
        }
        answers
    }

    /// Nobody is there to read any more.
    pub(super) fn close(&mut self) {
        self.pipe = None;
    }
}

/// None: the pipe is full.
fn pour(pipe: &OwnedFd, write: &mut Write) -> Option<InputOutcome> {
    while write.at < write.data.len() {
        match rustix::io::write(pipe, &write.data[write.at..]) {
            Ok(taken) => write.at += taken,
            Err(Errno::AGAIN) => return None,
            Err(Errno::INTR) => {}
            Err(_) => return Some(InputOutcome::Closed),
        }
    }
    Some(InputOutcome::Done)
}

#[cfg(test)]
mod tests {
    use shared::ids::{IdSource, SystemIds};

    use super::*;

    fn now() -> Instant {
        shared::clock::Clock::now(&shared::clock::SystemClock)
    }

    #[test]
    fn an_operation_is_written_once_and_answered_twice() {
        let ids = SystemIds::new();
        let op: OpId = (&ids as &dyn IdSource).id();
        let (theirs, ours) = rustix::pipe::pipe().unwrap();
        let mut input = Input::new(Some(ours));
        assert_eq!(input.add(1, op, b"once".to_vec(), false), None);
        let written = |ask| Said::Written { ask, written: 4, outcome: InputOutcome::Done };
        assert_eq!(input.pump(now()), [written(1)]);
        assert_eq!(input.add(2, op, b"once".to_vec(), true), Some(written(2)));
        drop(input);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(theirs), &mut text).unwrap();
        assert_eq!(text, "once");
    }

    #[test]
    fn a_full_pipe_is_given_up_at_its_time_and_says_how_much_it_took() {
        let ids = SystemIds::new();
        let (_theirs, ours) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&ours, true).unwrap();
        let mut input = Input::new(Some(ours));
        let now = now();
        assert_eq!(input.add(1, (&ids as &dyn IdSource).id(), vec![0; 1 << 20], false), None);
        assert_eq!(input.pump(now), []);
        let late = input.deadline().unwrap();
        let answer = input.pump(late).pop().unwrap();
        let Said::Written { written, outcome, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(outcome, InputOutcome::Blocked);
        assert!(written > 0 && written < 1 << 20);
    }
}
