//! Output of the process, from its pipes or its terminal into the log, and what is found out on the way.

use std::os::fd::AsFd;

use rustix::io::Errno;
use shared::clock::Clock;
use shared::protocol::process::{OutputStream, ProcessFacts};

use super::machine::Event;
use super::record::{self, Note};
use super::run::Keeper;
use super::terminal;

/// One read: what a pipe holds by default. A pipe that fills it is a flood.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// A flooded pipe is made this large, so that reader and writer meet less often.
const BULK_PIPE_BYTES: usize = 1024 * 1024;

impl Keeper {
    /// Once from one pipe into the log.
    pub(super) fn read(&mut self, stream: OutputStream) {
        let (pipe, index) = match stream {
            OutputStream::Stdout => (&mut self.stdout, 0),
            OutputStream::Stderr => (&mut self.stderr, 1),
        };
        let (Some(fd), Some(writer)) = (&*pipe, &mut self.writer) else { return };
        let was_flooded = self.flooded[index];
        let may_splice = was_flooded && self.terminal.is_none();
        let read = match may_splice.then(|| writer.splice(stream, fd.as_fd())) {
            Some(moved @ (Ok(_) | Err(Errno::AGAIN | Errno::INTR))) => moved,
            // Also for a file system that cannot, and for a full disk: what is lost is counted.
            _ => {
                self.buffer.clear();
                let read = match &mut self.terminal {
                    Some(terminal) => {
                        let read = terminal::read(fd, &mut self.buffer);
                        terminal.wrote(self.log.extent().total, self.clock.now_ms());
                        read
                    }
                    None => rustix::io::read(fd, rustix::buffer::spare_capacity(&mut self.buffer)),
                };
                writer.append(stream, &self.buffer);
                read
            }
        };
        match read {
            Ok(read) if read > 0 => {
                let is_flooded = read >= READ_BYTES;
                if is_flooded && !was_flooded && self.terminal.is_none() {
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
