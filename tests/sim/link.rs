//! The way to the daemon: late, lossy, repeating, in any order; and the tools that use it.
//!
//! ```text
//!  ToolRunner ─► delay ─► lost? ─► Daemon::operate ─► delay ─► lost? ─► answer
//!                           └► again, later              link cut: nobody knows
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use controlplane::chat::machine::Class;
use controlplane::chat::ports::{Told, ToolRun, ToolRunner};
use controlplane::llm::ToolSpec;
use controlplane::store::chats::ChatStore;
use controlplane::tools::{OperationKey, ToolError, ToolKind, ToolOutcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use shared::ids::{OpId, WorkspaceId};
use shared::protocol::{ErrorCode, WireError};
use tokio::sync::{oneshot, watch};

use crate::daemon::{Daemon, Effect};
use crate::director::Director;
use crate::profile::Profile;

/// A reply that never comes is given up after this long, as a lost link is.
const PATIENCE: Duration = Duration::from_secs(20);

struct State {
    rng: StdRng,
    faulty: bool,
    /// Operations whose intent is in the database.
    intended: BTreeSet<OpId>,
    /// Told the daemon and not compared with the database yet.
    acknowledged: Vec<OpId>,
    broken: Option<String>,
}

/// The link of the world's one workspace. All clones are one.
#[derive(Clone)]
pub struct Link {
    workspace: WorkspaceId,
    pub daemon: Daemon,
    director: Director,
    /// Raised by every cut and every return; odd: up.
    generation: watch::Sender<u64>,
    state: Arc<Mutex<State>>,
}

impl Link {
    /// Up.
    pub fn new(
        seed: u64,
        workspace: WorkspaceId,
        daemon: Daemon,
        director: Director,
        profile: &Profile,
    ) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed ^ 0x11_4C),
            faulty: profile.link_faults,
            intended: BTreeSet::new(),
            acknowledged: Vec::new(),
            broken: None,
        };
        let state = Arc::new(Mutex::new(state));
        Self { workspace, daemon, director, generation: watch::Sender::new(1), state }
    }

    /// Cuts it: what is under way is lost or arrives unanswered.
    pub fn cut(&self) {
        self.generation.send_if_modified(|generation| {
            let up = *generation % 2 == 1;
            *generation += u64::from(up);
            up
        });
    }

    /// Brings it back.
    pub fn restore(&self) {
        self.generation.send_if_modified(|generation| {
            let down = *generation % 2 == 0;
            *generation += u64::from(down);
            down
        });
    }

    /// Nothing is lost or repeated any more.
    pub fn heal(&self) {
        self.lock().faulty = false;
        self.restore();
    }

    /// What the database has: intents, and those of them that are answered. Gives what must not be.
    pub fn compare(&self, intended: BTreeSet<OpId>, answered: &BTreeSet<OpId>) -> Option<String> {
        let mut state = self.lock();
        state.intended = intended;
        let early = std::mem::take(&mut state.acknowledged);
        let early = early.into_iter().find(|op| !answered.contains(op));
        early
            .map(|op| format!("{op} was acknowledged and its answer is not stored"))
            .or_else(|| state.broken.clone())
    }

    /// Asks the daemon and waits; what may be lost is lost.
    async fn call<T: Send + 'static>(
        &self,
        ask: impl Fn(Daemon) -> BoxAnswer<T> + Send + Sync,
    ) -> Result<Result<T, WireError>, ToolError> {
        let mut generation = self.generation.subscribe();
        let began = *generation.borrow_and_update();
        if began.is_multiple_of(2) || !self.daemon.is_up() {
            return Err(ToolError::Unavailable { reason: "the link is down".to_owned() });
        }
        let (there, back, lost, again) = self.fate();
        let lost_link = async {
            // Also the end of the daemon: its side of the link closes.
            let changed = generation.wait_for(|now| *now != began);
            let _ = tokio::time::timeout(PATIENCE, changed).await;
        };
        let (tell, told) = oneshot::channel();
        let answered = async {
            tokio::time::sleep(there).await;
            if !lost {
                let answer = ask(self.daemon.clone());
                self.daemon.serve(async move {
                    let _ = tell.send(answer.await);
                });
            }
            if let Some(later) = again {
                let answer = ask(self.daemon.clone());
                self.daemon.serve(async move {
                    tokio::time::sleep(later).await;
                    let _ = answer.await;
                });
            }
            let Ok(answer) = told.await else { std::future::pending().await };
            tokio::time::sleep(back).await;
            answer
        };
        tokio::select! {
            biased;
            () = lost_link => Err(ToolError::Unknown { reason: "the link was cut".to_owned() }),
            answer = answered => Ok(answer),
        }
    }

    /// Time there, time back, whether it is lost, and when it comes again.
    fn fate(&self) -> (Duration, Duration, bool, Option<Duration>) {
        let mut state = self.lock();
        let ms = Duration::from_millis;
        let (there, back) =
            (ms(state.rng.random_range(1..400)), ms(state.rng.random_range(1..400)));
        if !state.faulty {
            return (there, back, false, None);
        }
        let lost = state.rng.random_bool(0.05);
        let again = state.rng.random_bool(0.1).then(|| ms(state.rng.random_range(1..30_000)));
        (there, back, lost, again)
    }

    async fn perform(&self, run: &ToolRun, effect: Effect) -> Result<ToolOutcome, ToolError> {
        let (op, fence) = (run.operation.op_id, run.operation.fence.clone());
        let operated = self
            .call(|daemon| {
                let (fence, link) = (fence.clone(), self.clone());
                Box::pin(async move {
                    link.arrives(op);
                    daemon.operate(op, fence, effect).await
                })
            })
            .await?;
        if let Err(error) = operated {
            return refused(error);
        }
        if effect == Effect::Start {
            run.live.push("it runs");
            let waited = self.call(|daemon| {
                Box::pin(async move {
                    daemon.wait(op).await;
                    Ok(())
                })
            });
            if let Err(error) = waited.await? {
                return refused(error);
            }
        }
        Ok(ToolOutcome::ok(json!({ "did": op.to_string() })))
    }

    /// What was sent is intended: some time has passed since, so a commit has been seen.
    fn arrives(&self, op: OpId) {
        let mut state = self.lock();
        if !state.intended.contains(&op) {
            let told = format!("{op} was sent before its intent was stored");
            state.broken.get_or_insert(told);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type BoxAnswer<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, WireError>> + Send>>;

/// As the real tools read a daemon's refusal.
fn refused(error: WireError) -> Result<ToolOutcome, ToolError> {
    match error.known_code() {
        Some(ErrorCode::StaleEpoch) => Err(ToolError::Fenced),
        Some(ErrorCode::OperationCancelled) => Err(ToolError::Cancelled),
        Some(ErrorCode::ShuttingDown | ErrorCode::Busy | ErrorCode::JournalUnavailable) => {
            Err(ToolError::Unavailable { reason: error.message })
        }
        _ => Ok(ToolOutcome::error(&error.code, error.message)),
    }
}

#[async_trait]
impl ToolRunner for Link {
    fn specs(&self, has_workspace: bool, _: &str) -> Vec<ToolSpec> {
        let spec = |name: &str| ToolSpec {
            name: name.into(),
            description: String::new(),
            schema: Arc::new(json!({})),
        };
        if has_workspace { ["act", "edit_files", "look"].map(spec).to_vec() } else { Vec::new() }
    }

    fn kind(&self, tool: &str) -> Option<ToolKind> {
        match tool {
            "act" | "edit_files" | "execute" => Some(ToolKind::Operation),
            "look" => Some(ToolKind::Read),
            _ => None,
        }
    }

    fn class(&self, tool: &str, args: &Value) -> Option<Class> {
        let what = || args["what"].as_str().unwrap_or_default().to_owned();
        match tool {
            "act" | "execute" => Some(Class::Act { subject: Some(what()) }),
            "edit_files" => Some(Class::Edit { paths: vec![what()] }),
            "look" => Some(Class::Free),
            "ask_user" => Some(Class::Question),
            _ => None,
        }
    }

    async fn run(&self, run: ToolRun) -> Result<ToolOutcome, ToolError> {
        let cancel = run.cancel.clone();
        let performed = async {
            match run.tool.as_str() {
                "act" | "execute" => self.perform(&run, Effect::Start).await,
                "edit_files" => self.perform(&run, Effect::Edit).await,
                "look" => {
                    let looked = self.call(|_| Box::pin(async { Ok(()) })).await?;
                    looked.map_or_else(refused, |()| Ok(ToolOutcome::ok(json!("seen"))))
                }
                _ => Ok(ToolOutcome::error("unknown_tool", "There is no such tool.")),
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ToolError::Cancelled),
            ended = performed => ended,
        }
    }

    async fn reachable(&self, _: WorkspaceId) {
        let mut generation = self.generation.subscribe();
        let _ = generation.wait_for(|generation| generation % 2 == 1).await;
    }

    async fn stop(&self, _: WorkspaceId, operation: &OperationKey) -> Told {
        let (op, fence) = (operation.op_id, operation.fence.clone());
        let stopped = self.call(|daemon| {
            let fence = fence.clone();
            Box::pin(async move { daemon.stop(op, fence).await })
        });
        match stopped.await {
            Ok(_) => Told::Heard,
            Err(_) => Told::Unheard,
        }
    }

    fn acknowledge(&self, _: WorkspaceId, operations: Vec<OpId>) {
        self.lock().acknowledged.extend(&operations);
        let link = self.clone();
        self.daemon.serve(async move {
            let _ = link
                .call(|daemon| {
                    let operations = operations.clone();
                    Box::pin(async move {
                        daemon.acknowledge(&operations);
                        Ok(())
                    })
                })
                .await;
        });
    }

    async fn acknowledge_forgotten(&self, store: &ChatStore) {
        let mut generation = self.generation.subscribe();
        loop {
            if *generation.borrow_and_update() % 2 == 1
                && let Ok(operations) = store.unacknowledged(self.workspace, 1_000).await
                && !operations.is_empty()
            {
                self.director.note(|| format!("{} forgotten", operations.len()));
                self.acknowledge(self.workspace, operations.clone());
                let _ = store.acknowledged(&operations).await;
            }
            if generation.changed().await.is_err() {
                return;
            }
        }
    }
}
