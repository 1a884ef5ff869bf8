//! Models that can be chosen.

use serde_json::{Map, Value};
use shared::ids::{ModelId, ProviderId};

use super::Base;
use super::db::on_pool;
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::{clean, json};

/// One model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRow {
    /// Its id.
    pub id: ModelId,
    /// Who serves it.
    pub provider_id: ProviderId,
    /// The provider's name of it; unique with the provider.
    pub model: String,
    /// For people.
    pub display_name: String,
    /// Tokens of the window.
    pub context_limit: i64,
    /// None: the provider's own.
    pub max_output_tokens: Option<i64>,
    /// Per million tokens, by kind of token.
    pub price: Option<Value>,
    /// For the provider: temperature, reasoning effort, …
    pub options: Map<String, Value>,
    /// Whether it can be used.
    pub enabled: bool,
    /// Whether lists leave it out.
    pub hidden: bool,
    /// Whether it answers where no model is chosen. At most one is.
    pub is_default: bool,
    /// Who is asked where it cannot answer.
    pub fallback_model_id: Option<ModelId>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub updated_at_ms: i64,
}

/// A model to be made; enabled.
#[derive(Clone, Debug)]
pub struct NewModel {
    /// Who serves it.
    pub provider_id: ProviderId,
    /// The provider's name of it.
    pub model: String,
    /// For people.
    pub display_name: String,
    /// Tokens of the window.
    pub context_limit: i64,
    /// None: the provider's own.
    pub max_output_tokens: Option<i64>,
    /// Per million tokens, by kind of token.
    pub price: Option<Value>,
    /// For the provider.
    pub options: Map<String, Value>,
    /// Whether it can be used.
    pub enabled: bool,
    /// Whether lists leave it out.
    pub hidden: bool,
    /// Who is asked where it cannot answer.
    pub fallback_model_id: Option<ModelId>,
}

/// What to change of a model; none: leave it.
#[derive(Clone, Debug, Default)]
pub struct ModelPatch {
    /// The provider's name of it.
    pub model: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// Tokens of the window.
    pub context_limit: Option<i64>,
    /// Most output tokens.
    pub max_output_tokens: Option<i64>,
    /// Per million tokens, by kind of token.
    pub price: Option<Value>,
    /// For the provider.
    pub options: Option<Map<String, Value>>,
    /// Whether it can be used.
    pub enabled: Option<bool>,
    /// Whether lists leave it out.
    pub hidden: Option<bool>,
    /// Who is asked where it cannot answer; some of none: nobody.
    pub fallback_model_id: Option<Option<ModelId>>,
}

/// The models. Cheap to clone.
#[derive(Clone)]
pub struct ModelStore {
    base: Base,
}

macro_rules! columns {
    () => {
        "id, provider_id, model, display_name, context_limit, max_output_tokens, price, options, \
         enabled, hidden, is_default, fallback_model_id, created_at_ms, updated_at_ms"
    };
}

// The first model is the default one, so that a fresh deployment needs no further choice.
const INSERT: &str = concat!(
    "INSERT INTO models (id, provider_id, model, display_name, context_limit, max_output_tokens, \
     price, options, enabled, hidden, is_default, fallback_model_id, created_at_ms, \
     updated_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
     NOT EXISTS (SELECT 1 FROM models WHERE is_default = TRUE), $12, $11, $11) RETURNING ",
    columns!()
);
const BY_ID: &str = concat!("SELECT ", columns!(), " FROM models WHERE id = $1");
const DEFAULT: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM models WHERE is_default = TRUE AND enabled = TRUE ORDER BY id LIMIT 1"
);
const ALL: &str = concat!("SELECT ", columns!(), " FROM models ORDER BY id LIMIT $1");
const UPDATE: &str = concat!(
    "UPDATE models SET model = COALESCE($2, model), display_name = COALESCE($3, display_name), \
     context_limit = COALESCE($4, context_limit), \
     max_output_tokens = COALESCE($5, max_output_tokens), price = COALESCE($6, price), \
     options = COALESCE($7, options), enabled = COALESCE($8, enabled), \
     hidden = COALESCE($9, hidden), updated_at_ms = $10, \
     fallback_model_id = CASE WHEN $11 THEN $12 ELSE fallback_model_id END \
     WHERE id = $1 RETURNING ",
    columns!()
);
const SET_DEFAULT: &str = "UPDATE models SET is_default = (id = $1) \
     WHERE EXISTS (SELECT 1 FROM models AS chosen WHERE chosen.id = $1)";
