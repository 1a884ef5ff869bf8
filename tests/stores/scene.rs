//! A store with a user, a workspace and a replica, on one of the two databases.

use std::sync::Arc;

use controlplane::chat::content::{Part, StoredPart};
use controlplane::chat::event::ChatErrorView;
use controlplane::chat::machine::{
    AssistantMessage, Busy, Class, Gate, Intent, ToolAnswer, UserMessage,
};
use controlplane::store::chats::{
    Acquired, ChatRow, Created, NewChat, SendMessage, Sent, TitleSource, WorkerFence,
};
use controlplane::store::{DatabaseUrl, NewUser, NewWorkspace, Store, UserRole};
use serde_json::json;
use shared::clock::Clock;
use shared::ids::{IdSource, ReplicaId, SystemIds, UserId, WorkspaceId};
use shared::testing::ManualClock;
use tests::postgres::Postgres;

/// Where the clock of every scene begins.
pub const NOW_MS: i64 = 1_790_000_000_000;
/// Longer than any test.
pub const LEASE_MS: i64 = 3_600_000;

/// Makes of one body a test on SQLite and a test on Postgres.
macro_rules! on_both {
    ($(async fn $name:ident($scene:ident: &Scene) $body:block)*) => {$(
        async fn $name($scene: &$crate::scene::Scene) $body

        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(&$crate::scene::Scene::on_sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                if let Some(scene) = $crate::scene::Scene::on_postgres().await {
                    super::$name(&scene).await;
                }
            }
        }
    )*};
}

/// A store with what most tests need.
pub struct Scene {
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub ids: Arc<dyn IdSource>,
    pub url: DatabaseUrl,
    pub owner: UserId,
    pub workspace: WorkspaceId,
    pub replica: ReplicaId,
    // Dropped last: the databases themselves.
    _folder: Option<tempfile::TempDir>,
    _postgres: Option<Postgres>,
}

impl Scene {
    pub async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("holdfast.db"));
        Self::over(url, Some(folder), None).await
    }

    pub async fn on_postgres() -> Option<Self> {
        let postgres = Postgres::start().unwrap()?;
        let url = postgres.database().await.unwrap().parse().unwrap();
        Some(Self::over(url, None, Some(postgres)).await)
    }

    async fn over(
        url: DatabaseUrl,
        folder: Option<tempfile::TempDir>,
        postgres: Option<Postgres>,
    ) -> Self {
        let clock = Arc::new(ManualClock::at(NOW_MS));
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let store = Store::open(&url, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&ids))
            .await
            .unwrap();
        let user = NewUser {
            username: "ada".into(),
            password_hash: "$argon2id$".into(),
            role: UserRole::Admin,
        };
        let owner = store.users.create(&user).await.unwrap().id;
        let place = NewWorkspace { name: "box".into(), labels: [].into() };
        let workspace = store.workspaces.create(&place).await.unwrap().id;
        let replica = ids.id();
        store.replicas.register(replica, LEASE_MS, None, "0.1.0").await.unwrap();
        Self {
            store,
            clock,
            ids,
            url,
            owner,
            workspace,
            replica,
            _folder: folder,
            _postgres: postgres,
        }
    }

    /// A chat that is running and that nobody owns.
    pub async fn chat(&self) -> Created {
        self.store.chats.create(&self.new_chat()).await.unwrap()
    }

    /// A chat that is running and that the scene's replica owns, with its first attempt begun.
    pub async fn owned_chat(&self) -> (ChatRow, WorkerFence) {
        let new = NewChat { claim: Some(self.replica), ..self.new_chat() };
        let Acquired { chat, fence, attempt_begun } =
            self.store.chats.create(&new).await.unwrap().acquired.expect("the claim was made");
        assert!(attempt_begun);
        (chat, fence)
    }

    pub fn new_chat(&self) -> NewChat {
        NewChat {
            owner_id: self.owner,
            workspace_id: Some(self.workspace),
            parent_id: None,
            mode: "edit".into(),
            title: "say hello".into(),
            title_source: TitleSource::FirstWords,
            message: said("say hello"),
            client_tools: vec![],
            budget: None,
            claim: None,
            key: None,
        }
    }

    /// Sends a text to a chat.
    pub async fn send(&self, chat: &ChatRow, text: &str, busy: Busy) -> Sent {
        let send = SendMessage { message: said(text), busy, claim: None, key: None };
        self.store.chats.send(chat.id, &send).await.unwrap()
    }

    /// The chat as it is stored.
    pub async fn head(&self, chat: &ChatRow) -> ChatRow {
        self.store.chats.head(chat.id).await.unwrap().expect("the chat exists")
    }

    /// The history as `role: text` lines; a result shows the calls it answers.
    pub async fn lines(&self, chat: &ChatRow) -> Vec<String> {
        let history = self.store.chats.history(chat.id).await.unwrap();
        let line = |part: &StoredPart| match &part.part {
            Part::Text { text } => text.clone(),
            Part::ToolCall { tool_call_id, .. } => format!("call {tool_call_id}"),
            Part::ToolResult { tool_call_id, result, is_error, .. } => {
                let mark = if *is_error { "!" } else { "" };
                let shown = result.get("error").unwrap_or(result);
                format!("{tool_call_id}={shown}{mark}")
            }
            other => format!("{other:?}"),
        };
        history
            .iter()
            .map(|message| {
                let parts: Vec<String> = message.content.iter().map(line).collect();
                format!("{}: {}", message.role.as_str(), parts.join(", "))
            })
            .collect()
    }
}

pub fn text(text: &str) -> StoredPart {
    Part::Text { text: text.into() }.into()
}

pub fn said(content: &str) -> UserMessage {
    UserMessage { content: vec![text(content)], model_id: None, effort: None }
}

pub fn answer(content: &str) -> AssistantMessage {
    AssistantMessage { content: vec![text(content)], ..AssistantMessage::default() }
}

/// A step that asks for the tools `names`, with its intents.
pub fn asking(scene: &Scene, names: &[&str]) -> (AssistantMessage, Vec<Intent>) {
    let mut message = AssistantMessage::default();
    let mut intents = vec![];
    for name in names {
        let part = Part::ToolCall {
            tool_call_id: (*name).into(),
            name: "execute".into(),
            args: json!({ "command": name }),
        };
        message.content.push(part.into());
        intents.push(Intent {
            op_id: scene.ids.id(),
            tool_call_id: (*name).into(),
            tool: "execute".into(),
            args: json!({ "command": name }),
            args_hash: format!("hash of {name}"),
            workspace_id: Some(scene.workspace),
            process_id: Some(scene.ids.id()),
            class: Class::Free,
            gate: Gate::Open,
        });
    }
    (message, intents)
}

/// What the tool of `intent` answers.
pub fn answered(intent: &Intent) -> ToolAnswer {
    ToolAnswer {
        op_id: intent.op_id,
        result: json!(format!("out of {}", intent.tool_call_id)),
        is_error: false,
        duration_ms: 7,
        plan: None,
    }
}

pub fn failure() -> ChatErrorView {
    ChatErrorView {
        code: "provider_auth".into(),
        message: "the key is not accepted".into(),
        retryable: false,
        provider: Some("anthropic".into()),
        status_code: Some(401),
        request_id: None,
    }
}
