//! Owns order: every task of a world waits here before it uses the database or passes a point, and
//! goes on when the director says so.
//!
//! ```text
//!  task ── asks, commits, passes ──► ticket ─┐
//!  task ── … ──────────────────────► ticket ─┤  nothing can run any more: one ticket is drawn
//!                                            ▼
//!                        idle ◄── the thread would park ── the task runs until it waits again
//! ```
//!
//! At most one task is let go at a time, and only when no other can run. So although SQLite works in
//! threads of its own, nothing of a run depends on how long they take: while one statement is under
//! way, no other task can move.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::fault::simulation::{Given, Held, Simulation};
use shared::fault::{Access, Denial, Disk, Fate};
use tokio::sync::oneshot;

use crate::disk::Disks;
use crate::points::SELDOM;
use crate::profile::Profile;

/// What a task waits for.
enum Ticket {
    Pass { name: &'static str, go: oneshot::Sender<()>, turn: Option<u64> },
    Ask { access: Access, go: oneshot::Sender<Given> },
    Commit { turn: u64, go: oneshot::Sender<Fate> },
}

struct Turn {
    access: Access,
    /// Its task waits for a ticket, so nothing is under way at the database.
    waits: bool,
}

struct State {
    rng: StdRng,
    profile: Profile,
    /// Whether anything may go wrong.
    faulty: bool,
    next: u64,
    tickets: BTreeMap<u64, Ticket>,
    turns: BTreeMap<u64, Turn>,
    fired: BTreeMap<&'static str, u64>,
    disks: Disks,
    idle: bool,
    waker: Option<Waker>,
    hash: DefaultHasher,
    /// The hash and the steps of what is over.
    result: Option<(u64, u64)>,
    /// Whether every line is printed, at once: a world may hang.
    traced: bool,
    steps: u64,
}

/// The owner of one world's order. All clones are one.
#[derive(Clone)]
pub struct Director(Arc<Mutex<State>>);

impl Director {
    /// For one seed. `traced`: every line is printed.
    pub fn new(seed: u64, profile: Profile, traced: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed ^ 0x000D_14EC_7012),
            profile,
            faulty: true,
            next: 1,
            tickets: BTreeMap::new(),
            turns: BTreeMap::new(),
            fired: BTreeMap::new(),
            disks: Disks::default(),
            idle: false,
            waker: None,
            hash: DefaultHasher::new(),
            result: None,
            traced,
            steps: 0,
        })))
    }

    /// The runtime is about to park: no task can run. Called by its hook.
    pub fn parked(&self) {
        let mut state = self.lock();
        if state.turns.values().any(|turn| !turn.waits) {
            return; // the database is at work
        }
        state.idle = true;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// Waits until nothing can run without the director.
    pub async fn idle(&self) {
        self.lock().idle = false;
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            if state.idle {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Lets one of those who wait go on. False: nobody waits who may.
    pub fn let_one_go(&self) -> bool {
        let mut state = self.lock();
        let writes = state.turns.values().any(|turn| turn.access == Access::Write);
        let may = |ticket: &Ticket| match ticket {
            // A second writer would wait for the first one inside the database.
            Ticket::Ask { access: Access::Write, .. } => !writes,
            _ => true,
        };
        let free: Vec<u64> =
            state.tickets.iter().filter(|(_, ticket)| may(ticket)).map(|(id, _)| *id).collect();
        if free.is_empty() {
            return false;
        }
        // Mostly first come, first served, as a database does.
        let at = if state.rng.random_bool(0.5) { 0 } else { state.rng.random_range(0..free.len()) };
        let id = free[at];
        let Some(ticket) = state.tickets.remove(&id) else { return false };
        state.steps += 1;
        state.give(id, ticket);
        true
    }

    /// Whether nobody waits for the database or at a point.
    pub fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.tickets.is_empty() && state.turns.is_empty()
    }

    /// From here on nothing goes wrong by itself.
    pub fn stop_faults(&self) {
        self.lock().faulty = false;
    }

    /// Notes something in the trace.
    pub fn note(&self, line: impl FnOnce() -> String) {
        self.lock().note(line);
    }

    /// Counts a fault of the simulation itself.
    pub fn fired(&self, name: &'static str) {
        self.lock().fire(name);
    }

    /// How often each point fired.
    pub fn points(&self) -> BTreeMap<&'static str, u64> {
        self.lock().fired.clone()
    }

    /// What happens from here on does not count: it is looked at, or given up in any order.
    pub fn close(&self) {
        let result = self.result();
        self.lock().result = Some(result);
    }

    /// The hash of everything that was noted, and how many tickets were drawn.
    pub fn result(&self) -> (u64, u64) {
        let state = self.lock();
        state.result.unwrap_or_else(|| (state.hash.finish(), state.steps))
    }

    /// The power of the machine with these files fails: what was not synced may be gone.
    pub fn power_fails(&self, folder: &Path) {
        let mut state = self.lock();
        let State { disks, rng, .. } = &mut *state;
        disks.power_fails(folder, rng);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody does not wait any more, or does not use the turn that was given.
    fn forget(&self, id: u64) {
        let mut state = self.lock();
        if let Some(ticket) = state.tickets.remove(&id) {
            state.note(|| format!("{} gives up", ticket.name()));
        }
        state.turns.remove(&id);
    }

    fn wait<T: Send + 'static>(&self, id: u64, told: oneshot::Receiver<T>) -> Held<T> {
        let waiting = Waiting { director: self.clone(), id, taken: false };
        Box::pin(async move {
            let mut waiting = waiting; // all of it, with its drop
            let Ok(told) = told.await else { std::future::pending().await };
            waiting.taken = true;
            told
        })
    }
}

