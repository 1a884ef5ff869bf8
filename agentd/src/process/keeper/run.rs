//! The keeper itself: one thread, one poll, one process to look after.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Pid, Signal as Hint};
use shared::clock::{Clock, SystemClock};
use shared::fault;
use shared::ids::OpId;
use shared::protocol::process::{Exit, OutputStream, ProcessFacts, ProcessUsage};
use std::time::{Duration, Instant};

use super::ending::Ending;
use super::exec::{self, Executed};
use super::image::{Head, Image};
use super::input::Input;
use super::link::{Gone, Link, Request};
use super::machine::{Effect, Event, KeeperMachine, Phase};
use super::protocol::{Leader, Life, Refusal, Said, Status, TypingOutcome, own_version};
use super::record::{self, Note, Usage};
use super::terminal::{self, Terminal};
use super::timeline::Timeline;
use crate::process::log::{Budget, LogWriter, OutputLog};
use crate::process::tree;
use crate::resident::Code;

/// One read: what a pipe holds by default. A pipe that fills it is a flood.
const READ_BYTES: usize = 64 * 1024;
/// A flooded pipe is made this large, so that reader and writer meet less often.
const BULK_PIPE_BYTES: usize = 1024 * 1024;
/// How often a daemon hears of a flood; everything else it is told at once.
const FLOOD_TOLD: Duration = Duration::from_millis(10);
/// After this a process is one that stays, and its keeper one that mostly waits.
const SETTLED: Duration = Duration::from_secs(1);
/// Signal operations that are remembered for a daemon that asks again.
const REMEMBERED: usize = 16;

/// What a keeper is made of: descriptors that the daemon has prepared.
pub(super) struct Order {
    pub(super) image: OwnedFd,
    pub(super) link: OwnedFd,
    pub(super) listener: OwnedFd,
    pub(super) record: OwnedFd,
    pub(super) cwd: OwnedFd,
    pub(super) file: Option<OwnedFd>,
}

struct Keeper {
    head: Head,
    machine: KeeperMachine,
    life: Life,
    leader: Option<Pid>,
    ended_at: Option<Instant>,
    log: Arc<OutputLog>,
    budget: Arc<Budget>,
    /// Gone when the output is complete.
    writer: Option<LogWriter>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// The last read of standard output, of standard error gave as much as it takes.
    flooded: [bool; 2],
    /// When the daemon was told of a flood.
    told_at: Option<Instant>,
    /// What the start has used is given back when the process has lived for so long.
    code: Option<(Code, Instant)>,
    pipes: Vec<u64>,
    buffer: Vec<u8>,
    input: Input,
    /// In place of pipes.
    terminal: Option<Terminal>,
    listener: OwnedFd,
    link: Option<Link>,
    /// The daemon has not been told everything.
    has_news: bool,
    record: File,
    signalled: VecDeque<OpId>,
    ending: Ending,
    facts: ProcessFacts,
    children: SignalFd,
    clock: SystemClock,
}

/// Keeps one process from its start to its end, and to the moment at which a daemon knows of it.
pub(super) fn keep(order: Order, code: Code) -> std::io::Result<()> {
    let Order { image, link, listener, record, cwd, file } = order;
    let _ = rustix::thread::set_name(c"agentd-keeper");
    let _ = rustix::process::setsid();
    // What the process leaves behind stays beneath its keeper.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let children = watch_children()?;
    let image = Image::read(image)?;
    let head = image.head.clone();
    // An interactive shell ignores what asks others to end.
    let polite = if head.terminal.is_some() { Hint::HUP } else { Hint::TERM };
    let budget = Arc::new(Budget::new(u64::MAX));
    let log = OutputLog::new(
        head.output_dir.as_path().into(),
        head.process,
        head.kept_bytes,
        Arc::clone(&budget),
    );
    let mut keeper = Keeper {
        head,
        machine: KeeperMachine::new(),
        life: Life::Preparing,
        leader: None,
        ended_at: None,
        writer: Some(LogWriter::new(Arc::clone(&log))),
        log,
        budget,
        stdout: None,
        stderr: None,
        flooded: [false; 2],
        told_at: None,
        code: Some((code, SystemClock.now() + SETTLED)),
        pipes: Vec::new(),
        buffer: Vec::new(),
        input: Input::default(),
        terminal: None,
        listener,
        link: Some(Link::new(link)),
        has_news: false,
        record: File::from(record),
        signalled: VecDeque::new(),
        ending: Ending::new(image.head.groups.clone(), polite),
        facts: ProcessFacts::default(),
        children,
        clock: SystemClock,
    };
    // Before the exec: without this note nothing was ever executed.
    fault::point("w3 keeper ordered");
    record::append(&mut keeper.record, &Note::Begun)?;
    fault::point("w3 keeper begun");
    let event = match exec::execute(&image, &cwd, file, keeper.ending.group()) {
        Ok(executed) => keeper.take_over(executed),
        Err(refusal) => keeper.refused(refusal),
    };
    drop((image, cwd));
    keeper.greet();
    keeper.apply(event);
    while keeper.machine.phase() != Phase::Left || keeper.ending.is_active() {
        keeper.turn();
    }
    keeper.ending.leave();
    Ok(())
}

