//! The models of production: the settings' models over the providers' clients.

use async_trait::async_trait;
use shared::ids::ModelId;

use super::event::ChatErrorView;
use super::naming::{NAMING_SETTING, Naming};
use super::ports::{ModelChoice, Models};
use crate::llm::{ProviderError, ProviderSettings, Registry};
use crate::secrets::{Place, Secret, SecretBox};
use crate::store::{
    ModelRow, ModelStore, ProviderKind, ProviderRow, ProviderStore, SettingsStore, StoreError,
};

/// Most output tokens of a step where the model's settings do not say.
const MAX_OUTPUT_TOKENS: u64 = 32_000;
/// Models among which a name is looked for.
const MODELS_NAMED: u32 = 200;

/// Reads the settings at every step, so that a change of a key or a model takes effect at once.
pub struct StoredModels {
    models: ModelStore,
    providers: ProviderStore,
    settings: SettingsStore,
    secrets: SecretBox,
    registry: Registry,
}

impl StoredModels {
    /// Over the settings' rows; keys are opened with `secrets`.
    #[must_use]
    pub fn new(
        models: ModelStore,
        providers: ProviderStore,
        settings: SettingsStore,
        secrets: SecretBox,
        registry: Registry,
    ) -> Self {
        Self { models, providers, settings, secrets, registry }
    }

    async fn model(&self, id: Option<ModelId>) -> Result<ModelRow, ChatErrorView> {
        let found = match id {
            Some(id) => self.models.model(id).await,
            None => self.models.default_model().await,
        };
        match found {
            Ok(Some(row)) if row.enabled => Ok(row),
            Ok(Some(row)) => Err(refused(
                "model_disabled",
                &format!("The model {} is switched off. Choose another one.", row.display_name),
            )),
            Ok(None) if id.is_some() => {
                Err(refused("model_not_found", "The chat's model is gone. Choose another one."))
            }
            Ok(None) => Err(refused(
                "no_model",
                "No model is set up. Add a provider and a model in the settings, then send again.",
            )),
            Err(error) => Err(unreadable(&error)),
        }
    }

    async fn provider(&self, model: &ModelRow) -> Result<ProviderRow, ChatErrorView> {
        match self.providers.provider(model.provider_id).await {
            Ok(Some(provider)) => Ok(provider),
            Ok(None) => Err(refused("provider_not_found", "The model's provider is gone.")),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn choice(&self, row: ModelRow, provider: &ProviderRow) -> Result<ModelChoice, ChatErrorView> {
        let settings = self.provider_settings(provider)?;
        let provider =
            self.registry.provider(&settings).map_err(|error| provider_error(&error, &settings))?;
        Ok(ModelChoice {
            provider,
            model: row.model,
            max_output_tokens: positive(row.max_output_tokens).unwrap_or(MAX_OUTPUT_TOKENS),
            context_limit: positive(Some(row.context_limit)),
            options: row.options,
            price: row.price,
        })
    }

    fn provider_settings(&self, row: &ProviderRow) -> Result<ProviderSettings, ChatErrorView> {
        let id = row.id.to_string();
        let place = Place { table: "providers", row: &id, column: "api_key" };
        let key = match row.api_key.as_deref().map(|sealed| self.secrets.unseal(&place, sealed)) {
            None => None,
            Some(Ok(opened)) => Some(Secret::new(String::from_utf8_lossy(&opened).into_owned())),
            Some(Err(error)) => {
                tracing::error!(provider.id = %id, error = &error as &dyn std::error::Error,
                    "a provider's key cannot be opened");
                return Err(refused(
                    "provider_key_unreadable",
                    "The provider's key cannot be opened with this server's master key. Enter it again.",
                ));
            }
        };
        let kind = row.kind.as_str().parse().map_err(|_| {
            refused("provider_config", "The provider's kind is not known to this server.")
        })?;
        Ok(ProviderSettings { kind, name: row.name.clone(), base_url: row.base_url.clone(), key })
    }
}

#[async_trait]
impl Models for StoredModels {
    async fn choose(&self, model: Option<ModelId>) -> Result<ModelChoice, ChatErrorView> {
        let row = self.model(model).await?;
        let provider = self.provider(&row).await?;
        self.choice(row, &provider)
    }

    async fn fallback(&self, model: Option<ModelId>) -> Option<ModelId> {
        // Also of one that is switched off: that is a reason to fall back.
        let found = match model {
            Some(id) => self.models.model(id).await,
            None => self.models.default_model().await,
        };
        match found {
            Ok(row) => row?.fallback_model_id,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no fallback is known");
                None
            }
        }
    }

    async fn namer(&self, model: Option<ModelId>) -> Option<Result<ModelChoice, ChatErrorView>> {
        let setting = match self.settings.value(NAMING_SETTING).await {
            Ok(value) => Naming::read(value.as_deref()),
            Err(error) => return Some(Err(unreadable(&error))),
        };
        let model = match setting {
            Naming::Off => return None,
            Naming::Model(model) => Some(model),
            Naming::Auto | Naming::Chat => model,
        };
        let named = async {
            let row = self.model(model).await?;
            let provider = self.provider(&row).await?;
            // At an address of one's own another request may cost the turn's cache or its only seat.
            let is_own = provider.base_url.is_some() || provider.kind == ProviderKind::Scripted;
            if is_own && setting == Naming::Auto {
                return Ok(None);
            }
            self.choice(row, &provider).map(Some)
        };
        named.await.transpose()
    }

    async fn find(&self, name: &str) -> Result<ModelId, Vec<String>> {
        let rows = match self.models.list(MODELS_NAMED).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "models cannot be listed");
                return Err(Vec::new());
            }
        };
        let known = |row: &&ModelRow| row.enabled && !row.hidden;
        let is_it = |row: &&ModelRow| {
            row.display_name.eq_ignore_ascii_case(name)
                || row.model.eq_ignore_ascii_case(name)
                || row.id.to_string() == name
        };
        match rows.iter().filter(known).find(is_it) {
            Some(row) => Ok(row.id),
            None => Err(rows.iter().filter(known).map(|row| row.display_name.clone()).collect()),
        }
    }
}

fn positive(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
}

fn refused(code: &str, message: &str) -> ChatErrorView {
    ChatErrorView {
        code: code.to_owned(),
        message: message.to_owned(),
        retryable: false,
        provider: None,
        status_code: None,
        request_id: None,
    }
}

fn unreadable(error: &StoreError) -> ChatErrorView {
    tracing::error!(error = error as &dyn std::error::Error, "the model's settings cannot be read");
    ChatErrorView {
        retryable: true,
        ..refused(
            error.code(),
            "The model's settings could not be read. Send a message to try again.",
        )
    }
}

fn provider_error(error: &ProviderError, settings: &ProviderSettings) -> ChatErrorView {
    ChatErrorView {
        provider: Some(settings.kind.as_str().to_owned()),
        ..refused(error.kind.code(), &error.message)
    }
}
