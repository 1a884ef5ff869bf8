//! `POST /api/v1/providers`.

use axum::extract::State;
use axum::http::StatusCode;

use super::view::{KindBody, ProviderView, check_base_url, name_taken, seal};
use crate::app::App;
use crate::http::json::{Hidden, Json, Name, body};
use crate::http::problem::Problem;
use crate::store::NewProvider;

body! {
    /// A provider to be made.
    pub struct ProviderBody {
        /// Which protocol it speaks.
        pub kind: KindBody,
        /// Unique; 1 to 100 characters.
        #[schema(value_type = String)]
        pub name: Name,
        /// None: the kind's own.
        pub base_url: Option<String>,
        /// Kept encrypted, never shown again.
        #[schema(value_type = Option<String>)]
        pub api_key: Option<Hidden>,
    }
}

/// Makes a provider. Asks nobody; `POST …/test` does.
#[utoipa::path(post, path = "/providers", tag = "providers", request_body = ProviderBody,
    responses((status = 201, body = ProviderView)))]
pub async fn create_provider(
    State(app): State<App>,
    Json(body): Json<ProviderBody>,
) -> Result<(StatusCode, axum::Json<ProviderView>), Problem> {
    let kind = body.kind.into();
    let base_url = body.base_url.filter(|url| !url.trim().is_empty());
    check_base_url(kind, base_url.as_deref())?;
    let id = app.ids.id();
    let key = body.api_key.filter(|key| !key.expose().trim().is_empty());
    let new = NewProvider {
        id,
        kind,
        name: body.name.into_inner(),
        base_url,
        api_key: key.map(|key| seal(&app, id, key.expose())),
    };
    let row = app.store.providers.create(&new).await.map_err(name_taken)?;
    Ok((StatusCode::CREATED, axum::Json(row.into())))
}
