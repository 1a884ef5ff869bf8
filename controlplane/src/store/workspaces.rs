//! Workspaces: a name, labels, and the identity of the daemon that joined.

use std::collections::BTreeMap;

use shared::ids::{InstanceId, WorkspaceId};

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::{clean, json};
use crate::chat::edit_check::EditCheck;

/// One workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    /// Its id.
    pub id: WorkspaceId,
    /// Unique.
    pub name: String,
    /// For people and rules.
    pub labels: BTreeMap<String, String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// SHA-256 of the daemon's public key (SPKI), in hex; none: no daemon has joined.
    pub device_spki: Option<String>,
    /// When that daemon joined, in unix milliseconds.
    pub device_since_ms: Option<i64>,
    /// The daemon's last run.
    pub instance_id: Option<InstanceId>,
    /// The daemon's version, as it last said.
    pub version: Option<String>,
    /// As the daemon last said.
    pub os: Option<String>,
    /// As the daemon last said.
    pub arch: Option<String>,
    /// As the daemon last said.
    pub hostname: Option<String>,
    /// As the daemon last said.
    pub root: Option<String>,
    /// When a link of the daemon was last alive, in unix milliseconds.
    pub last_seen_at_ms: Option<i64>,
    /// What is run after edits; none: nothing.
    pub edit_check: Option<EditCheck>,
}

/// A workspace to be made.
pub struct NewWorkspace {
    /// Unique.
    pub name: String,
    /// For people and rules.
    pub labels: BTreeMap<String, String>,
}

/// What a daemon says of itself when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its run.
    pub instance_id: InstanceId,
    /// Its version.
    pub version: String,
    /// Its operating system.
    pub os: String,
    /// Its processor.
    pub arch: String,
    /// Its host's name.
    pub hostname: String,
    /// Its root folder.
    pub root: String,
}

/// The workspaces. Cheap to clone.
#[derive(Clone)]
pub struct WorkspaceStore {
    base: Base,
}

