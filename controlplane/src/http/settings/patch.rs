//! `PATCH /api/v1/settings`.

use axum::Json as Answer;
use axum::extract::State;
use shared::ids::ModelId;

use super::view::{NamingBy, SettingsView};
use crate::app::App;
use crate::chat::naming::{NAMING_SETTING, Naming};
use crate::http::code::Code;
use crate::http::json::{Json, body};
use crate::http::problem::Problem;

body! {
    /// Who writes titles and labels from now on.
    pub struct NamingBody {
        /// Who.
        pub by: NamingBy,
        /// Which model; only and always with `model`.
        #[schema(value_type = Option<String>)]
        pub model_id: Option<ModelId>,
    }
}

body! {
    /// What to change; what is not there stays.
    pub struct SettingsPatch {
        /// Who writes titles of chats and labels of turns.
        pub naming: Option<NamingBody>,
    }
}

/// Changes the deployment's settings.
#[utoipa::path(patch, path = "/settings", tag = "settings", request_body = SettingsPatch,
    responses((status = 200, body = SettingsView)))]
pub async fn patch_settings(
    State(app): State<App>,
    Json(body): Json<SettingsPatch>,
) -> Result<Answer<SettingsView>, Problem> {
    if let Some(naming) = body.naming {
        let naming = checked(&app, &naming).await?;
        app.store.settings.set(NAMING_SETTING, &naming.bytes()).await?;
    }
    Ok(Answer(SettingsView::now(&app).await?))
}

async fn checked(app: &App, naming: &NamingBody) -> Result<Naming, Problem> {
    let pointer = "/naming/model_id";
    match (naming.by, naming.model_id) {
        (NamingBy::Model, None) => {
            Err(Problem::of_field(Code::MissingField, pointer, "which model is to write them?"))
        }
        (NamingBy::Model, Some(id)) => match app.store.models.model(id).await? {
            Some(row) if row.enabled => Ok(Naming::Model(id)),
            Some(_) => Err(Problem::of_field(Code::InvalidValue, pointer, "it is switched off")),
            None => Err(Problem::of_field(Code::InvalidValue, pointer, "there is no such model")),
        },
        (_, Some(_)) => {
            let detail = "a model is named with \"by\": \"model\" only";
            Err(Problem::of_field(Code::InvalidValue, pointer, detail))
        }
        (NamingBy::Auto, None) => Ok(Naming::Auto),
        (NamingBy::Chat, None) => Ok(Naming::Chat),
        (NamingBy::Off, None) => Ok(Naming::Off),
    }
}
