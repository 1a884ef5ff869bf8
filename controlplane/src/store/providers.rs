//! Model providers. A key is kept sealed: see [`crate::secrets`].

use shared::ids::ProviderId;

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::clean;
use crate::text_enum::text_enum;

text_enum! {
    /// Which protocol a provider speaks.
    #[derive(serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
    #[serde(rename_all = "snake_case")]
    ProviderKind {
        /// Anthropic Messages.
        Anthropic = "anthropic",
        /// OpenAI.
        Openai = "openai",
        /// Any Chat Completions server.
        OpenaiCompatible = "openai_compatible",
        /// Gemini.
        Gemini = "gemini",
        /// Plays a scenario file.
        Scripted = "scripted",
    }
}

/// One provider.
#[derive(Clone)]
pub struct ProviderRow {
    /// Its id.
    pub id: ProviderId,
    /// Which protocol it speaks.
    pub kind: ProviderKind,
    /// Unique.
    pub name: String,
    /// None: the kind's own.
    pub base_url: Option<String>,
    /// The sealed key; none: no key is set.
    pub api_key: Option<Vec<u8>>,
    /// The key's last characters, for people.
    pub key_hint: Option<String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub updated_at_ms: i64,
}

/// A provider to be made. The id is chosen by the caller, because the sealed key is bound to it.
pub struct NewProvider {
    /// Its id.
    pub id: ProviderId,
    /// Which protocol it speaks.
    pub kind: ProviderKind,
    /// Unique.
    pub name: String,
    /// None: the kind's own.
    pub base_url: Option<String>,
    /// The sealed key and the key's last characters.
    pub api_key: Option<(Vec<u8>, String)>,
}

/// What to change of a provider; none: leave it.
#[derive(Default)]
pub struct ProviderPatch {
    /// Unique.
    pub name: Option<String>,
    /// The address.
    pub base_url: Option<String>,
    /// The sealed key and the key's last characters.
    pub api_key: Option<(Vec<u8>, String)>,
}

/// The providers. Cheap to clone.
#[derive(Clone)]
pub struct ProviderStore {
    base: Base,
}

macro_rules! columns {
    () => {
        "id, kind, name, base_url, api_key, key_hint, created_at_ms, updated_at_ms"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO providers \
     (id, kind, name, base_url, api_key, key_hint, created_at_ms, updated_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING ",
    columns!()
);
const BY_ID: &str = concat!("SELECT ", columns!(), " FROM providers WHERE id = $1");
const ALL: &str = concat!("SELECT ", columns!(), " FROM providers ORDER BY id LIMIT $1");
const UPDATE: &str = concat!(
    "UPDATE providers SET name = COALESCE($2, name), base_url = COALESCE($3, base_url), \
     api_key = COALESCE($4, api_key), key_hint = COALESCE($5, key_hint), updated_at_ms = $6 \
     WHERE id = $1 RETURNING ",
    columns!()
);
const DELETE: &str = "DELETE FROM providers WHERE id = $1";

pub(super) const STATEMENTS: &[&str] = &[INSERT, BY_ID, ALL, UPDATE, DELETE];

impl ProviderStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Makes a provider. Errors: [`StoreError::Conflict`] if the name is taken.
    pub async fn create(&self, new: &NewProvider) -> Result<ProviderRow, StoreError> {
        let now = self.base.clock.now_ms();
        let (key, hint) = split(new.api_key.as_ref());
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(INSERT)
                .bind(new.id.to_string())
                .bind(new.kind.as_str())
                .bind(clean(&new.name))
                .bind(new.base_url.as_deref().map(clean))
                .bind(key)
                .bind(hint)
                .bind(now)
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// One provider.
    pub async fn provider(&self, id: ProviderId) -> Result<Option<ProviderRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_ID).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// The providers, oldest first, at most `limit`.
    pub async fn list(&self, limit: u32) -> Result<Vec<ProviderRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(ALL).bind(i64::from(limit)).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// Changes what is given. Errors: [`StoreError::NotFound`]; [`StoreError::Conflict`] if the
    /// name is taken.
    pub async fn update(
        &self,
        id: ProviderId,
        patch: &ProviderPatch,
    ) -> Result<ProviderRow, StoreError> {
        let now = self.base.clock.now_ms();
        let (key, hint) = split(patch.api_key.as_ref());
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(UPDATE)
                .bind(id.to_string())
                .bind(patch.name.as_deref().map(clean))
                .bind(patch.base_url.as_deref().map(clean))
                .bind(key)
                .bind(hint)
                .bind(now)
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// Forgets a provider and its models. Errors: [`StoreError::NotFound`].
    pub async fn delete(&self, id: ProviderId) -> Result<(), StoreError> {
        let gone = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE).bind(id.to_string()).execute(pool).await?.rows_affected()
        });
        if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }
}

fn split(key: Option<&(Vec<u8>, String)>) -> (Option<&[u8]>, Option<&str>) {
    (key.map(|(sealed, _)| sealed.as_slice()), key.map(|(_, hint)| hint.as_str()))
}

fn read<R: Columns>(row: &R) -> Result<ProviderRow, StoreError> {
    let row = Reader::of(row, "providers", "id");
    Ok(ProviderRow {
        id: row.parsed("id")?,
        kind: row.parsed("kind")?,
        name: row.text("name")?,
        base_url: row.text_or_null("base_url")?,
        api_key: row.bytes_or_null("api_key")?,
        key_hint: row.text_or_null("key_hint")?,
        created_at_ms: row.int("created_at_ms")?,
        updated_at_ms: row.int("updated_at_ms")?,
    })
}