macro_rules! columns {
    () => {
        "id, name, labels, created_at_ms, device_spki, device_since_ms, instance_id, version, os, \
         arch, hostname, root, last_seen_at_ms, edit_check"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO workspaces (id, name, labels, created_at_ms) VALUES ($1, $2, $3, $4) RETURNING ",
    columns!()
);
const BY_ID: &str = concat!("SELECT ", columns!(), " FROM workspaces WHERE id = $1");
const PAGE: &str =
    concat!("SELECT ", columns!(), " FROM workspaces WHERE id > $1 ORDER BY id LIMIT $2");
const UPDATE: &str = concat!(
    "UPDATE workspaces SET name = COALESCE($2, name), labels = COALESCE($3, labels) \
     WHERE id = $1 RETURNING ",
    columns!()
);
const SET_EDIT_CHECK: &str =
    concat!("UPDATE workspaces SET edit_check = $2 WHERE id = $1 RETURNING ", columns!());
const DELETE: &str = "DELETE FROM workspaces WHERE id = $1";
const SET_DEVICE: &str =
    "UPDATE workspaces SET device_spki = $2, device_since_ms = $3 WHERE id = $1";
const DEVICE: &str = "SELECT COUNT(*) FROM workspaces WHERE id = $1 AND device_spki = $2";
const BY_DEVICE: &str =
    concat!("SELECT ", columns!(), " FROM workspaces WHERE device_spki = $1 ORDER BY id LIMIT 1");
const CONNECTED: &str = "UPDATE workspaces SET instance_id = $2, version = $3, os = $4, arch = $5, \
     hostname = $6, root = $7, last_seen_at_ms = $8 WHERE id = $1";
const LAST_SEEN: &str = "UPDATE workspaces SET last_seen_at_ms = $2 WHERE id = $1";

pub(super) const STATEMENTS: &[&str] = &[
    INSERT,
    BY_ID,
    PAGE,
    UPDATE,
    SET_EDIT_CHECK,
    DELETE,
    SET_DEVICE,
    DEVICE,
    BY_DEVICE,
    CONNECTED,
    LAST_SEEN,
];

impl WorkspaceStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Makes a workspace. Errors: [`StoreError::Conflict`] if the name is taken.
    pub async fn create(&self, new: &NewWorkspace) -> Result<WorkspaceRow, StoreError> {
        let id: WorkspaceId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(clean(&new.name))
                .bind(json(&new.labels))
                .bind(now)
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// One workspace.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_ID).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// The workspaces after `after`, oldest first, at most `limit`.
    pub async fn list(
        &self,
        after: Option<WorkspaceId>,
        limit: u32,
    ) -> Result<Vec<WorkspaceRow>, StoreError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(PAGE).bind(after).bind(i64::from(limit)).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// Changes what is given. Errors: [`StoreError::NotFound`]; [`StoreError::Conflict`] if the
    /// name is taken.
    pub async fn update(
        &self,
        id: WorkspaceId,
        name: Option<&str>,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Result<WorkspaceRow, StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(UPDATE)
                .bind(id.to_string())
                .bind(name.map(clean))
                .bind(labels.map(json))
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// Sets what is run after edits; none: nothing. Errors: [`StoreError::NotFound`].
    pub async fn set_edit_check(
        &self,
        id: WorkspaceId,
        check: Option<&EditCheck>,
    ) -> Result<WorkspaceRow, StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(SET_EDIT_CHECK)
                .bind(id.to_string())
                .bind(check.map(json))
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// Forgets a workspace, its join tokens and its daemon's identity; its chats stay, without a
    /// workspace. Errors: [`StoreError::NotFound`].
    pub async fn delete(&self, id: WorkspaceId) -> Result<(), StoreError> {
        let gone = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE).bind(id.to_string()).execute(pool).await?.rows_affected()
        });
        if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// The daemon with this key is the workspace's from now on; none: no daemon is. Any other key
    /// is refused at its next connect. Errors: [`StoreError::NotFound`].
    pub async fn set_device(
        &self,
        id: WorkspaceId,
        spki_sha256: Option<&str>,
    ) -> Result<(), StoreError> {
        let since = spki_sha256.map(|_| self.base.clock.now_ms());
        let changed = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(SET_DEVICE)
                .bind(id.to_string())
                .bind(spki_sha256)
                .bind(since)
                .execute(pool)
                .await?
                .rows_affected()
        });
        if changed == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// Whether the daemon with this key is the workspace's.
    pub async fn is_device(&self, id: WorkspaceId, spki_sha256: &str) -> Result<bool, StoreError> {
        let found: i64 = on_pool!(self.base.db.reader(), |pool| {
            sqlx::query_scalar(DEVICE)
                .bind(id.to_string())
                .bind(spki_sha256)
                .fetch_one(pool)
                .await?
        });
        Ok(found == 1)
    }

    /// The workspace whose daemon has this key; none: no daemon that is let in has it.
    pub async fn by_device(&self, spki_sha256: &str) -> Result<Option<WorkspaceRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_DEVICE).bind(spki_sha256).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// Keeps what a daemon says of itself, and that it is alive.
    pub async fn connected(&self, id: WorkspaceId, seen: &Seen) -> Result<(), StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(CONNECTED)
                .bind(id.to_string())
                .bind(seen.instance_id.to_string())
                .bind(clean(&seen.version))
                .bind(clean(&seen.os))
                .bind(clean(&seen.arch))
                .bind(clean(&seen.hostname))
                .bind(clean(&seen.root))
                .bind(now)
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// Keeps that the daemon was alive now; for the end of a link.
    pub async fn last_seen(&self, id: WorkspaceId) -> Result<(), StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(LAST_SEEN).bind(id.to_string()).bind(now).execute(pool).await?;
        });
        Ok(())
    }
}

fn read<R: Columns>(row: &R) -> Result<WorkspaceRow, StoreError> {
    let row = Reader::of(row, "workspaces", "id");
    Ok(WorkspaceRow {
        id: row.parsed("id")?,
        name: row.text("name")?,
        labels: row.json("labels")?,
        created_at_ms: row.int("created_at_ms")?,
        device_spki: row.text_or_null("device_spki")?,
        device_since_ms: row.int_or_null("device_since_ms")?,
        instance_id: row.parsed_or_null("instance_id")?,
        version: row.text_or_null("version")?,
        os: row.text_or_null("os")?,
        arch: row.text_or_null("arch")?,
        hostname: row.text_or_null("hostname")?,
        root: row.text_or_null("root")?,
        last_seen_at_ms: row.int_or_null("last_seen_at_ms")?,
        edit_check: row.json_or_null("edit_check")?,
    })
}