/// A place in the line; gives it up when its task is dropped.
struct Waiting {
    director: Director,
    id: u64,
    taken: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.taken {
            self.director.forget(self.id);
        }
    }
}

impl State {
    fn note(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        line.hash(&mut self.hash);
        if self.traced {
            eprintln!("{line}");
        }
    }

    fn fire(&mut self, name: &'static str) {
        *self.fired.entry(name).or_default() += 1;
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether the point, if this seed has it, fires now.
    fn fires(&mut self, name: &'static str, chance: f64) -> bool {
        let fires = self.faulty && self.profile.has(name) && self.rng.random_bool(chance);
        if fires {
            self.fire(name);
        }
        fires
    }

    fn give(&mut self, id: u64, ticket: Ticket) {
        self.note(|| ticket.name());
        match ticket {
            Ticket::Pass { go, turn, .. } => {
                self.resume(turn);
                let _ = go.send(());
            }
            Ticket::Ask { access, go } => {
                let denied = self.denial(access);
                self.turns.insert(id, Turn { access, waits: false });
                let _ = go.send(Given { turn: id, denied });
            }
            Ticket::Commit { turn, go } => {
                self.resume(Some(turn));
                let fate = if self.fires("db commit denied", 0.02) {
                    Fate::Denied(Denial::Away)
                } else if self.fires("db commit full", 0.02) {
                    Fate::Denied(Denial::Full)
                } else if self.fires("db commit unsure", 0.03) {
                    Fate::Unsure
                } else {
                    Fate::Real
                };
                if fate != Fate::Real {
                    self.note(|| format!("  {fate:?}"));
                }
                let _ = go.send(fate);
            }
        }
    }

    fn resume(&mut self, turn: Option<u64>) {
        if let Some(turn) = turn.and_then(|turn| self.turns.get_mut(&turn)) {
            turn.waits = false;
        }
    }

    fn denial(&mut self, access: Access) -> Option<Denial> {
        let denied = if access == Access::Read {
            self.fires("db read away", 0.02).then_some(Denial::Away)
        } else if self.fires("db write away", 0.02) {
            Some(Denial::Away)
        } else if self.fires("db write full", 0.02) {
            Some(Denial::Full)
        } else {
            self.fires("db write contended", 0.03).then_some(Denial::Contended)
        };
        if let Some(denial) = denied {
            self.note(|| format!("  {denial:?}"));
        }
        denied
    }
}

impl Ticket {
    fn name(&self) -> String {
        match self {
            Self::Pass { name, .. } => format!("pass {name}"),
            Self::Ask { access, .. } => format!("{access:?}"),
            Self::Commit { .. } => "commit".to_owned(),
        }
    }
}

impl Simulation for Director {
    fn pass(&self, name: &'static str) -> Option<Held<()>> {
        let mut state = self.lock();
        if !state.fires(name, 0.4) {
            return None;
        }
        // Only the task of the turn that is under way can be here while one is.
        let turn = state.turns.iter_mut().find(|(_, turn)| !turn.waits).map(|(id, turn)| {
            turn.waits = true;
            *id
        });
        let (go, told) = oneshot::channel();
        let id = state.id();
        state.tickets.insert(id, Ticket::Pass { name, go, turn });
        drop(state);
        Some(self.wait(id, told))
    }

    fn rarely(&self, name: &'static str) -> bool {
        let mut state = self.lock();
        let chance = if SELDOM.contains(&name) { 0.5 } else { 0.12 };
        let fires = state.fires(name, chance);
        if fires {
            state.note(|| format!("rarely {name}"));
        }
        fires
    }

    fn ask(&self, access: Access) -> Held<Given> {
        let mut state = self.lock();
        let (go, told) = oneshot::channel();
        let id = state.id();
        state.tickets.insert(id, Ticket::Ask { access, go });
        drop(state);
        self.wait(id, told)
    }

    fn commit(&self, turn: u64) -> Held<Fate> {
        let mut state = self.lock();
        if let Some(turn) = state.turns.get_mut(&turn) {
            turn.waits = true;
        }
        let (go, told) = oneshot::channel();
        let id = state.id();
        state.tickets.insert(id, Ticket::Commit { turn, go });
        drop(state);
        self.wait(id, told)
    }

    fn over(&self, turn: u64) {
        self.lock().turns.remove(&turn);
    }

    fn disk(&self, path: &Path, what: Disk) {
        self.lock().disks.tell(path, what);
    }
}
