//! The engine against a real SQLite file, with a scripted model and scripted tools.
//!
//! Nothing sleeps: tests wait for rows by the hints that viewers get, with a deadline.

mod advisor;
mod agents;
mod budgets;
mod compaction;
mod crashes;
mod doubles;
mod edit_checks;
mod edits;
mod fallbacks;
mod files;
mod interrupts;
mod leases;
mod names;
mod reads;
mod retries;
mod soft_stops;
mod storm;
mod traces;
mod turns;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use shared::clock::SystemClock;
use shared::ids::{ChatId, SystemIds, UserId, WorkspaceId};
use shared::lifecycle::Lifecycle;

use super::client::ClientState;
use super::content::{Part, Role};
use super::event::ChatStatus;
use super::machine::Busy;
use super::service::{BeginChat, ChatService, Say};
use super::worker::Worker;
use super::{Engine, EngineParts};
use crate::store::chats::{ChatRow, Delivery, MessageRow};
use crate::store::{DatabaseUrl, NewUser, NewWorkspace, Store, UserRole};
use doubles::{Model, Tools};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A database with its people, and one engine over it.
struct World {
    _folder: tempfile::TempDir,
    store: Store,
    user: UserId,
    workspace: WorkspaceId,
    model: Arc<Model>,
    tools: Arc<Tools>,
    engine: Running,
}

/// An engine and what stops it.
struct Running {
    chats: ChatService,
    streams: super::stream::Streams,
    hints: super::hints::Hints,
    recorder: super::trace::Recorder,
    lifecycle: Lifecycle,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        let user =
            NewUser { username: "ada".into(), password_hash: String::new(), role: UserRole::Admin };
        let user = store.users.create(&user).await.unwrap().id;
        let workspace = NewWorkspace { name: "box".into(), labels: Default::default() };
        let workspace = store.workspaces.create(&workspace).await.unwrap().id;
        let (model, tools) = (Arc::new(Model::default()), Arc::new(Tools::default()));
        let engine = start(&store, &model, &tools);
        Self { _folder: folder, store, user, workspace, model, tools, engine }
    }

    /// Kills the engine as a crash does: nothing is handed over, nothing is written.
    async fn crash(&mut self) {
        self.engine.lifecycle.stop_hard();
        let stopped = self.engine.lifecycle.clone();
        stopped.shut_down(Duration::ZERO).await;
    }

    /// Starts an engine over the same database.
    fn restart(&mut self) {
        self.engine = start(&self.store, &self.model, &self.tools);
    }

    async fn begin(&self, text: &str) -> ChatId {
        let begin = BeginChat {
            owner: self.user,
            workspace_id: Some(self.workspace),
            model_id: None,
            mode: "auto".into(),
            title: None,
            content: vec![Part::Text { text: text.into() }],
            effort: None,
            client_tools: Vec::new(),
            budget: None,
            key: None,
        };
        self.engine.chats.create(begin).await.unwrap().0.id
    }

    async fn say(&self, chat: ChatId, text: &str, busy: Busy) -> Delivery {
        let content = vec![Part::Text { text: text.into() }];
        let say = Say { content, model_id: None, effort: None, busy, key: None };
        self.engine.chats.send(self.user, chat, say).await.unwrap().1
    }

    async fn row(&self, chat: ChatId) -> ChatRow {
        self.store.chats.head(chat).await.unwrap().unwrap()
    }

    async fn history(&self, chat: ChatId) -> Vec<MessageRow> {
        self.store.chats.history(chat).await.unwrap()
    }

    /// Waits until the chat's row satisfies `done`.
    async fn until(&self, chat: ChatId, what: &str, done: impl Fn(&ChatRow) -> bool) -> ChatRow {
        let mut wakes = self.engine.hints.chat(chat);
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let row = self.row(chat).await;
                if done(&row) {
                    return row;
                }
                wakes.changed().await.unwrap();
            }
        });
        match waited.await {
            Ok(row) => row,
            Err(_) => panic!("never came: {what}; the chat is {:?}", self.row(chat).await),
        }
    }

    async fn until_rest(&self, chat: ChatId) -> ChatRow {
        self.until(chat, "rest", |row| row.status == ChatStatus::Waiting).await
    }

    /// What a viewer sees until `done`.
    async fn watch(&self, chat: ChatId, done: impl Fn(&ClientState) -> bool) -> ClientState {
        let mut client = ClientState::default();
        let mut stream = self.engine.streams.subscribe(chat, None);
        let watched = tokio::time::timeout(PATIENCE, async {
            while !done(&client) {
                for envelope in stream.next().await.unwrap() {
                    client.apply(&envelope);
                }
            }
        });
        assert!(watched.await.is_ok(), "never seen; the viewer has {client:?}");
        client
    }

    /// The history as short text: `user: hi`, `assistant: text +call`, `tool: c1=…`.
    async fn story(&self, chat: ChatId) -> Vec<String> {
        self.history(chat).await.iter().map(line).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.engine.lifecycle.stop_hard();
    }
}

