//! `PATCH /api/v1/providers/{id}`.

use axum::extract::State;
use shared::ids::ProviderId;

use super::view::{KindBody, ProviderView, check_base_url, name_taken, seal};
use crate::app::App;
use crate::http::code::Code;
use crate::http::json::{Hidden, Json, Name, body};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::{ProviderKind, ProviderPatch};

body! {
    /// What to change; what is not there stays.
    pub struct ProviderPatchBody {
        /// Unchangeable; accepted if it is the same.
        pub kind: Option<KindBody>,
        /// Unique.
        #[schema(value_type = Option<String>)]
        pub name: Option<Name>,
        /// The address.
        pub base_url: Option<String>,
        /// A new key; the old one is forgotten.
        #[schema(value_type = Option<String>)]
        pub api_key: Option<Hidden>,
    }
}

/// Changes a provider's name, address or key.
#[utoipa::path(patch, path = "/providers/{id}", tag = "providers", params(("id" = String, Path,)),
    request_body = ProviderPatchBody, responses((status = 200, body = ProviderView)))]
pub async fn patch_provider(
    State(app): State<App>,
    Path(id): Path<ProviderId>,
    Json(body): Json<ProviderPatchBody>,
) -> Result<axum::Json<ProviderView>, Problem> {
    let old = app.store.providers.provider(id).await?.ok_or_else(Problem::not_found)?;
    if body.kind.is_some_and(|kind| ProviderKind::from(kind) != old.kind) {
        let detail = "a provider's kind stays; make another provider";
        return Err(Problem::of_field(Code::InvalidValue, "/kind", detail));
    }
    if body.base_url.is_some() {
        check_base_url(old.kind, body.base_url.as_deref())?;
    }
    let key = body.api_key.filter(|key| !key.expose().trim().is_empty());
    let patch = ProviderPatch {
        name: body.name.map(Name::into_inner),
        base_url: body.base_url,
        api_key: key.map(|key| seal(&app, id, key.expose())),
    };
    let row = app.store.providers.update(id, &patch).await.map_err(name_taken)?;
    Ok(axum::Json(row.into()))
}
