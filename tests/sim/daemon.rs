//! A daemon: the real journal on a disk that forgets, and processes whose keepers outlive it.
//!
//! An operation is a start (its outcome is known as soon as the process runs, and the keeper's record
//! of the start is durable) or an edit (one effect, behind a note in the journal). What each effect
//! did is written to the ledger; an effect that comes twice ends the world.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentd::journal::{Admission, JournalHandle, Settlement};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::clock::Clock;
use shared::ids::OpId;
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::operation::OperationState;
use shared::protocol::{ErrorCode, Reply, WireError};
use tokio::sync::watch;

use crate::director::Director;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Starts a process that runs for a while.
    Start,
    /// Changes a file at once.
    Edit,
}

impl Effect {
    const fn method(self) -> &'static str {
        match self {
            Self::Start => "process/start",
            Self::Edit => "files/edit",
        }
    }
}

/// A process in the hands of its keeper.
struct Process {
    over: watch::Sender<bool>,
}

struct State {
    rng: StdRng,
    up: Option<Up>,
    /// How often each operation had its effect.
    ledger: BTreeMap<OpId, u32>,
    processes: BTreeMap<OpId, Process>,
    /// Highest epoch that was let in, by scope.
    admitted: BTreeMap<String, u64>,
    stale_refused: u64,
    broken: Option<String>,
}

/// One run of the daemon.
#[derive(Clone)]
struct Up {
    journal: JournalHandle,
    lifecycle: Lifecycle,
}

/// The daemon and its machine. All clones are one.
#[derive(Clone)]
pub struct Daemon {
    folder: Arc<PathBuf>,
    director: Director,
    clock: Arc<dyn Clock>,
    /// The keepers': they outlive the daemon.
    machine: Lifecycle,
    state: Arc<Mutex<State>>,
}

