//! What a keeper does about the end of its process's whole tree: its control group, and its stop.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use shared::protocol::process::{OomKilled, PidsLimit, StopMeans, Stopped};

use super::protocol::Said;
use super::stop::{Effect, Event, Phase, StopMachine};
use crate::process::cgroup::{Group, GroupPlan};
use crate::process::tree;

/// What lives longer is moved into its groups of version 1.
const PLACE_AFTER: Duration = Duration::from_millis(20);
/// Survivors that are named.
const NAMED: usize = 8;
/// Kills of all children in one walk, at most; each takes some microseconds.
const WALK_ROUNDS: usize = 64;
/// Every so many of them all descendants are looked for, which takes a walk over `/proc`.
const DEEP_EVERY: usize = 16;

/// The end of one process's tree.
pub(super) struct Ending {
    stop: StopMachine,
    /// Who waits for the stop.
    asks: Vec<u64>,
    group: Group,
    /// When the groups of version 1 are entered.
    place_at: Option<Instant>,
    /// The process that moves the others there.
    mover: Option<Pid>,
    walks: usize,
    /// Asks for the end: what a program of that kind takes for it.
    polite: Signal,
}

impl Ending {
    /// Makes the group that the process is to be born in.
    pub(super) fn new(plan: GroupPlan, polite: Signal) -> Self {
        let strongest = match (&plan.unified, plan.may_kill) {
            (Some(_), true) => StopMeans::CgroupKill,
            (Some(_), false) => StopMeans::FreezeKill,
            (None, _) => StopMeans::Walk,
        };
        Self {
            stop: StopMachine::new(strongest),
            asks: Vec::new(),
            group: Group::make(plan),
            place_at: None,
            mover: None,
            walks: 0,
            polite,
        }
    }

    pub(super) fn group(&self) -> Option<BorrowedFd<'_>> {
        self.group.unified()
    }

    /// The leader runs; `is_member` says whether in its group.
    pub(super) fn born(&mut self, is_member: bool, now: Instant) {
        if !is_member {
            self.group.give_up();
        }
        self.place_at = self.group.awaits_placement().then(|| now + PLACE_AFTER);
    }

    /// Whether memory or processes ran out.
    pub(super) fn hits(&self) -> (Option<OomKilled>, Option<PidsLimit>) {
        self.group.hits()
    }

    /// Whether the keeper must stay for it.
    pub(super) const fn is_active(&self) -> bool {
        self.stop.is_active()
    }

    /// When [`tick`](Self::tick) wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.stop.deadline(), self.place_at].into_iter().flatten().min()
    }

    /// Somebody wants the stop; `ask` is answered when it is settled.
    pub(super) fn ask(&mut self, ask: u64, grace: Duration, leader: Option<Pid>, now: Instant) {
        self.asks.push(ask);
        self.apply(Event::Asked { grace }, leader, now);
    }

    /// The leader ended, and nothing that it started may go on. Nobody waits for an answer.
    pub(super) fn finish(&mut self, now: Instant) {
        self.apply(Event::Asked { grace: Duration::ZERO }, None, now);
    }

    /// The keeper has no children: nothing of the process is left.
    pub(super) fn gone(&mut self, now: Instant) {
        self.mover = None;
        self.apply(Event::Gone, None, now);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, leader: Option<Pid>, now: Instant) {
        if self.place_at.is_some_and(|at| now >= at) {
            self.place_at = None;
            if leader.is_some() {
                self.place();
            }
        }
        self.apply(Event::Tick, leader, now);
    }

    /// One round of a walk: false when there is nothing to walk over, or enough was done for now.
    /// What ended is to be reaped between two rounds.
    pub(super) fn walk(&mut self) -> bool {
        let is_walking = matches!(self.stop.phase(), Phase::Killing { means: StopMeans::Walk, .. });
        if !is_walking || self.walks >= WALK_ROUNDS {
            self.walks = 0;
            return false;
        }
        if self.walks.is_multiple_of(DEEP_EVERY) {
            tree::kill_descendants(std::process::id());
        }
        self.walks += 1;
        tree::kill_children(std::process::id())
    }

    /// The answers that are due.
    pub(super) fn answers(&mut self) -> Vec<Said> {
        let Phase::Settled { means, is_clean } = self.stop.phase() else { return Vec::new() };
        if self.asks.is_empty() {
            return Vec::new();
        }
        let survivors = if is_clean { Vec::new() } else { tree::descendants(std::process::id()) };
        let left = u32::try_from(survivors.len()).unwrap_or(u32::MAX);
        let survivors = survivors.into_iter().take(NAMED).map(tree::named).collect();
        let stopped = Stopped { means, left, survivors };
        let asks = std::mem::take(&mut self.asks);
        asks.into_iter().map(|ask| Said::Stopped { ask, stopped: stopped.clone() }).collect()
    }

    /// The keeper leaves.
    pub(super) fn leave(&self) {
        self.group.remove();
    }

    fn apply(&mut self, event: Event, leader: Option<Pid>, now: Instant) {
        for effect in self.stop.apply(event, now) {
            match effect {
                Effect::Ask => self.ask_politely(leader),
                Effect::Kill(means) => {
                    let is_done = match means {
                        StopMeans::CgroupKill => self.group.kill(),
                        StopMeans::FreezeKill => self.group.freeze_and_kill(),
                        _ => {
                            // While the leader is not reaped its number is nobody else's group.
                            if let Some(leader) = leader {
                                let _ = rustix::process::kill_process_group(leader, Signal::KILL);
                            }
                            true
                        }
                    };
                    if !is_done {
                        self.stop.cannot(means);
                    }
                }
                Effect::Answer => {}
            }
        }
    }

    /// The polite signal to the leader's group and to everything that has left it; what is stopped is
    /// continued, or it would not see the signal.
    fn ask_politely(&self, leader: Option<Pid>) {
        for signal in [self.polite, Signal::CONT] {
            if let Some(leader) = leader {
                let _ = rustix::process::kill_process_group(leader, signal);
            }
            tree::signal_descendants(std::process::id(), leader, signal);
        }
    }

    /// Moves the process into its groups of version 1, in a process of its own: it takes long.
    fn place(&mut self) {
        self.group.make_legacy();
        let keeper = std::process::id();
        #[expect(unsafe_code, reason = "a fork")]
        // SAFETY: a keeper has one thread.
        let forked = unsafe { nix::unistd::fork() };
        match forked {
            Ok(nix::unistd::ForkResult::Child) => {
                let own = std::process::id();
                self.group.place(keeper, own);
                #[expect(unsafe_code, reason = "an end without the keeper's destructors")]
                // SAFETY: it ends the process.
                unsafe {
                    nix::libc::_exit(0)
                }
            }
            Ok(nix::unistd::ForkResult::Parent { child }) => {
                self.mover = Pid::from_raw(child.as_raw());
            }
            // Without it the limits of the workspace hold.
            Err(_) => {}
        }
    }
}
