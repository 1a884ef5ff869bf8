//! The chat engine put together: what `app` builds once and the rest of the program uses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use shared::clock::Clock;
use shared::ids::IdSource;
use shared::lifecycle::Lifecycle;

use super::hints::Hints;
use super::hub::Hub;
use super::list::ListHub;
use super::naming::{self, Namer};
use super::ports::{Models, ToolRunner};
use super::runner;
use super::service::ChatService;
use super::stream::Streams;
use super::trace::{Recorder, Recording};
use super::worker::Worker;
use crate::store::Store;
use crate::tools::{AdvisorTool, AgentTools};

/// What the engine stands on.
pub struct EngineParts {
    /// Every row.
    pub store: Store,
    /// Where models come from.
    pub models: Arc<dyn Models>,
    /// What runs tools.
    pub tools: Arc<dyn ToolRunner>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn IdSource>,
    /// Seeds the jitter of retries.
    pub seed: u64,
    /// How long a replica owns its chats without renewing, within
    /// [`LEASE_BOUNDS`](super::worker::LEASE_BOUNDS).
    pub lease: Duration,
    /// Starts and stops everything.
    pub lifecycle: Lifecycle,
}

/// The engine. Its handles are cheap to clone; the worker is run once:
/// `lifecycle.spawn_vital("chat worker", engine.worker.run(lifecycle.soft()))`.
pub struct Engine {
    /// What people and programs may do with chats.
    pub chats: ChatService,
    /// Viewers of one chat.
    pub streams: Streams,
    /// Viewers of the lists.
    pub lists: ListHub,
    /// Wake-ups; whoever commits a change that the lists show sends one.
    pub hints: Hints,
    /// Previews of running episodes.
    pub hub: Hub,
    /// Drives the chats.
    pub worker: Worker,
    /// What runs now, as spans.
    pub recorder: Recorder,
    /// Writes the spans; run once, beside the worker.
    pub recording: Recording,
    /// Has titles and labels written; run once, beside the worker.
    pub namer: Namer,
}

impl Engine {
    /// Passive: nothing runs before the worker does.
    #[must_use]
    pub fn new(parts: EngineParts) -> Self {
        let (hub, hints) = (Hub::new(), Hints::new());
        let reader = Arc::new(parts.store.chats.clone());
        let streams =
            Streams::new(hub.clone(), hints.clone(), reader.clone(), Arc::clone(&parts.clock));
        let lists = ListHub::new(hints.clone(), reader);
        let (recorder, recording) = Recorder::new(parts.store.traces.clone());
        let (naming, namer) = Namer::new(naming::Parts {
            store: parts.store.chats.clone(),
            models: Arc::clone(&parts.models),
            hints: hints.clone(),
            recorder: recorder.clone(),
            clock: Arc::clone(&parts.clock),
        });
        let shared = Arc::new(runner::Shared {
            store: parts.store.chats.clone(),
            attachments: parts.store.attachments.clone(),
            hub: hub.clone(),
            hints: hints.clone(),
            models: parts.models,
            tools: parts.tools,
            clock: parts.clock,
            ids: parts.ids,
            rng: Mutex::new(StdRng::seed_from_u64(parts.seed)),
            recorder: recorder.clone(),
            namer: naming,
            agents: AgentTools::new(),
            advisor: AdvisorTool::new(),
        });
        let worker = Worker::new(shared, parts.store.replicas.clone(), parts.lease);
        let chats = ChatService::new(
            parts.store.chats,
            hints.clone(),
            streams.clone(),
            worker.handle(),
            parts.lifecycle,
        );
        Self { chats, streams, lists, hints, hub, worker, recorder, recording, namer }
    }
}