fn watch_children() -> std::io::Result<SignalFd> {
    // The forker ignores its children; a keeper must learn how its child ends.
    #[expect(unsafe_code, reason = "a signal's disposition")]
    // SAFETY: the default disposition runs no code of ours.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    // What asks everybody to end, such as a machine that goes down, is for the program: its keeper
    // writes down how it ended.
    let mut held = mask;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        held.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&held), None)?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

impl Keeper {
    fn take_over(&mut self, executed: Executed) -> Event {
        let Executed { pid, stdout, stderr, stdin, terminal, is_member } = executed;
        self.ending.born(is_member, self.clock.now());
        let number = u32::try_from(pid.as_raw_pid()).unwrap_or(0);
        let start_time = tree::start_time(number).unwrap_or(0);
        let boot_id = self.head.boot_id.clone();
        self.life = Life::Running(Leader { pid: number, start_time, boot_id });
        self.leader = Some(pid);
        self.pipes = [Some(&stdout), stderr.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|pipe| rustix::fs::fstat(pipe).ok())
            .map(|stat| stat.st_ino)
            .collect();
        (self.stdout, self.stderr) = (Some(stdout), stderr);
        self.input = Input::new(stdin);
        self.terminal = terminal.zip(self.head.terminal).map(|(master, size)| {
            let path = self.head.output_dir.join(self.head.process.to_string());
            Terminal::new(master, Timeline::new(path, size, self.clock.now_ms()))
        });
        // Not zeroed: what is never read into costs no memory.
        self.buffer = Vec::with_capacity(READ_BYTES);
        Event::Executed
    }

    fn refused(&mut self, refusal: Refusal) -> Event {
        self.life = Life::NotExecuted(refusal);
        self.writer = None;
        Event::NotExecuted
    }

    /// Waits for something to happen and does what it asks for.
    fn turn(&mut self) {
        self.tell();
        let Ready { children, stdout, stderr, stdin, listener, link } = self.wait();
        // Two pipes have no common order: what came within one turn is told with standard output
        // first, always.
        if stdout {
            self.read(OutputStream::Stdout);
        }
        if stderr {
            self.read(OutputStream::Stderr);
        }
        if children {
            self.reap();
        }
        if listener {
            self.accept();
        }
        if link {
            self.listen();
        }
        let is_late = self.input.deadline().is_some_and(|until| self.clock.now() >= until);
        if stdin || is_late {
            self.pump();
        }
        self.drive_ending();
        if let Some((code, _)) = self.code.take_if(|(_, at)| self.clock.now() >= *at) {
            code.give_back();
        }
    }

    /// Goes on with a stop, and with what is due about the groups.
    fn drive_ending(&mut self) {
        let now = self.clock.now();
        if self.ending.deadline().is_some_and(|at| now >= at) {
            self.ending.tick(self.leader, now);
            while self.ending.walk() {
                self.reap();
            }
        }
        let answers = self.ending.answers();
        if !answers.is_empty() {
            // What the answer implies is told before it.
            self.learn_facts();
            self.told_at = None;
            self.tell();
        }
        for answer in answers {
            self.say(&answer);
        }
    }

