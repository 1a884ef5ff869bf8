//! Running control planes: one lease row each.
//!
//! A replica owns chats as long as its lease runs. Leases are compared by *one* clock: on Postgres
//! the server's, on SQLite the machine's, of which there is only one. A replica watches its own
//! lease by its own monotonic clock and stops before the end.

use shared::ids::ReplicaId;

use super::Base;
use super::db::{Db, in_write_tx, on_pool};
use super::error::StoreError;
use super::only_postgres;
use super::row::{Columns, Reader};
use super::text::clean;

/// One running control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Its id, new at every start.
    pub id: ReplicaId,
    /// Raised by each renewal.
    pub epoch: i64,
    /// Unix milliseconds of the database's clock.
    pub lease_until_ms: i64,
    /// Where other replicas reach it; none: nowhere.
    pub addr: Option<String>,
    /// Where daemons reach it, as they are told; none: they are told nothing.
    pub daemon_addr: Option<String>,
    /// Its version.
    pub version: String,
    /// Unix milliseconds.
    pub started_at_ms: i64,
}

/// Where a replica is reached, `host:port` over UDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaAddresses {
    /// By other replicas.
    pub replicas: Option<String>,
    /// By daemons.
    pub daemons: Option<String>,
}

/// The replicas. Cheap to clone.
#[derive(Clone)]
pub struct ReplicaStore {
    base: Base,
}

const INSERT: &str = "INSERT INTO replicas \
     (id, epoch, lease_until_ms, addr, version, started_at_ms, daemon_addr) \
     VALUES ($1, 1, $2, $3, $4, $5, $6) \
     ON CONFLICT (id) DO UPDATE SET lease_until_ms = excluded.lease_until_ms";
const RENEW: &str = "UPDATE replicas SET epoch = epoch + 1, lease_until_ms = $2 \
     WHERE id = $1 AND lease_until_ms > $3";
const RELEASE: &str = "DELETE FROM replicas WHERE id = $1";
const FORGET_OTHERS: &str = "DELETE FROM replicas WHERE id <> $1";
const FORGET_EXPIRED: &str = "DELETE FROM replicas WHERE lease_until_ms < $1";
const LIVE: &str = "SELECT id, epoch, lease_until_ms, addr, daemon_addr, version, started_at_ms FROM replicas \
     WHERE lease_until_ms > $1 ORDER BY id";

pub(super) const STATEMENTS: &[&str] =
    &[INSERT, RENEW, RELEASE, FORGET_OTHERS, FORGET_EXPIRED, LIVE];

/// An expired lease stays visible this long, for people who ask what happened.
const EXPIRED_KEPT_MS: i64 = 60 * 60 * 1000;

impl ReplicaStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Milliseconds since the Unix epoch by the clock that leases are compared with.
    pub async fn now_ms(&self) -> Result<i64, StoreError> {
        lease_clock_ms(&self.base).await
    }

    /// Begins a lease. Where this process holds a SQLite file's lock every other replica is
    /// forgotten: they are dead, and their chats can be taken over at once.
    pub async fn register(
        &self,
        id: ReplicaId,
        lease_ms: i64,
        addr: Option<&str>,
        version: &str,
    ) -> Result<(), StoreError> {
        let addresses = ReplicaAddresses { replicas: addr.map(str::to_owned), daemons: None };
        self.register_at(id, lease_ms, &addresses, version).await
    }

    /// As [`register`](Self::register), with where it is reached.
    pub async fn register_at(
        &self,
        id: ReplicaId,
        lease_ms: i64,
        addresses: &ReplicaAddresses,
        version: &str,
    ) -> Result<(), StoreError> {
        let now = self.now_ms().await?;
        let alone = matches!(self.base.db, Db::Sqlite { lock: Some(_), .. });
        in_write_tx!(&self.base.db, |tx| {
            on_pool!(tx.conn(), |conn| {
                sqlx::query(INSERT)
                    .bind(id.to_string())
                    .bind(now + lease_ms)
                    .bind(addresses.replicas.as_deref().map(clean))
                    .bind(clean(version))
                    .bind(now)
                    .bind(addresses.daemons.as_deref().map(clean))
                    .execute(conn)
                    .await?;
            });
            on_pool!(tx.conn(), |conn| {
                if alone {
                    sqlx::query(FORGET_OTHERS).bind(id.to_string()).execute(conn).await?;
                } else {
                    let before = now - EXPIRED_KEPT_MS;
                    sqlx::query(FORGET_EXPIRED).bind(before).execute(conn).await?;
                }
            });
        })
    }

    /// Moves the end of the lease to `lease_ms` from now. Errors: [`StoreError::Fenced`] if it has
    /// ended: the replica must stop its work and register under a new id.
    pub async fn renew(&self, id: ReplicaId, lease_ms: i64) -> Result<(), StoreError> {
        let now = self.now_ms().await?;
        let renewed = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(RENEW)
                .bind(id.to_string())
                .bind(now + lease_ms)
                .bind(now)
                .execute(pool)
                .await?
                .rows_affected()
        });
        if renewed == 1 { Ok(()) } else { Err(StoreError::Fenced) }
    }

    /// Ends the lease, so that other replicas take over at once. Idempotent.
    pub async fn release(&self, id: ReplicaId) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(RELEASE).bind(id.to_string()).execute(pool).await?;
        });
        Ok(())
    }

    /// The replicas whose lease runs.
    pub async fn live(&self) -> Result<Vec<ReplicaRow>, StoreError> {
        let now = self.now_ms().await?;
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(LIVE).bind(now).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }
}

/// See [`ReplicaStore::now_ms`].
pub(super) async fn lease_clock_ms(base: &Base) -> Result<i64, StoreError> {
    match &base.db {
        Db::Sqlite { .. } => Ok(base.clock.now_ms()),
        Db::Postgres(pool) => only_postgres::clock_ms(pool).await,
    }
}

fn read<R: Columns>(row: &R) -> Result<ReplicaRow, StoreError> {
    let row = Reader::of(row, "replicas", "id");
    Ok(ReplicaRow {
        id: row.parsed("id")?,
        epoch: row.int("epoch")?,
        lease_until_ms: row.int("lease_until_ms")?,
        addr: row.text_or_null("addr")?,
        daemon_addr: row.text_or_null("daemon_addr")?,
        version: row.text("version")?,
        started_at_ms: row.int("started_at_ms")?,
    })
}
