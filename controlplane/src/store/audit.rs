//! Who did what. Rows are only ever added.

use serde_json::Value;
use shared::ids::{RequestId, UserId};

use super::Base;
use super::db::{Tx, on_pool};
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::{clean, json};

/// One deed.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Ascending.
    pub id: String,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Who; none: the program itself, or somebody unknown.
    pub actor_id: Option<UserId>,
    /// What, such as `api_key.create`.
    pub action: String,
    /// To what.
    pub target: Option<String>,
    /// More.
    pub detail: Value,
    /// The HTTP request.
    pub request_id: Option<RequestId>,
}

/// A deed to be kept.
#[derive(Clone, Debug)]
pub struct NewAudit {
    /// Who; none: the program itself, or somebody unknown.
    pub actor_id: Option<UserId>,
    /// What, such as `api_key.create`.
    pub action: String,
    /// To what.
    pub target: Option<String>,
    /// More; never a secret.
    pub detail: Value,
    /// The HTTP request.
    pub request_id: Option<RequestId>,
}

/// The deeds. Cheap to clone.
#[derive(Clone)]
pub struct AuditStore {
    base: Base,
}

const INSERT: &str = "INSERT INTO audit (id, at_ms, actor_id, action, target, detail, request_id) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
const PAGE: &str = "SELECT id, at_ms, actor_id, action, target, detail, request_id FROM audit \
     WHERE id < $1 ORDER BY id DESC LIMIT $2";

pub(super) const STATEMENTS: &[&str] = &[INSERT, PAGE];

/// Sorts after every ULID, whose first character is at most `7`, whatever the collation.
const AFTER_ALL: &str = "Z";

impl AuditStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Keeps a deed.
    pub async fn append(&self, new: &NewAudit) -> Result<(), StoreError> {
        let id = self.base.ids.ulid().to_string();
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(INSERT)
                .bind(&id)
                .bind(now)
                .bind(new.actor_id.map(|actor| actor.to_string()))
                .bind(clean(&new.action))
                .bind(new.target.as_deref().map(clean))
                .bind(json(&new.detail))
                .bind(new.request_id.map(|request| request.to_string()))
                .execute(pool)
                .await?;
        });
        Ok(())
    }

    /// The deeds before `before` (an id), newest first, at most `limit`; none: from the newest.
    pub async fn list(
        &self,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let before = clean(before.unwrap_or(AFTER_ALL));
        on_pool!(self.base.db.reader(), |pool| {
            let rows =
                sqlx::query(PAGE).bind(before).bind(i64::from(limit)).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }
}

/// Keeps a deed in the transaction of what was done.
pub(super) async fn keep(tx: &mut Tx, base: &Base, new: &NewAudit) -> Result<(), StoreError> {
    let id = base.ids.ulid().to_string();
    let now = base.clock.now_ms();
    on_pool!(tx.conn(), |conn| {
        sqlx::query(INSERT)
            .bind(&id)
            .bind(now)
            .bind(new.actor_id.map(|actor| actor.to_string()))
            .bind(clean(&new.action))
            .bind(new.target.as_deref().map(clean))
            .bind(json(&new.detail))
            .bind(new.request_id.map(|request| request.to_string()))
            .execute(conn)
            .await?;
    });
    Ok(())
}

fn read<R: Columns>(row: &R) -> Result<AuditRow, StoreError> {
    let row = Reader::of(row, "audit", "id");
    Ok(AuditRow {
        id: row.text("id")?,
        at_ms: row.int("at_ms")?,
        actor_id: row.parsed_or_null("actor_id")?,
        action: row.text("action")?,
        target: row.text_or_null("target")?,
        detail: row.json("detail")?,
        request_id: row.parsed_or_null("request_id")?,
    })
}