fn line(row: &MessageRow) -> String {
    let parts: Vec<String> = row
        .content
        .iter()
        .map(|stored| match &stored.part {
            Part::Text { text } => text.clone(),
            Part::Reasoning { text } => format!("({text})"),
            Part::ToolCall { tool_call_id, .. } => format!("+{tool_call_id}"),
            Part::ToolResult { tool_call_id, is_error: true, .. } => format!("{tool_call_id}!"),
            Part::ToolResult { tool_call_id, result, .. } => format!("{tool_call_id}={result}"),
            Part::Notice { code, .. } => format!("[{code}]"),
            Part::File { file } => format!("file {}", file.name),
            Part::AgentReport { title, outcome, text, .. } => {
                format!("<{title} {}: {text}>", outcome.as_str())
            }
            Part::Compaction { mark } => format!("[{:?} by {:?}]", mark.method, mark.reason),
        })
        .collect();
    let role = match row.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    format!("{role}: {}", parts.join(" "))
}

async fn open(folder: &tempfile::TempDir) -> Store {
    let url = DatabaseUrl::Sqlite(folder.path().join("holdfast.db"));
    Store::open(&url, Arc::new(SystemClock), Arc::new(SystemIds::new())).await.unwrap()
}

fn engine(store: &Store, model: &Arc<Model>, tools: &Arc<Tools>, lifecycle: &Lifecycle) -> Engine {
    Engine::new(EngineParts {
        store: store.clone(),
        models: Arc::clone(model) as _,
        tools: Arc::clone(tools) as _,
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds::new()),
        seed: 7,
        lease: crate::chat::worker::LEASE,
        lifecycle: lifecycle.clone(),
    })
}

fn start(store: &Store, model: &Arc<Model>, tools: &Arc<Tools>) -> Running {
    let (running, namer) = start_parts(store, model, tools);
    running.lifecycle.spawn_serving("names", namer.run(running.lifecycle.soft()));
    running
}

/// As one that dies right after each commit, before anybody is asked for names.
fn start_without_names(store: &Store, model: &Arc<Model>, tools: &Arc<Tools>) -> Running {
    start_parts(store, model, tools).0
}

fn start_parts(
    store: &Store,
    model: &Arc<Model>,
    tools: &Arc<Tools>,
) -> (Running, crate::chat::naming::Namer) {
    let lifecycle = Lifecycle::new();
    let Engine { chats, streams, hints, worker, recorder, recording, namer, .. } =
        engine(store, model, tools, &lifecycle);
    let worker: Worker = worker;
    lifecycle.spawn_vital("chat worker", worker.run(lifecycle.soft()));
    lifecycle.spawn_serving("traces", recording.run(lifecycle.hard()));
    (Running { chats, streams, hints, recorder, lifecycle }, namer)
}
