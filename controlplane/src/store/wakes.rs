//! Hints between replicas: Postgres's LISTEN and NOTIFY. On SQLite there is one replica and nobody
//! to tell.
//!
//! A text is sent as a statement of its own, never inside of a transaction that changes rows: what
//! it speaks of is committed before, and a hint that is lost takes no row with it.

use sqlx::postgres::PgListener;

use super::Base;
use super::db::Db;
use super::error::StoreError;
use super::only_postgres;

/// Sends and receives. Cheap to clone.
#[derive(Clone)]
pub struct WakeStore {
    base: Base,
}

/// What others send, as it comes.
pub struct Wakes {
    listener: PgListener,
}

impl WakeStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Whether this deployment may have several replicas.
    #[must_use]
    pub fn has_others(&self) -> bool {
        matches!(self.base.db, Db::Postgres(_))
    }

    /// Tells every replica, this one too. At most 7,900 bytes.
    pub async fn send(&self, text: &str) -> Result<(), StoreError> {
        match &self.base.db {
            Db::Sqlite { .. } => Ok(()),
            Db::Postgres(pool) => only_postgres::notify(pool, text).await,
        }
    }

    /// Begins to listen, on a connection of its own; none: there is nobody to listen to.
    pub async fn listen(&self) -> Result<Option<Wakes>, StoreError> {
        match &self.base.db {
            Db::Sqlite { .. } => Ok(None),
            Db::Postgres(pool) => Ok(Some(Wakes { listener: only_postgres::listen(pool).await? })),
        }
    }
}

impl Wakes {
    /// The next text; none: the connection was lost and is there again, and what was sent
    /// meanwhile is lost. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let told = self.listener.try_recv().await?;
        Ok(told.map(|told| told.payload().to_owned()))
    }
}
