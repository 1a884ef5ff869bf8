//! What a model looks like from outside.

use serde::Serialize;
use serde_json::{Map, Value};
use shared::ids::{ModelId, ProviderId};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::code::Code;
use crate::http::problem::Problem;
use crate::store::{ModelRow, StoreError};

/// Tokens that no window will have for a while.
const TOKENS_MAX: i64 = 1_000_000_000;

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ModelId,
    /// Who serves it.
    #[schema(value_type = String)]
    pub provider_id: ProviderId,
    /// The provider's name of it.
    pub model: String,
    /// For people.
    pub display_name: String,
    /// Tokens of the window.
    pub context_limit: i64,
    /// Most output tokens; none: the provider's own limit.
    pub max_output_tokens: Option<i64>,
    /// Per million tokens, by kind of token.
    #[schema(value_type = Option<Object>)]
    pub price: Option<Value>,
    /// For the provider: temperature, reasoning effort, …
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
    /// Whether it can be used.
    pub enabled: bool,
    /// Whether lists leave it out.
    pub hidden: bool,
    /// Whether it answers where no model is chosen.
    pub default: bool,
    /// Who is asked for the rest of a turn where it cannot answer; none: nobody.
    #[schema(value_type = Option<String>)]
    pub fallback_model_id: Option<ModelId>,
}

impl From<ModelRow> for ModelView {
    fn from(row: ModelRow) -> Self {
        Self {
            id: row.id,
            provider_id: row.provider_id,
            model: row.model,
            display_name: row.display_name,
            context_limit: row.context_limit,
            max_output_tokens: row.max_output_tokens,
            price: row.price,
            options: row.options,
            enabled: row.enabled,
            hidden: row.hidden,
            default: row.is_default,
            fallback_model_id: row.fallback_model_id,
        }
    }
}

pub(super) fn check_tokens(pointer: &str, tokens: Option<i64>) -> Result<(), Problem> {
    match tokens {
        Some(tokens) if !(1..=TOKENS_MAX).contains(&tokens) => {
            let detail = format!("a number from 1 to {TOKENS_MAX} is due here");
            Err(Problem::of_field(Code::OutOfRange, pointer, detail))
        }
        _ => Ok(()),
    }
}

/// Refuses a fallback that is not there, or is the model itself.
pub(in crate::http) async fn check_fallback(
    app: &App,
    model: Option<ModelId>,
    fallback: Option<ModelId>,
) -> Result<(), Problem> {
    let Some(id) = fallback else { return Ok(()) };
    let refuse = |detail| Err(Problem::of_field(Code::InvalidValue, "/fallback_model_id", detail));
    if model == Some(id) {
        return refuse("a model cannot stand in for itself");
    }
    match app.store.models.model(id).await? {
        Some(_) => Ok(()),
        None => refuse("there is no such model"),
    }
}

pub(super) fn name_taken(error: StoreError) -> Problem {
    match error {
        StoreError::Conflict => {
            Problem::new(Code::NameTaken, "the provider has this model already, or is gone")
        }
        other => other.into(),
    }
}