const DELETE: &str = "DELETE FROM models WHERE id = $1";

pub(super) const STATEMENTS: &[&str] = &[INSERT, BY_ID, DEFAULT, ALL, UPDATE, SET_DEFAULT, DELETE];

impl ModelStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Makes a model. Errors: [`StoreError::Conflict`] if the provider has one of that name, or if
    /// there is no such provider.
    pub async fn create(&self, new: &NewModel) -> Result<ModelRow, StoreError> {
        let id: ModelId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(new.provider_id.to_string())
                .bind(clean(&new.model))
                .bind(clean(&new.display_name))
                .bind(new.context_limit)
                .bind(new.max_output_tokens)
                .bind(new.price.as_ref().map(json))
                .bind(json(&new.options))
                .bind(new.enabled)
                .bind(new.hidden)
                .bind(now)
                .bind(new.fallback_model_id.map(|id| id.to_string()))
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// One model.
    pub async fn model(&self, id: ModelId) -> Result<Option<ModelRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_ID).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// The model that answers where none is chosen; none if there is none, or it is disabled.
    pub async fn default_model(&self) -> Result<Option<ModelRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(DEFAULT).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// The models, oldest first, at most `limit`.
    pub async fn list(&self, limit: u32) -> Result<Vec<ModelRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(ALL).bind(i64::from(limit)).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// Changes what is given. Errors: [`StoreError::NotFound`]; [`StoreError::Conflict`] if the
    /// provider has one of that name.
    pub async fn update(&self, id: ModelId, patch: &ModelPatch) -> Result<ModelRow, StoreError> {
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(UPDATE)
                .bind(id.to_string())
                .bind(patch.model.as_deref().map(clean))
                .bind(patch.display_name.as_deref().map(clean))
                .bind(patch.context_limit)
                .bind(patch.max_output_tokens)
                .bind(patch.price.as_ref().map(json))
                .bind(patch.options.as_ref().map(json))
                .bind(patch.enabled)
                .bind(patch.hidden)
                .bind(now)
                .bind(patch.fallback_model_id.is_some())
                .bind(patch.fallback_model_id.flatten().map(|id| id.to_string()))
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// Makes a model the default one, and no other. Errors: [`StoreError::NotFound`].
    pub async fn set_default(&self, id: ModelId) -> Result<(), StoreError> {
        let changed = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(SET_DEFAULT).bind(id.to_string()).execute(pool).await?.rows_affected()
        });
        if changed > 0 { Ok(()) } else { Err(StoreError::NotFound) }
    }

    /// Forgets a model; chats that chose it go on with the default one. Errors:
    /// [`StoreError::NotFound`].
    pub async fn delete(&self, id: ModelId) -> Result<(), StoreError> {
        let gone = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(DELETE).bind(id.to_string()).execute(pool).await?.rows_affected()
        });
        if gone == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }
}

fn read<R: Columns>(row: &R) -> Result<ModelRow, StoreError> {
    let row = Reader::of(row, "models", "id");
    Ok(ModelRow {
        id: row.parsed("id")?,
        provider_id: row.parsed("provider_id")?,
        model: row.text("model")?,
        display_name: row.text("display_name")?,
        context_limit: row.int("context_limit")?,
        max_output_tokens: row.int_or_null("max_output_tokens")?,
        price: row.json_or_null("price")?,
        options: row.json("options")?,
        enabled: row.bool("enabled")?,
        hidden: row.bool("hidden")?,
        is_default: row.bool("is_default")?,
        fallback_model_id: row.parsed_or_null("fallback_model_id")?,
        created_at_ms: row.int("created_at_ms")?,
        updated_at_ms: row.int("updated_at_ms")?,
    })
}
