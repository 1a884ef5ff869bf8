//! What a keeper and its daemon say to each other: one daemon at a time, the last that came.

use std::time::{Duration, Instant};

use nix::libc;
use rustix::net::SocketFlags;
use shared::clock::Clock;
use shared::ids::OpId;
use shared::protocol::process::OutputStream;

use super::flow::FLOOD_TOLD;
use super::link::{Gone, Link, Request};
use super::machine::Event;
use super::protocol::{Life, Said, Status, TypingOutcome, own_version};
use super::run::Keeper;
use super::terminal::Terminal;

/// How long the answer to typing waits for the echo: both are told at once, and the daemon does not
/// deal with the one while the other comes.
const ECHO_WAIT: Duration = Duration::from_micros(100);
/// How long the keeper looks for the echo before it sleeps: what the kernel needs for one.
const ECHO_LOOK: Duration = Duration::from_micros(50);
/// Signal operations that are remembered for a daemon that asks again.
const REMEMBERED: usize = 16;

impl Keeper {
    pub(super) fn accept(&mut self) {
        let Ok(socket) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) else {
            return;
        };
        // The directory is private; this is for one that was opened up by mistake.
        let peer = rustix::net::sockopt::socket_peercred(&socket).map(|peer| peer.uid);
        if peer.is_ok_and(|uid| uid == rustix::process::geteuid()) {
            // The state directory is locked by one daemon: an earlier one is gone or going.
            self.link = Some(Link::new(socket));
            self.greet();
            self.apply(Event::Attached);
        }
    }

    pub(super) fn greet(&mut self) {
        let hello = Said::Hello {
            version: own_version(),
            process: self.head.process,
            keeper: std::process::id(),
            has_input: self.input.is_open(),
            can_stop: true,
            typed: self.terminal.as_ref().map(Terminal::typed).unwrap_or_default(),
        };
        // Goes with the first status.
        if let Some(link) = &mut self.link {
            link.add(&hello);
        }
        self.has_news = true;
    }

    pub(super) fn listen(&mut self) {
        let Some(link) = &mut self.link else { return };
        let asked = link.flush().and_then(|()| link.requests());
        let Ok(requests) = asked else { return self.lose_link() };
        for request in requests {
            match request {
                Request::Seen { squeeze } => {
                    self.budget.set_limit(if squeeze { 0 } else { u64::MAX });
                }
                Request::Input { ask, op, data, close } => {
                    if let Some(answer) = self.input.add(ask, op, data, close) {
                        self.say(&answer);
                    }
                    self.pump();
                }
                Request::Type { ask, viewer, seq, data } => {
                    let answer = match &mut self.terminal {
                        Some(terminal) => terminal.add(ask, viewer, seq, data),
                        None => Some(Said::Typed { ask, outcome: TypingOutcome::Closed }),
                    };
                    if let Some(answer) = answer {
                        self.say(&answer);
                    }
                    self.pump();
                }
                Request::Resize { ask, size } => {
                    self.write_down();
                    if let Some(terminal) = &mut self.terminal {
                        terminal.resize(size, self.log.extent().total, self.clock.now_ms());
                    }
                    let terminal = self.terminal.as_ref().map(Terminal::status);
                    self.say(&Said::Resized { ask, terminal: terminal.unwrap_or_default() });
                }
                Request::Signal { ask, op, number } => {
                    let is_sent = self.signal(op, number);
                    self.say(&Said::Signalled { ask, is_sent });
                }
                Request::Stop { ask, grace } => {
                    self.ending.ask(ask, grace, self.leader, self.clock.now());
                    // If nothing is left already, that is seen at once.
                    self.reap();
                }
                Request::Release => self.apply(Event::Released),
            }
        }
    }

    /// Signals the group. While the leader is not reaped its pid can be nobody else's.
    pub(super) fn signal(&mut self, op: Option<OpId>, number: i32) -> bool {
        if op.is_some_and(|op| self.signalled.contains(&op)) {
            return true;
        }
        let Some(leader) = self.leader else { return false };
        #[expect(unsafe_code, reason = "the safe wrappers know named signals only")]
        // SAFETY: kill takes two numbers and touches no memory.
        let is_sent = unsafe { libc::kill(-leader.as_raw_pid(), number) } == 0;
        // What a shell runs in the foreground of its terminal has a group of its own.
        if let Some(group) = self.terminal.as_ref().and_then(Terminal::foreground)
            && group != leader.as_raw_pid()
        {
            #[expect(unsafe_code, reason = "as above")]
            // SAFETY: as above.
            let _ = unsafe { libc::kill(-group, number) };
        }
        if let (Some(op), true) = (op, is_sent) {
            self.signalled.push_back(op);
            if self.signalled.len() > REMEMBERED {
                self.signalled.pop_front();
            }
        }
        is_sent
    }

    pub(super) fn pump(&mut self) {
        let typed = self.terminal.as_mut().map(Terminal::pump).unwrap_or_default();
        if let (Some(link), false) = (&mut self.link, typed.is_empty()) {
            typed.iter().for_each(|answer| link.add(answer));
            let now = self.clock.now();
            self.answer_by = Some(now + ECHO_WAIT);
            let is_late = || self.clock.now() >= now + ECHO_LOOK;
            if self.terminal.as_ref().is_some_and(|terminal| terminal.has_echo(is_late)) {
                self.read(OutputStream::Stdout);
            }
        }
        for answer in self.input.pump(self.clock.now()) {
            self.say(&answer);
        }
    }

    /// Sends the answers to typing that waited for its echo and have waited enough.
    pub(super) fn answer_in_time(&mut self) {
        if self.answer_by.take_if(|at| self.clock.now() >= *at).is_none() {
            return;
        }
        if let Some(Err(Gone)) = self.link.as_mut().map(Link::flush) {
            self.lose_link();
        }
    }

    pub(super) fn tell(&mut self) {
        if !self.has_news || !self.link.as_ref().is_some_and(Link::takes_status) {
            return;
        }
        if self.flooded.contains(&true) {
            let now = self.clock.now();
            if self.told_at.is_some_and(|at| now < at + FLOOD_TOLD) {
                return;
            }
            self.told_at = Some(now);
        }
        self.has_news = false;
        self.write_down();
        let mut life = self.life.clone();
        if let (Life::Ended { ago_ms, .. }, Some(at)) = (&mut life, self.ended_at) {
            let ago = self.clock.now().saturating_duration_since(at);
            *ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        }
        let (pipes, facts) = (self.pipes.clone(), self.facts.clone());
        let terminal = self.terminal.as_ref().map(Terminal::status);
        let output = self.log.state();
        // With a full disk the last bytes are told as held.
        let fresh = Some(self.fresh.take()).filter(|_| !output.is_held()).unwrap_or_default();
        let status = Status { life, output, pipes, facts, terminal, fresh };
        self.say(&Said::Status(Box::new(status)));
    }

    /// When a daemon that waits for news of a flood hears it.
    pub(super) fn next_told(&self) -> Option<Instant> {
        let waits = self.has_news && self.link.as_ref().is_some_and(Link::takes_status);
        self.told_at.filter(|_| waits && self.flooded.contains(&true)).map(|at| at + FLOOD_TOLD)
    }

    pub(super) fn say(&mut self, said: &Said) {
        // Everything that waits goes with it.
        self.answer_by = None;
        if let Some(link) = &mut self.link
            && let Err(Gone) = link.say(said)
        {
            self.lose_link();
        }
    }

    pub(super) fn lose_link(&mut self) {
        self.link = None;
        self.budget.set_limit(u64::MAX);
        self.apply(Event::Detached);
    }
}
