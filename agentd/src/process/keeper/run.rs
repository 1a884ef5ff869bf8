//! The keeper itself: one thread, one poll, one process to look after. What it reads goes through
//! [`output`](super::output), what it and its daemon say through [`conversation`](super::conversation).

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal as Hint};
use shared::clock::{Clock, SystemClock};
use shared::fault;
use shared::ids::OpId;
use shared::protocol::process::{Exit, OutputStream, ProcessFacts, ProcessUsage};
use std::time::{Duration, Instant};

use super::ending::Ending;
use super::exec::{self, Executed};
use super::flow::{Flow, Fresh};
use super::forker::{Taken, receive_fds};
use super::image::{Head, Image};
use super::input::Input;
use super::link::Link;
use super::machine::{Effect, Event, KeeperMachine, Phase};
use super::output::READ_BYTES;
use super::protocol::{Leader, Life, Refusal};
use super::record::{self, Note, Usage};
use super::terminal::Terminal;
use super::timeline::Timeline;
use crate::process::log::{Budget, LogWriter, OutputLog};
use crate::process::tree;
use crate::resident::Code;

/// After this a process is one that stays, and its keeper one that mostly waits.
const SETTLED: Duration = Duration::from_secs(1);

/// Connections that wait for a keeper to accept; there is one daemon.
const BACKLOG: i32 = 4;

/// What a keeper is made of: descriptors that the daemon has prepared.
pub(super) struct Order {
    pub(super) image: OwnedFd,
    pub(super) link: OwnedFd,
    pub(super) cwd: OwnedFd,
    pub(super) file: Option<OwnedFd>,
}

/// What every keeper needs, whatever its order: it stands apart from its daemon.
pub(super) struct Apart {
    children: SignalFd,
}

impl Apart {
    /// Of this process, which no signal for others ends from here on.
    pub(super) fn new() -> std::io::Result<Self> {
        let _ = rustix::process::setsid();
        // What the process leaves behind stays beneath its keeper.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Ok(Self { children: watch_children()? })
    }
}

/// The word to go, with where a later daemon finds the keeper: a socket that does not listen yet, and
/// the file of its notes.
struct Go {
    listener: OwnedFd,
    record: File,
}

impl Go {
    /// Waits for it. None: the start was not made durable, or the daemon is gone.
    fn wait(link: &OwnedFd) -> std::io::Result<Option<Self>> {
        let mut fds = receive_fds(link)?.into_iter().flatten();
        let (listener, record) = (fds.next(), fds.next());
        Ok(listener.zip(record).map(|(listener, record)| Self { listener, record: record.into() }))
    }

