//! The directory of daemons: which replica holds whose link.
//!
//! A row is claimed at each accepted hello under a new, higher epoch; who holds an older one has
//! lost the daemon, whatever it believes. A row stays when the link is gone, without a replica, so
//! that epochs never begin anew. A link of a replica whose lease has ended counts as gone.

use shared::ids::{ReplicaId, WorkspaceId};

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::replicas::lease_clock_ms;
use super::row::{Columns, Reader};

/// One workspace's daemon, as far as replicas tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// Whose daemon.
    pub workspace: WorkspaceId,
    /// The replica that holds the link, while its lease runs.
    pub replica: Option<ReplicaId>,
    /// Of the newest claim.
    pub epoch: i64,
    /// Unix milliseconds of that claim.
    pub since_ms: i64,
}

/// The directory. Cheap to clone.
#[derive(Clone)]
pub struct LinkStore {
    base: Base,
}

macro_rules! link_select {
    ($where:literal) => {
        concat!(
            "SELECT links.workspace_id AS workspace_id, replicas.id AS replica_id, \
             links.epoch AS epoch, links.since_ms AS since_ms FROM links \
             LEFT JOIN replicas ON replicas.id = links.replica_id \
             AND replicas.lease_until_ms > $1",
            $where
        )
    };
}

// The wall clock keeps epochs above those of servers that had no directory yet.
const CLAIM: &str = "INSERT INTO links (workspace_id, replica_id, epoch, hello, since_ms) \
     SELECT workspaces.id, replicas.id, CAST($3 AS BIGINT), $4, CAST($3 AS BIGINT) FROM workspaces, replicas \
     WHERE workspaces.id = $1 AND replicas.id = $2 AND replicas.lease_until_ms > $5 \
     ON CONFLICT (workspace_id) DO UPDATE SET replica_id = excluded.replica_id, \
     epoch = CASE WHEN links.epoch >= excluded.epoch THEN links.epoch + 1 \
     ELSE excluded.epoch END, hello = excluded.hello, since_ms = excluded.since_ms \
     RETURNING epoch";
const RELEASE: &str = "UPDATE links SET replica_id = NULL WHERE workspace_id = $1 AND epoch = $2";
const REVOKE: &str =
    "UPDATE links SET replica_id = NULL, epoch = epoch + 1 WHERE workspace_id = $1";
const MOVE: &str = "UPDATE links SET replica_id = $2 WHERE replica_id = $1";
const ALL: &str = link_select!("");
const ONE: &str = link_select!(" WHERE links.workspace_id = $2");
const HELLO: &str = "SELECT hello FROM links WHERE workspace_id = $1 AND epoch = $2";

pub(super) const STATEMENTS: &[&str] = &[CLAIM, RELEASE, REVOKE, MOVE, ALL, ONE, HELLO];

impl LinkStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Notes that `replica` holds the daemon's link now, and answers the link's epoch: higher than
    /// every one before. Errors: [`StoreError::Fenced`]: the replica has no lease, or the workspace
    /// is gone.
    pub async fn claim(
        &self,
        workspace: WorkspaceId,
        replica: ReplicaId,
        hello: &[u8],
    ) -> Result<i64, StoreError> {
        let lease_now = lease_clock_ms(&self.base).await?;
        let now = self.base.clock.now_ms();
        let claimed = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query_scalar(CLAIM)
                .bind(workspace.to_string())
                .bind(replica.to_string())
                .bind(now)
                .bind(hello)
                .bind(lease_now)
                .fetch_optional(pool)
                .await?
        });
        claimed.ok_or(StoreError::Fenced)
    }

    /// Notes that the link of `epoch` is gone. Of a newer one nothing changes. Idempotent.
    pub async fn release(&self, workspace: WorkspaceId, epoch: i64) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(RELEASE).bind(workspace.to_string()).bind(epoch).execute(pool).await?;
        });
        Ok(())
    }

    /// Takes the daemon from whoever holds it: it is no longer the workspace's. Idempotent.
    pub async fn revoke(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(REVOKE).bind(workspace.to_string()).execute(pool).await?;
        });
        Ok(())
    }

    /// Keeps the links of a process that lost its lease as `old` and has another one as `new`.
    /// What others have claimed meanwhile is theirs.
    pub async fn move_to(&self, old: ReplicaId, new: ReplicaId) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(MOVE).bind(old.to_string()).bind(new.to_string()).execute(pool).await?;
        });
        Ok(())
    }

    /// Every workspace whose daemon was ever connected.
    pub async fn all(&self) -> Result<Vec<LinkRow>, StoreError> {
        let now = lease_clock_ms(&self.base).await?;
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(ALL).bind(now).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// One workspace; none: its daemon never connected, or it was deleted.
    pub async fn one(&self, workspace: WorkspaceId) -> Result<Option<LinkRow>, StoreError> {
        let now = lease_clock_ms(&self.base).await?;
        on_pool!(self.base.db.reader(), |pool| {
            let query = sqlx::query(ONE).bind(now).bind(workspace.to_string());
            query.fetch_optional(pool).await?.as_ref().map(read).transpose()
        })
    }

    /// What the daemon said of itself when the link of `epoch` came up; none: a newer one did.
    pub async fn hello(
        &self,
        workspace: WorkspaceId,
        epoch: i64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let query = sqlx::query(HELLO).bind(workspace.to_string()).bind(epoch);
            match query.fetch_optional(pool).await? {
                Some(row) => Reader::of(&row, "links", "hello").bytes("hello").map(Some),
                None => Ok(None),
            }
        })
    }
}

fn read<R: Columns>(row: &R) -> Result<LinkRow, StoreError> {
    let row = Reader::of(row, "links", "workspace_id");
    Ok(LinkRow {
        workspace: row.parsed("workspace_id")?,
        replica: row.parsed_or_null("replica_id")?,
        epoch: row.int("epoch")?,
        since_ms: row.int("since_ms")?,
    })
}
