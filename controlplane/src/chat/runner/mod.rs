//! Drives one chat that this replica owns, from its committed rows alone.
//!
//! ```text
//!            ┌──────────────────────────────────────────────┐
//!            ▼                                              │ committed, viewers told
//!  rows ► decide ► generate: episode ► model stream ► commit_step (message + intents)
//!            │        └ no room: compact ► commit_step (the mark), and again
//!            ├───► tools: episode ► each result stored as it comes ► sealed by the last
//!            ├───► interrupt: stop processes ► finish_interruption (partial answer, once)
//!            ├───► wait for the next attempt
//!            └───► finish_turn ► the next queued message, or rest
//! ```
//!
//! Invariants: nothing is dispatched before its intent is committed; every write carries the fence,
//! so a runner that lost its chat changes nothing; what may be cut off in the middle (the model's
//! stream, a tool's wait) never contains a commit; after each commit the episode is turned over and
//! only then the hints are sent.
//!
//! Its files: `decide` (pure) chooses; `generate`, `compact`, `tools`, `agents`, `advisor`, `interrupt` act; `limits` says
//! when to pause; `commit` writes; `watch`
//! says when to stop in the middle.

mod advisor;
mod agents;
mod check;
mod checkpoint;
mod commit;
mod compact;
mod decide;
mod effort;
mod failure;
mod fallback;
mod files;
mod generate;
mod intent;
mod interrupt;
mod limits;
mod naming;
mod system;
mod tools;
mod trace;
mod watch;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use shared::clock::Clock;
use shared::ids::{ChatId, IdSource, OpId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::Need;
use super::event::{ChatErrorView, ChatStatus};
use super::hints::Hints;
use super::hub::{EpisodeKey, EpisodeWriter, Hub};
use super::machine::AssistantMessage;
use super::naming::NamerHandle;
use super::ports::{Models, ToolRunner};
use super::trace::Recorder;
use crate::llm::Files;
use crate::store::chats::{
    Acquired, ChatRow, ChatStore, Finished, MessageRow, OperationRow, WorkerFence,
};
use crate::store::{AttachmentStore, StoreError};
use crate::tools::{AdvisorTool, AgentTools};
use decide::Next;
pub(super) use failure::internal as internal_error;
use trace::Tracing;
use watch::{Seen, Stop, Watch};

/// Pause before a chat that cannot be worked on is given back, so that nobody spins over it.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// Pause before a chat whose epoch is behind is taken again.
const OUTRUN_PAUSE: Duration = Duration::from_millis(500);

/// What every runner of a replica shares.
pub(super) struct Shared {
    pub(super) store: ChatStore,
    pub(super) attachments: AttachmentStore,
    pub(super) hub: Hub,
    pub(super) hints: Hints,
    pub(super) models: Arc<dyn Models>,
    pub(super) tools: Arc<dyn ToolRunner>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) rng: Mutex<StdRng>,
    pub(super) recorder: Recorder,
    pub(super) namer: NamerHandle,
    pub(super) agents: AgentTools,
    pub(super) advisor: AdvisorTool,
}

/// Drives one chat. Made per acquisition.
pub(super) struct Runner {
    shared: Arc<Shared>,
    id: ChatId,
    /// The row as of the last commit or look.
    chat: ChatRow,
    fence: WorkerFence,
    /// Everything the model is told; kept in memory, as only this runner adds to it.
    history: Vec<MessageRow>,
    /// The open batch, if it is known already.
    operations: Option<Vec<OperationRow>>,
    /// Whether the next model call's attempt is recorded.
    attempt_begun: bool,
    /// What the model had said when a person stopped it.
    partial: Option<AssistantMessage>,
    /// Why the history may have to be made shorter before the next model call.
    need: Need,
    /// The bytes of the files that the last prompt showed.
    files: Files,
    /// The spans that are open.
    tracing: Tracing,
    /// Keeps the preview open until what it shows is a message.
    preview: Option<Arc<EpisodeWriter>>,
    /// Whether this runner has asked the model; until then a checkpoint is a former runner's.
    has_asked: bool,
    /// Whether the open operations were told to stop.
    stop_told: bool,
    /// Until when this runner's work is counted in the chat's row.
    counted_to: Instant,
    /// Operations whose answers are stored and of which the daemon was told.
    acknowledged: Vec<OpId>,
    watch: Watch,
}

/// Why a runner ends before its chat rests.
#[derive(Debug)]
enum Leave {
    /// The chat is given back: another worker, or the next start, goes on.
    Abandon,
    /// The chat is not ours any more.
    Lost,
    /// A daemon has seen a newer owner than the rows know, as after a restored backup: given back
    /// until the epoch has risen over it.
    Outrun,
    /// A row or the database is broken; the chat stops with an error.
    Broken(StoreError),
}