    fn is_there(link: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(link, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// From here on a later daemon finds the keeper, and what it noted.
    fn take(mut self) -> std::io::Result<Self> {
        fault::point("w3 keeper to go");
        rustix::net::listen(&self.listener, BACKLOG)?;
        // Before the exec: without this note nothing was ever executed.
        record::append(&mut self.record, &Note::Begun)?;
        fault::point("w3 keeper begun");
        Ok(self)
    }
}

/// Whom it looks after, and everything it holds for that.
pub(super) struct Keeper {
    pub(super) head: Head,
    pub(super) machine: KeeperMachine,
    pub(super) life: Life,
    pub(super) leader: Option<Pid>,
    pub(super) ended_at: Option<Instant>,
    pub(super) log: Arc<OutputLog>,
    pub(super) budget: Arc<Budget>,
    /// Gone when the output is complete.
    pub(super) writer: Option<LogWriter>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// The last read of standard output, of standard error gave as much as it takes; a terminal
    /// writes more than anybody reads.
    pub(super) flooded: [bool; 2],
    pub(super) flow: Flow,
    /// What was read from a terminal and not written down yet: since when, by both clocks.
    pub(super) unwritten: Option<(Instant, i64)>,
    pub(super) fresh: Fresh,
    /// Answers to typing go with the echo, if that comes by then.
    pub(super) answer_by: Option<Instant>,
    /// When the daemon was told of a flood.
    pub(super) told_at: Option<Instant>,
    /// What the start has used is given back when the process has lived for so long.
    pub(super) code: Option<(Code, Instant)>,
    pub(super) pipes: Vec<u64>,
    pub(super) buffer: Vec<u8>,
    pub(super) input: Input,
    /// In place of pipes.
    pub(super) terminal: Option<Terminal>,
    pub(super) listener: OwnedFd,
    pub(super) link: Option<Link>,
    /// The daemon has not been told everything.
    pub(super) has_news: bool,
    pub(super) record: File,
    pub(super) signalled: VecDeque<OpId>,
    pub(super) ending: Ending,
    pub(super) facts: ProcessFacts,
    pub(super) children: SignalFd,
    pub(super) clock: SystemClock,
}

/// Keeps one process from its start to its end, and to the moment at which a daemon knows of it.
///
/// `lock` is let go when a later daemon can find the keeper.
pub(super) fn keep(
    order: Order,
    apart: Apart,
    taken: Taken,
    lock: OwnedFd,
    code: Code,
) -> std::io::Result<()> {
    let Order { image, link, cwd, file } = order;
    let _ = rustix::thread::set_name(c"agentd-keeper");
    let image = Image::read(image)?;
    let head = image.head.clone();
    // An interactive shell ignores what asks others to end.
    let polite = if head.terminal.is_some() { Hint::HUP } else { Hint::TERM };
    let ending = Ending::new(head.groups.clone(), polite);
    fault::point("w3 keeper ordered");
    let armed = exec::arm(&image, &cwd, file, ending.group());
    // A fork beside a start costs it time: before the wait, or when the program runs.
    let mut untold = Some(taken);
    if !Go::is_there(&link) {
        untold.take().into_iter().for_each(Taken::tell);
    }
    let gone = match Go::wait(&link) {
        Ok(Some(go)) => go.take().map(Some),
        other => other,
    };
    let Ok(Some(Go { listener, record })) = gone else {
        if let Ok(armed) = armed {
            armed.disarm();
        }
        ending.leave();
        return gone.map(drop);
    };
    drop(lock);
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
        flow: Flow::default(),
        unwritten: None,
        fresh: Fresh::default(),
        answer_by: None,
        told_at: None,
        code: Some((code, SystemClock.now() + SETTLED)),
        pipes: Vec::new(),
        buffer: Vec::new(),
        input: Input::default(),
        terminal: None,
        listener,
        link: Some(Link::new(link)),
        has_news: false,
        record,
        signalled: VecDeque::new(),
        ending,
        facts: ProcessFacts::default(),
        children: apart.children,
        clock: SystemClock,
    };
    let event = match armed.and_then(|armed| armed.release(keeper.ending.group())) {
        Ok(executed) => keeper.take_over(executed),
        Err(refusal) => keeper.refused(refusal),
    };
    drop((image, cwd));
    keeper.greet();
    keeper.apply(event);
    keeper.tell();
    untold.into_iter().for_each(Taken::tell);
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
        self.write_down_in_time();
        self.tell();
        self.answer_in_time();
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

    fn wait(&self) -> Ready {
        let link_flags = match &self.link {
            Some(link) if link.waits_for_room() => PollFlags::IN | PollFlags::OUT,
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
        let times = [
            self.input.deadline(),
            self.ending.deadline(),
            self.next_told(),
            self.next_written(),
            self.answer_by,
            settled,
        ];
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

    /// Reaps the leader, and whatever it left behind that ends.
    pub(super) fn reap(&mut self) {
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
        if self.head.sandbox.is_some() {
            // Nothing of it outlives it.
            self.ending.finish(self.clock.now());
        }
        self.apply(Event::LeaderEnded);
    }

    pub(super) fn apply(&mut self, event: Event) {
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