impl Daemon {
    /// A machine without a running daemon.
    pub fn new(seed: u64, folder: PathBuf, director: Director, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed ^ 0xDAE_0001),
            up: None,
            ledger: BTreeMap::new(),
            processes: BTreeMap::new(),
            admitted: BTreeMap::new(),
            stale_refused: 0,
            broken: None,
        };
        let (folder, state) = (Arc::new(folder), Arc::new(Mutex::new(state)));
        Self { folder, director, clock, machine: Lifecycle::new(), state }
    }

    /// Starts the daemon: opens the journal and settles what was interrupted, before any call.
    pub async fn start(&self) {
        let lifecycle = Lifecycle::new();
        let opened = JournalHandle::open(&self.folder, &lifecycle, Arc::clone(&self.clock));
        let (journal, interrupted) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.breaks(format!("the journal does not open: {error}")),
        };
        for left in interrupted {
            // A keeper's record of the start, or the file itself, proves that it had its effect.
            let had = self.lock().ledger.contains_key(&left.op_id);
            let settlement = if had { Settlement::Ended(done()) } else { Settlement::NeverRan };
            self.director.note(|| format!("daemon settles {} {had}", left.op_id));
            if journal.settle(left.op_id, settlement).await.is_err() {
                return self.breaks("the journal does not settle".to_owned());
            }
        }
        self.lock().up = Some(Up { journal, lifecycle });
    }

    /// The daemon dies; `power`: its machine too, so that only what was synced stays. Processes live
    /// on when only the daemon dies.
    pub fn die(&self, power: bool) {
        let Some(up) = self.lock().up.take() else { return };
        up.lifecycle.stop_hard();
        drop(up);
        if power {
            self.director.power_fails(&self.folder);
            for process in self.lock().processes.values() {
                process.over.send_replace(true);
            }
        }
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.lock().up.is_some()
    }

    /// Starts a task of the daemon, which dies with it. False: it does not run.
    pub fn serve(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Some(up) = self.lock().up.clone() else { return false };
        up.lifecycle.spawn_serving("call", task);
        true
    }

    /// An operation arrives.
    pub async fn operate(&self, op: OpId, fence: Fence, effect: Effect) -> Result<(), WireError> {
        let Some(Up { journal, .. }) = self.lock().up.clone() else { return Err(ending()) };
        // Two that were let in may go on in another order than they came in.
        let highest = self.lock().admitted.get(&fence.scope).copied().unwrap_or_default();
        match journal.begin(op, &fence, effect.method()).await {
            Admission::Begin(token) => {
                self.admit(&fence, highest);
                if effect == Effect::Edit
                    && let Err(error) = token.prepared(Bytes::from_static(b"edit")).await
                {
                    // As the real one: nothing was done, and that is the outcome.
                    let error = WireError::failed(ErrorCode::DiskFull, error.message);
                    let outcome = shared::wire::encode(&Reply::<()>::Err(error));
                    return answer(&token.commit(outcome.into()).await?);
                }
                self.take_effect(op, effect);
                let recoverable = self.lock().rng.random_bool(0.5);
                let outcome = if recoverable {
                    token.commit_recoverable(done())
                } else {
                    token.commit(done()).await?
                };
                answer(&outcome)
            }
            Admission::Answered(bytes) => answer(&bytes),
            Admission::Attach(attached) => answer(&attached.outcome().await?),
            Admission::Refused(error) => {
                if error.known_code() == Some(ErrorCode::StaleEpoch) {
                    self.lock().stale_refused += 1;
                }
                Err(error)
            }
        }
    }

    /// Waits until the process of an operation is over.
    pub async fn wait(&self, op: OpId) {
        let over = self.lock().processes.get(&op).map(|process| process.over.subscribe());
        if let Some(mut over) = over {
            let _ = over.wait_for(|over| *over).await;
        }
    }

    /// Makes sure that an operation does not begin, or stops its process.
    pub async fn stop(&self, op: OpId, fence: Fence) -> Result<(), WireError> {
        let Some(Up { journal, .. }) = self.lock().up.clone() else { return Err(ending()) };
        match journal.cancel(op, &fence).await? {
            OperationState::Cancelled | OperationState::Absent => {}
            _ => {
                if let Some(process) = self.lock().processes.get(&op) {
                    process.over.send_replace(true);
                }
            }
        }
        Ok(())
    }

    /// The control plane has committed these outcomes.
    pub fn acknowledge(&self, ops: &[OpId]) {
        if let Some(up) = &self.lock().up {
            up.journal.acknowledge(ops);
        }
    }

    /// How often each operation had its effect.
    pub fn ledger(&self) -> BTreeMap<OpId, u32> {
        self.lock().ledger.clone()
    }

    /// How often an older epoch was refused.
    pub fn stale_refused(&self) -> u64 {
        self.lock().stale_refused
    }

    /// What must never be, if it was.
    pub fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Ends every task.
    pub fn end(&self) {
        self.die(false);
        self.machine.stop_hard();
    }

    fn take_effect(&self, op: OpId, effect: Effect) {
        let mut state = self.lock();
        let times = state.ledger.entry(op).or_default();
        *times += 1;
        let twice = *times > 1;
        self.director.note(|| format!("effect {op}"));
        if twice {
            state.broken.get_or_insert_with(|| format!("{op} had its effect twice"));
        }
        if effect == Effect::Start {
            let ms = state.rng.random_range(1..8_000);
            let over = watch::Sender::new(false);
            state.processes.insert(op, Process { over: over.clone() });
            drop(state);
            self.machine.spawn_serving("process", async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                over.send_replace(true);
            });
        }
    }

    /// An operation was let in; `known`: the highest epoch that had been when it came.
    fn admit(&self, fence: &Fence, known: u64) {
        let mut state = self.lock();
        let highest = state.admitted.entry(fence.scope.clone()).or_default();
        *highest = fence.epoch.max(*highest);
        if fence.epoch < known {
            let told = format!("epoch {} was let in after {known}", fence.epoch);
            state.broken.get_or_insert(told);
        }
    }

    fn breaks(&self, what: String) {
        self.lock().broken.get_or_insert(what);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done() -> Bytes {
    shared::wire::encode(&Reply::Ok(())).into()
}

fn answer(bytes: &[u8]) -> Result<(), WireError> {
    match shared::wire::decode::<Reply<()>>(bytes) {
        Ok(Reply::Ok(())) => Ok(()),
        Ok(Reply::Err(error)) => Err(error),
        Err(error) => Err(WireError::failed(ErrorCode::Internal, error.to_string())),
    }
}

fn ending() -> WireError {
    WireError::refused(ErrorCode::ShuttingDown, "the daemon is not there")
}