/// A step of the loop: go on, or leave.
type Flow = Result<(), Leave>;

impl Runner {
    /// A runner for a chat that was acquired. `history` where it is known already.
    pub(super) async fn drive(
        shared: Arc<Shared>,
        acquired: Acquired,
        history: Option<Vec<MessageRow>>,
        soft: CancellationToken,
        lost: CancellationToken,
    ) {
        let Acquired { chat, fence, attempt_begun } = acquired;
        let id = chat.id;
        let (store, asked) = (shared.store.clone(), shared.hints.asked(id));
        let watch = Watch::new(store, (id, fence.runner_id), asked, soft, lost);
        let mut runner = Self {
            shared,
            id,
            chat,
            fence,
            history: Vec::new(),
            operations: None,
            attempt_begun,
            partial: None,
            need: Need::Room,
            files: Files::default(),
            tracing: Tracing::default(),
            preview: None,
            has_asked: false,
            stop_told: false,
            counted_to: Instant::now(),
            acknowledged: Vec::new(),
            watch,
        };
        runner.shared.recorder.taken_over(id, runner.shared.clock.now_ms());
        // The acquisition was a commit too.
        runner.tell();
        let ended = match runner.begin(history).await {
            Ok(()) => runner.work().await,
            Err(leave) => Err(leave),
        };
        runner.leave(ended).await;
    }

    async fn begin(&mut self, history: Option<Vec<MessageRow>>) -> Flow {
        match history.filter(|_| !shared::fault::rarely("runner: history read again")) {
            Some(history) => self.history = history,
            None => self.load_history().await?,
        }
        Ok(())
    }

    async fn work(&mut self) -> Flow {
        loop {
            if shared::fault::rarely("runner: gives its chat back") {
                return Err(Leave::Abandon);
            }
            match decide::next(&self.chat, &self.history) {
                Next::Interrupt => self.interrupt().await?,
                Next::RunTools => self.run_tools().await?,
                Next::Wait { until_ms, at_most_ms } => self.wait(until_ms, at_most_ms).await?,
                Next::CallModel => self.call_model().await?,
                Next::Compact => {
                    self.need = Need::Asked;
                    self.generate().await?;
                }
                Next::FinishTurn => self.finish_turn().await?,
                Next::Pause(why) => self.finish_error(*why).await?,
                Next::TooManyAttempts => self.finish_error(failure::too_many_attempts()).await?,
                Next::Rest => return Ok(()),
            }
        }
    }

    /// Asks the model, unless the family has used what it may.
    async fn call_model(&mut self) -> Flow {
        if let Some(check) = self.check_due().await? {
            return self.begin_check(&check).await;
        }
        match limits::spent_too_much(&self.shared.store, &self.chat).await {
            Ok(None) => self.generate().await,
            Ok(Some(why)) => self.finish_error(why).await,
            // What was used is known after the database is back; until then no model is asked.
            Err(StoreError::Unavailable(_) | StoreError::Contended(_)) => {
                tokio::time::sleep(TROUBLE_PAUSE).await;
                self.look_again().await
            }
            Err(error) => Err(Leave::Broken(error)),
        }
    }

    async fn leave(mut self, ended: Flow) {
        match ended {
            Ok(()) | Err(Leave::Lost) => {}
            Err(Leave::Abandon) => self.abandon().await,
            Err(Leave::Outrun) => {
                tokio::time::sleep(OUTRUN_PAUSE).await;
                self.abandon().await;
            }
            Err(Leave::Broken(error)) => {
                tracing::error!(chat.id = %self.id, error = &error as &dyn std::error::Error,
                    "a chat stops: its rows cannot be used");
                if self.finish_error(failure::internal()).await.is_err() {
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                    self.abandon().await;
                }
            }
        }
        self.note_acknowledged().await;
        // What is open is another runner's now, or lost.
        self.shared.recorder.left(self.id);
    }

    async fn abandon(&self) {
        if shared::fault::rarely("runner: chat not given back") {
            return;
        }
        match self.shared.store.abandon(self.id, &self.fence).await {
            Ok(()) => self.shared.hints.runnable(),
            Err(StoreError::Fenced) => {}
            Err(error) => tracing::warn!(chat.id = %self.id,
                error = &error as &dyn std::error::Error,
                "a chat could not be given back; its lease will end"),
        }
    }

