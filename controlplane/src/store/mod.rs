//! The store: every row of the control plane, on SQLite or on Postgres.
//!
//! One file per kind of row; SQL stands beside the method that uses it, in one dialect that both
//! databases speak (`docs/design` says which). Nothing here knows HTTP or a socket, and nothing
//! outside this folder knows SQL.

pub mod attachments;
pub mod chats;
pub mod db;
mod error;
mod only_postgres;
mod open;
mod row;
pub mod text;

mod api_keys;
mod audit;
mod idempotency;
mod join_tokens;
mod links;
mod models;
mod providers;
mod replicas;
mod sessions;
mod settings;
mod setup_tokens;
mod traces;
mod usage;
mod users;
mod wakes;
mod workspaces;

use std::sync::Arc;

use shared::clock::Clock;
use shared::ids::IdSource;

pub use api_keys::{ApiKeyRow, ApiKeyStore, NewApiKey};
pub use attachments::AttachmentStore;
pub use audit::{AuditRow, AuditStore, NewAudit};
pub use chats::ChatStore;
pub use db::Db;
pub use error::StoreError;
pub use idempotency::{ClaimedKey, IdempotencyStore, KeyClaim, SavedAnswer};
pub use join_tokens::{JoinTokenRow, JoinTokenStore, NewJoinToken};
pub use links::{LinkRow, LinkStore};
pub use models::{ModelPatch, ModelRow, ModelStore, NewModel};
pub use open::{DatabaseUrl, InvalidDatabaseUrl, OpenError};
pub use providers::{NewProvider, ProviderKind, ProviderPatch, ProviderRow, ProviderStore};
pub use replicas::{ReplicaAddresses, ReplicaRow, ReplicaStore};
pub use sessions::{NewSession, SessionRow, SessionStore};
pub use settings::SettingsStore;
pub use setup_tokens::SetupTokenStore;
pub use traces::{SPANS_PER_CHAT, SpanKind, SpanRow, SpanStatus, TraceStore, TraceWrite};
pub use usage::{UsageEntry, UsagePurpose, UsageStore, UsageSum};
pub use users::{NewUser, UserRole, UserRow, UserStore};
pub use wakes::{WakeStore, Wakes};
pub use workspaces::{NewWorkspace, Seen, WorkspaceRow, WorkspaceStore};

/// Every statement of the store, for the test that prepares them on both databases.
#[must_use]
pub fn statements() -> Vec<&'static str> {
    let parts = [
        users::STATEMENTS,
        sessions::STATEMENTS,
        api_keys::STATEMENTS,
        setup_tokens::STATEMENTS,
        workspaces::STATEMENTS,
        join_tokens::STATEMENTS,
        providers::STATEMENTS,
        models::STATEMENTS,
        replicas::STATEMENTS,
        links::STATEMENTS,
        settings::STATEMENTS,
        idempotency::STATEMENTS,
        audit::STATEMENTS,
        traces::STATEMENTS,
        usage::STATEMENTS,
    ];
    let folders = [chats::STATEMENTS, attachments::STATEMENTS].into_iter().flatten().copied();
    parts.into_iter().chain(folders).flatten().copied().collect()
}

/// What every part of the store has: the database, the clock for rows, the ids.
#[derive(Clone)]
pub(crate) struct Base {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
}

/// Every kind of row. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Chats with their messages, queues and operations.
    pub chats: ChatStore,
    /// People.
    pub users: UserStore,
    /// Log-ins.
    pub sessions: SessionStore,
    /// API keys.
    pub api_keys: ApiKeyStore,
    /// The link for the first administrator.
    pub setup_tokens: SetupTokenStore,
    /// Workspaces and their daemons' identities.
    pub workspaces: WorkspaceStore,
    /// Tokens with which a daemon joins.
    pub join_tokens: JoinTokenStore,
    /// Model providers.
    pub providers: ProviderStore,
    /// Models.
    pub models: ModelStore,
    /// Running control planes and their leases.
    pub replicas: ReplicaStore,
    /// Which replica holds whose daemon.
    pub links: LinkStore,
    /// Values of the deployment: the CA, the default model, …
    pub settings: SettingsStore,
    /// Answers to requests that may be repeated.
    pub idempotency: IdempotencyStore,
    /// Files that are attached to chats.
    pub attachments: AttachmentStore,
    /// Who did what.
    pub audit: AuditStore,
    /// What turns did, and when.
    pub traces: TraceStore,
    /// What model calls used.
    pub usage: UsageStore,
    /// Hints between replicas.
    pub wakes: WakeStore,
    base: Base,
}

impl Store {
    /// The store over an open database.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        let base = Base { db, clock, ids };
        Self {
            chats: ChatStore::new(base.clone()),
            users: UserStore::new(base.clone()),
            sessions: SessionStore::new(base.clone()),
            api_keys: ApiKeyStore::new(base.clone()),
            setup_tokens: SetupTokenStore::new(base.clone()),
            workspaces: WorkspaceStore::new(base.clone()),
            join_tokens: JoinTokenStore::new(base.clone()),
            providers: ProviderStore::new(base.clone()),
            models: ModelStore::new(base.clone()),
            replicas: ReplicaStore::new(base.clone()),
            links: LinkStore::new(base.clone()),
            settings: SettingsStore::new(base.clone()),
            idempotency: IdempotencyStore::new(base.clone()),
            attachments: AttachmentStore::new(base.clone()),
            audit: AuditStore::new(base.clone()),
            traces: TraceStore::new(base.clone()),
            usage: UsageStore::new(base.clone()),
            wakes: WakeStore::new(base.clone()),
            base,
        }
    }

    /// Opens the database, checks that it is ours and not newer than this program, and brings its
    /// schema up to date.
    pub async fn open(
        url: &DatabaseUrl,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, OpenError> {
        Ok(Self::new(open::open(url).await?, clock, ids))
    }

    /// As [`open`](Self::open), also while a server has the database; for commands of a moment.
    pub async fn open_beside(
        url: &DatabaseUrl,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, OpenError> {
        Ok(Self::new(open::open_beside(url).await?, clock, ids))
    }

    /// `sqlite` or `postgres`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.base.db.kind()
    }

    /// The open database, for tests and for what has no part of its own.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.base.db
    }

    /// Whether the database answers, for readiness.
    pub async fn ping(&self) -> Result<(), StoreError> {
        const SQL: &str = "SELECT 1";
        db::on_pool!(self.base.db.reader(), |pool| {
            sqlx::query(SQL).execute(pool).await?;
        });
        Ok(())
    }

    /// Ends every connection after what runs on it.
    pub async fn close(&self) {
        self.base.db.close().await;
    }
}
