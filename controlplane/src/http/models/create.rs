//! `POST /api/v1/models`.

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value};
use shared::ids::{ModelId, ProviderId};

use super::view::{ModelView, check_fallback, check_tokens, name_taken};
use crate::app::App;
use crate::http::code::Code;
use crate::http::json::{Json, Name, body};
use crate::http::problem::Problem;
use crate::store::NewModel;

/// A window that every model of today has, for those whose window nobody said.
const CONTEXT_DEFAULT: i64 = 128_000;

body! {
    /// A model to be made.
    pub struct ModelBody {
        /// Who serves it.
        #[schema(value_type = String)]
        pub provider_id: ProviderId,
        /// The provider's name of it.
        #[schema(value_type = String)]
        pub model: Name,
        /// For people; none: the provider's name of it.
        #[schema(value_type = Option<String>)]
        pub display_name: Option<Name>,
        /// Tokens of the window; none: 128,000.
        pub context_limit: Option<i64>,
        /// Most output tokens.
        pub max_output_tokens: Option<i64>,
        /// Per million tokens, by kind of token.
        #[schema(value_type = Option<Object>)]
        pub price: Option<Map<String, Value>>,
        /// For the provider: temperature, reasoning effort, …
        #[schema(value_type = Option<Object>)]
        pub options: Option<Map<String, Value>>,
        /// Whether it can be used; none: yes.
        pub enabled: Option<bool>,
        /// Whether lists leave it out; none: no.
        pub hidden: Option<bool>,
        /// Whether it answers where no model is chosen; the first model does without asking.
        pub default: Option<bool>,
        /// Who is asked for the rest of a turn where it cannot answer: overloaded, refused, or
        /// failed three times.
        #[schema(value_type = Option<String>)]
        pub fallback_model_id: Option<ModelId>,
    }
}

/// Makes a model. The first one becomes the default.
#[utoipa::path(post, path = "/models", tag = "models", request_body = ModelBody,
    responses((status = 201, body = ModelView)))]
pub async fn create_model(
    State(app): State<App>,
    Json(body): Json<ModelBody>,
) -> Result<(StatusCode, axum::Json<ModelView>), Problem> {
    check_tokens("/context_limit", body.context_limit)?;
    check_tokens("/max_output_tokens", body.max_output_tokens)?;
    if app.store.providers.provider(body.provider_id).await?.is_none() {
        let detail = "there is no such provider";
        return Err(Problem::of_field(Code::InvalidValue, "/provider_id", detail));
    }
    check_fallback(&app, None, body.fallback_model_id).await?;
    let model = body.model.into_inner();
    let new = NewModel {
        provider_id: body.provider_id,
        display_name: body.display_name.map_or_else(|| model.clone(), Name::into_inner),
        model,
        context_limit: body.context_limit.unwrap_or(CONTEXT_DEFAULT),
        max_output_tokens: body.max_output_tokens,
        price: body.price.map(Value::Object),
        options: body.options.unwrap_or_default(),
        enabled: body.enabled.unwrap_or(true),
        hidden: body.hidden.unwrap_or(false),
        fallback_model_id: body.fallback_model_id,
    };
    let mut row = app.store.models.create(&new).await.map_err(name_taken)?;
    let is_first = body.default.is_none() && app.store.models.default_model().await?.is_none();
    if body.default.unwrap_or(is_first && row.enabled) {
        app.store.models.set_default(row.id).await?;
        row.is_default = true;
    }
    Ok((StatusCode::CREATED, axum::Json(row.into())))
}