    /// Waits for the next attempt's moment; a person may stop it.
    async fn wait(&mut self, until_ms: i64, at_most_ms: u64) -> Flow {
        let left = until_ms.saturating_sub(self.shared.clock.now_ms()).max(0).unsigned_abs();
        let pause = Duration::from_millis(left.min(at_most_ms));
        let seen = self.seen();
        let stop = tokio::time::timeout(pause, self.watch.stopped(Duration::ZERO, seen)).await;
        match stop {
            Ok(stop) => self.stopped(stop).await,
            Err(_) => self.record_attempt().await,
        }
    }

    async fn record_attempt(&mut self) -> Flow {
        let (id, store) = (self.id, self.shared.store.clone());
        let fence = self.fence;
        if let Some(fence) = self.write(|| store.record_attempt(id, &fence)).await? {
            self.fence = fence;
            self.chat.attempt = fence.attempt;
            self.chat.retry = None;
            self.attempt_begun = true;
        }
        Ok(())
    }

    async fn finish_turn(&mut self) -> Flow {
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let to_name = self.to_be_named().await;
        let finished = match to_name {
            Some(seq) => self.write(|| store.finish_turn_to_name(id, &fence, seq)).await?,
            None => self.write(|| store.finish_turn(id, &fence)).await?,
        };
        self.finished(finished);
        if to_name.is_some() {
            self.shared.namer.wake();
        }
        self.note_acknowledged().await;
        Ok(())
    }

    async fn finish_error(&mut self, error: ChatErrorView) -> Flow {
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let finished = self.write(|| store.finish_error(id, &fence, &error)).await?;
        self.finished(finished);
        Ok(())
    }

    /// Takes over what the end of a turn wrote: the chat rests, or a queued message is next.
    fn finished(&mut self, finished: Option<Finished>) {
        let Some(Finished { chat, messages, next, parent }) = finished else { return };
        let error = chat.last_error.as_ref().filter(|_| chat.status == ChatStatus::Error);
        self.trace_turn_over(self.chat.status, error.map(|error| error.code.as_str()));
        self.chat = chat;
        self.history.extend(messages);
        self.operations = None;
        (self.partial, self.preview) = (None, None);
        self.stop_told = false;
        self.need = Need::Room;
        self.attempt_begun = next.is_some();
        if let Some(fence) = next {
            self.fence = fence;
        }
        self.tell();
        self.tell_lists();
        if let Some(parent) = parent {
            shared::fault::point("f3 came home");
            self.tell_agent(&parent);
        }
    }

    /// What to do when something was stopped in the middle.
    async fn stopped(&mut self, stop: Stop) -> Flow {
        match stop {
            Stop::Moved => {
                self.partial = None;
                self.look_again().await
            }
            Stop::Interrupted(row) | Stop::Decided(row) => {
                self.chat = *row;
                Ok(())
            }
            Stop::ShuttingDown => Err(Leave::Abandon),
            Stop::Lost => Err(Leave::Lost),
        }
    }

    /// What is known of the chat.
    fn seen(&self) -> Seen {
        let history_version = self.fence.history_version;
        Seen { history_version, awaited: self.chat.awaited }
    }

    /// Milliseconds since this was asked last: what a step adds to the time that the chat worked.
    fn worked_ms(&mut self) -> u64 {
        let now = Instant::now();
        let worked = now.saturating_duration_since(self.counted_to);
        self.counted_to = now;
        u64::try_from(worked.as_millis()).unwrap_or(u64::MAX)
    }

    /// The running episode by the fence.
    fn episode(&self) -> EpisodeKey {
        EpisodeKey { history: self.fence.history_version, attempt: self.fence.attempt }
    }

    fn epoch(&self) -> u64 {
        self.fence.epoch.unsigned_abs()
    }

    /// Viewers of the chat may look. Always after the commit and after the episode's turnover.
    fn tell(&self) {
        shared::fault::point("w7 committed");
        self.shared.hints.chat_changed(self.id);
    }

    fn tell_lists(&self) {
        self.shared.hints.list_changed(self.chat.owner_id, self.id);
    }

    /// Notes in one write which answers the daemon may forget.
    async fn note_acknowledged(&mut self) {
        let operations = std::mem::take(&mut self.acknowledged);
        if operations.is_empty() || shared::fault::rarely("tools: acknowledgement not noted") {
            return;
        }
        if let Err(error) = self.shared.store.acknowledged(&operations).await {
            tracing::debug!(chat.id = %self.id, error = &error as &dyn std::error::Error,
                "operations stay unacknowledged; they are told again at the next link");
        }
    }

    fn rng(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.shared.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
