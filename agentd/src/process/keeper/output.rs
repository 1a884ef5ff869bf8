//! Output of the process, from its pipes or its terminal into the log, and what is found out on the way.

use std::os::fd::AsFd;

use std::time::Instant;

use rustix::io::Errno;
use shared::clock::Clock;
use shared::protocol::process::{OutputStream, ProcessFacts};

use super::flow::FLOOD_TOLD;
use super::machine::Event;
use super::record::{self, Note};
use super::run::Keeper;
use super::terminal;

/// One read: what a pipe holds by default. A pipe that fills it is a flood.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// A flooded pipe is made this large, so that reader and writer meet less often.
const BULK_PIPE_BYTES: usize = 1024 * 1024;

impl Keeper {
    /// Once from one pipe, or from the terminal, into the log.
    pub(super) fn read(&mut self, stream: OutputStream) {
        if self.terminal.is_some() {
            return self.read_terminal();
        }
        let (pipe, index) = match stream {
            OutputStream::Stdout => (&mut self.stdout, 0),
            OutputStream::Stderr => (&mut self.stderr, 1),
        };
        let (Some(fd), Some(writer)) = (&*pipe, &mut self.writer) else { return };
        let was_flooded = self.flooded[index];
        let read = match was_flooded.then(|| writer.splice(stream, fd.as_fd())) {
            Some(moved @ (Ok(_) | Err(Errno::AGAIN | Errno::INTR))) => {
                self.fresh.skip();
                moved
            }
            // Also for a file system that cannot, and for a full disk: what is lost is counted.
            _ => {
                self.buffer.clear();
                let read = rustix::io::read(fd, rustix::buffer::spare_capacity(&mut self.buffer));
                writer.append(stream, &self.buffer);
                self.fresh.add(&self.buffer);
                read
            }
        };
        match read {
            Ok(read) if read > 0 => {
                let is_flooded = read >= READ_BYTES;
                if is_flooded && !was_flooded {
                    // Refused when the user has many large pipes; a small one works as well.
                    let _ = rustix::pipe::fcntl_setpipe_size(fd, BULK_PIPE_BYTES);
                }
                self.flooded[index] = is_flooded;
                self.has_news = true;
                return;
            }
            Err(Errno::AGAIN | Errno::INTR) => return,
            _ => *pipe = None,
        }
        self.flooded[index] = false;
        self.end_output();
    }

    /// What the terminal has. A flood is collected for a moment: it comes in pieces of a few KiB, and
    /// to write and to tell each of them would cost more than to read them.
    fn read_terminal(&mut self) {
        let Some(fd) = &self.stdout else { return };
        match terminal::read(fd, &mut self.buffer) {
            Ok(read) if read > 0 => {
                let now = self.clock.now();
                self.has_news = true;
                self.unwritten.get_or_insert_with(|| (now, self.clock.now_ms()));
                self.flooded[0] = self.flow.add(read, now);
                if !self.flooded[0] || self.buffer.len() == self.buffer.capacity() {
                    self.write_down();
                }
                return;
            }
            Err(Errno::AGAIN | Errno::INTR) => return,
            _ => {}
        }
        self.write_down();
        self.stdout = None;
        self.flooded[0] = false;
        self.end_output();
    }

    /// Puts into the log what was read from the terminal: before anything that says where the log ends.
    pub(super) fn write_down(&mut self) {
        let Some((_, at_ms)) = self.unwritten.take() else { return };
        if let Some(terminal) = &mut self.terminal {
            terminal.wrote(self.log.extent().total, at_ms);
        }
        if let Some(writer) = &mut self.writer {
            writer.append(OutputStream::Stdout, &self.buffer);
        }
        self.fresh.add(&self.buffer);
        self.buffer.clear();
    }

    pub(super) fn write_down_in_time(&mut self) {
        if self.next_written().is_some_and(|at| self.clock.now() >= at) {
            self.write_down();
        }
    }

    /// When what was read from the terminal must be in the log.
    pub(super) fn next_written(&self) -> Option<Instant> {
        self.unwritten.map(|(since, _)| since + FLOOD_TOLD)
    }

    fn end_output(&mut self) {
        if self.stdout.is_none() && self.stderr.is_none() {
            // Closes the log.
            self.writer = None;
            self.buffer = Vec::new();
            self.learn_facts();
            self.apply(Event::OutputEnded);
        }
    }

    /// Looks whether memory or processes ran out meanwhile, and writes down what is new.
    pub(super) fn learn_facts(&mut self) {
        let (oom_killed, pids_limit) = self.ending.hits();
        // Once, when it is final; until then the log's own state tells it.
        let is_complete = self.writer.is_none();
        let spool_full = is_complete.then(|| self.log.spool_full()).filter(|bytes| *bytes > 0);
        let facts = ProcessFacts { oom_killed, pids_limit, spool_full, ..self.facts.clone() };
        if facts != self.facts {
            self.has_news = true;
            let _ = record::append(&mut self.record, &Note::Facts(facts.clone()));
            self.facts = facts;
        }
    }
}