    /// Looks whether memory or processes ran out meanwhile, and writes down what is new.
    fn learn_facts(&mut self) {
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

    fn wait(&self) -> Ready {
        let link_flags = match &self.link {
            Some(link) if link.has_more_to_say() => PollFlags::IN | PollFlags::OUT,
            _ => PollFlags::IN,
        };
        let sources: [(Option<BorrowedFd<'_>>, PollFlags); 6] = [
            (Some(self.children.as_fd()), PollFlags::IN),
            (self.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
            (
                self.input.wanted().or_else(|| self.terminal.as_ref().and_then(Terminal::wanted)),
                PollFlags::OUT,
            ),
            (Some(self.listener.as_fd()), PollFlags::IN),
            (self.link.as_ref().map(Link::fd), link_flags),
        ];
        let mut places = [false; 6];
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(sources.len());
        for (fd, flags) in &sources {
            fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags)));
        }
        let settled = self.code.as_ref().map(|(_, at)| *at);
        let times = [self.input.deadline(), self.ending.deadline(), self.next_told(), settled];
        let until = times.into_iter().flatten().min();
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(self.clock.now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(1),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        // An interrupted wait looks again.
        if rustix::event::poll(&mut fds, timeout.as_ref()).is_ok() {
            let mut polled = fds.iter();
            for (place, (fd, _)) in places.iter_mut().zip(&sources) {
                *place = fd.is_some() && polled.next().is_some_and(|fd| !fd.revents().is_empty());
            }
        }
        let [children, stdout, stderr, stdin, listener, link] = places;
        Ready { children, stdout, stderr, stdin, listener, link }
    }

    /// Once from one pipe into the log.
    fn read(&mut self, stream: OutputStream) {
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

    /// Reaps the leader, and whatever it left behind that ends.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            let mut status = 0;
            #[expect(unsafe_code, reason = "only wait4 tells what a child has used")]
            // SAFETY: both pointers lead to values that live; the structure may be all zeros.
            let (pid, usage) = unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                let pid = libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage);
                (pid, usage)
            };
            if pid < 0
                && Errno::from_io_error(&std::io::Error::last_os_error()) == Some(Errno::CHILD)
            {
                return self.ending.gone(self.clock.now());
            }
            if pid <= 0 {
                return;
            }
            if self.leader.is_some_and(|leader| leader.as_raw_pid() == pid) {
                self.leader_ended(exit_of(status), usage_of(&usage));
            }
        }
    }

    fn leader_ended(&mut self, exit: Exit, usage: Usage) {
        self.leader = None;
        self.ended_at = Some(self.clock.now());
        self.input.close();
        let untyped = self.terminal.as_mut().map(Terminal::close).unwrap_or_default();
        untyped.iter().for_each(|answer| self.say(answer));
        if let Life::Running(leader) = &self.life {
            self.life = Life::Ended { leader: leader.clone(), exit, ago_ms: 0 };
        }
        // A full disk costs the note; a daemon that is attached is told anyway.
        fault::point("w5 keeper saw the end");
        let note = Note::Exited { exit, at_ms: self.clock.now_ms(), usage };
        let _ = record::append(&mut self.record, &note);
        fault::point("w5 keeper noted the end");
        self.facts.usage = Some(ProcessUsage {
            user_ms: usage.user_ms,
            system_ms: usage.system_ms,
            max_rss_bytes: usage.max_rss_kib.saturating_mul(1024),
        });
        self.learn_facts();
        self.apply(Event::LeaderEnded);
    }

    fn accept(&mut self) {
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

    fn greet(&mut self) {
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

    fn listen(&mut self) {
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
    fn signal(&mut self, op: Option<OpId>, number: i32) -> bool {
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

    fn pump(&mut self) {
        let typed = self.terminal.as_mut().map(Terminal::pump).unwrap_or_default();
        for answer in self.input.pump(self.clock.now()).into_iter().chain(typed) {
            self.say(&answer);
        }
    }

    fn tell(&mut self) {
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
        let mut life = self.life.clone();
        if let (Life::Ended { ago_ms, .. }, Some(at)) = (&mut life, self.ended_at) {
            let ago = self.clock.now().saturating_duration_since(at);
            *ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        }
        let (pipes, facts) = (self.pipes.clone(), self.facts.clone());
        let terminal = self.terminal.as_ref().map(Terminal::status);
        let status = Status { life, output: self.log.state(), pipes, facts, terminal };
        self.say(&Said::Status(Box::new(status)));
    }

    /// When a daemon that waits for news of a flood hears it.
    fn next_told(&self) -> Option<Instant> {
        let waits = self.has_news && self.link.as_ref().is_some_and(Link::takes_status);
        self.told_at.filter(|_| waits && self.flooded.contains(&true)).map(|at| at + FLOOD_TOLD)
    }

    fn say(&mut self, said: &Said) {
        if let Some(link) = &mut self.link
            && let Err(Gone) = link.say(said)
        {
            self.lose_link();
        }
    }

    fn lose_link(&mut self) {
        self.link = None;
        self.budget.set_limit(u64::MAX);
        self.apply(Event::Detached);
    }

    fn apply(&mut self, event: Event) {
        for effect in self.machine.apply(event) {
            match effect {
                Effect::RecordRunning => {
                    if let Life::Running(leader) = &self.life {
                        let note = Note::Running(leader.clone());
                        let _ = record::append(&mut self.record, &note);
                    }
                }
                // A leader's end is noted where its exit code is known.
                Effect::RecordEnd => {
                    if let Life::NotExecuted(refusal) = self.life {
                        let _ = record::append(&mut self.record, &Note::NotExecuted(refusal));
                    }
                }
                Effect::RecordComplete => {
                    self.learn_facts();
                    let total = self.log.extent().total;
                    let _ = record::append(&mut self.record, &Note::Complete { total });
                    fault::point("w5 keeper is over");
                }
                Effect::Sync => {
                    let _ = self.record.sync_data();
                }
                Effect::Tell => (self.has_news, self.told_at) = (true, None),
                Effect::Leave | Effect::Stale => {}
            }
        }
    }
}

/// Which sources have something.
#[expect(clippy::struct_excessive_bools, reason = "one for each source of a poll")]
struct Ready {
    children: bool,
    stdout: bool,
    stderr: bool,
    stdin: bool,
    listener: bool,
    link: bool,
}

fn exit_of(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        let (signal, core) = (libc::WTERMSIG(status), libc::WCOREDUMP(status));
        Exit::Signal { signal, core }
    } else {
        Exit::Code { code: libc::WEXITSTATUS(status) }
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let ms =
        |time: libc::timeval| u64::try_from(time.tv_sec * 1000 + time.tv_usec / 1000).unwrap_or(0);
    Usage {
        user_ms: ms(usage.ru_utime),
        system_ms: ms(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }
}
