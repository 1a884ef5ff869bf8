//! What the settings look like from outside.

use serde::Serialize;
use shared::ids::ModelId;
use utoipa::ToSchema;

use crate::app::App;
use crate::chat::naming::{NAMING_SETTING, Naming};
use crate::http::json::choice;
use crate::http::problem::Problem;

choice! {
    /// Who writes titles of chats and labels of turns.
    pub enum NamingBy {
        /// The chat's own model, where it is asked at its provider's own address.
        Auto = "auto",
        /// The chat's own model, wherever it is.
        Chat = "chat",
        /// The model `model_id`.
        Model = "model",
        /// Nobody: a title is the first words of the chat.
        Off = "off",
    }
}

/// Who writes titles and labels.
#[derive(Debug, Serialize, ToSchema)]
pub struct NamingView {
    by: NamingBy,
    /// Which model, where one is chosen for it.
    #[schema(value_type = Option<String>)]
    model_id: Option<ModelId>,
}

impl From<Naming> for NamingView {
    fn from(naming: Naming) -> Self {
        let (by, model_id) = match naming {
            Naming::Auto => (NamingBy::Auto, None),
            Naming::Chat => (NamingBy::Chat, None),
            Naming::Model(id) => (NamingBy::Model, Some(id)),
            Naming::Off => (NamingBy::Off, None),
        };
        Self { by, model_id }
    }
}

/// The deployment's settings.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingsView {
    /// Who writes titles of chats and labels of turns.
    naming: NamingView,
}

impl SettingsView {
    pub(super) async fn now(app: &App) -> Result<Self, Problem> {
        let naming = app.store.settings.value(NAMING_SETTING).await?;
        Ok(Self { naming: Naming::read(naming.as_deref()).into() })
    }
}
