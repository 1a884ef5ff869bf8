//! Values of the deployment, by name: the sealed CA key, the id of the deployment, …

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::row::Reader;

/// The settings. Cheap to clone.
#[derive(Clone)]
pub struct SettingsStore {
    base: Base,
}

const VALUE: &str = "SELECT key, value FROM settings WHERE key = $1";
const SET: &str = "INSERT INTO settings (key, value, updated_at_ms) VALUES ($1, $2, $3) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at_ms = excluded.updated_at_ms";
const SET_IF_ABSENT: &str = "INSERT INTO settings (key, value, updated_at_ms) VALUES ($1, $2, $3) \
     ON CONFLICT (key) DO NOTHING";
const DELETE: &str = "DELETE FROM settings WHERE key = $1";

pub(super) const STATEMENTS: &[&str] = &[VALUE, SET, SET_IF_ABSENT, DELETE];

impl SettingsStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// The value of `key`; none if it was never set.
    pub async fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            match sqlx::query(VALUE).bind(key).fetch_optional(pool).await? {
                Some(row) => Reader::of(&row, "settings", "key").bytes("value").map(Some),
                None => Ok(None),
            }
        })
    }

    /// Sets `key`, whatever it was.
    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(SET).bind(key).bind(value).bind(now).execute(pool).await?;
        });
        Ok(())
    }

    /// Sets `key` unless it is set, and answers what it is then. Several replicas that begin at
    /// once agree on one value.
    pub async fn set_once(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(SET_IF_ABSENT).bind(key).bind(value).bind(now).execute(pool).await?;
        });
        self.value(key).await?.ok_or(StoreError::Conflict)
    }

    /// Forgets `key`. Idempotent.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE).bind(key).execute(pool).await?;
        });
        Ok(())
    }
}
