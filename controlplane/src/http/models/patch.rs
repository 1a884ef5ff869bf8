//! `PATCH /api/v1/models/{id}`.

use axum::extract::State;
use serde_json::{Map, Value};
use shared::ids::{ModelId, ProviderId};

use super::view::{ModelView, check_fallback, check_tokens, name_taken};
use crate::app::App;
use crate::http::code::Code;
use crate::http::json::{Json, Name, Patch, body};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::ModelPatch;

body! {
    /// What to change; what is not there stays.
    pub struct ModelPatchBody {
        /// Unchangeable; accepted if it is the same.
        #[schema(value_type = Option<String>)]
        pub provider_id: Option<ProviderId>,
        /// The provider's name of it.
        #[schema(value_type = Option<String>)]
        pub model: Option<Name>,
        /// For people.
        #[schema(value_type = Option<String>)]
        pub display_name: Option<Name>,
        /// Tokens of the window.
        pub context_limit: Option<i64>,
        /// Most output tokens.
        pub max_output_tokens: Option<i64>,
        /// Per million tokens, by kind of token.
        #[schema(value_type = Option<Object>)]
        pub price: Option<Map<String, Value>>,
        /// All of them, anew.
        #[schema(value_type = Option<Object>)]
        pub options: Option<Map<String, Value>>,
        /// Whether it can be used.
        pub enabled: Option<bool>,
        /// Whether lists leave it out.
        pub hidden: Option<bool>,
        /// Make it the default; the former one is it no longer. Make another one the default to
        /// take it away.
        pub default: Option<bool>,
        /// Who is asked for the rest of a turn where it cannot answer; null: nobody.
        #[schema(value_type = Option<String>)]
        pub fallback_model_id: Patch<ModelId>,
    }
}

/// Changes a model.
#[utoipa::path(patch, path = "/models/{id}", tag = "models", params(("id" = String, Path,)),
    request_body = ModelPatchBody, responses((status = 200, body = ModelView)))]
pub async fn patch_model(
    State(app): State<App>,
    Path(id): Path<ModelId>,
    Json(body): Json<ModelPatchBody>,
) -> Result<axum::Json<ModelView>, Problem> {
    check_tokens("/context_limit", body.context_limit)?;
    check_tokens("/max_output_tokens", body.max_output_tokens)?;
    let old = app.store.models.model(id).await?.ok_or_else(Problem::not_found)?;
    if body.provider_id.is_some_and(|provider| provider != old.provider_id) {
        let detail = "a model's provider stays; make another model";
        return Err(Problem::of_field(Code::InvalidValue, "/provider_id", detail));
    }
    if body.default == Some(false) && old.is_default {
        let detail = "make another model the default instead";
        return Err(Problem::of_field(Code::InvalidValue, "/default", detail));
    }
    let fallback_model_id = body.fallback_model_id.given();
    check_fallback(&app, Some(id), fallback_model_id.flatten()).await?;
    let patch = ModelPatch {
        model: body.model.map(Name::into_inner),
        display_name: body.display_name.map(Name::into_inner),
        context_limit: body.context_limit,
        max_output_tokens: body.max_output_tokens,
        price: body.price.map(Value::Object),
        options: body.options,
        enabled: body.enabled,
        hidden: body.hidden,
        fallback_model_id,
    };
    let mut row = app.store.models.update(id, &patch).await.map_err(name_taken)?;
    if body.default == Some(true) {
        app.store.models.set_default(id).await?;
        row.is_default = true;
    }
    Ok(axum::Json(row.into()))
}
