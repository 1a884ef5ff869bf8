//! Providers that the environment offers at the first start: whoever has a key set already should not
//! have to paste it again.

use crate::app::App;
use crate::http::problem::Problem;
use crate::http::providers::seal;
use crate::store::{NewProvider, ProviderKind, StoreError};

use super::exit::Failure;

/// Variable of the key, kind, name, address.
const OFFERS: &[(&str, ProviderKind, &str, Option<&str>)] = &[
    ("ANTHROPIC_API_KEY", ProviderKind::Anthropic, "Anthropic", None),
    ("OPENAI_API_KEY", ProviderKind::Openai, "OpenAI", None),
    (
        "OPENROUTER_API_KEY",
        ProviderKind::OpenaiCompatible,
        "OpenRouter",
        Some("https://openrouter.ai/api/v1"),
    ),
    (
        "DEEPSEEK_API_KEY",
        ProviderKind::OpenaiCompatible,
        "DeepSeek",
        Some("https://api.deepseek.com/v1"),
    ),
    ("GEMINI_API_KEY", ProviderKind::Gemini, "Gemini", None),
];

/// The keys of the environment, each also as the name of a file that holds it.
pub fn of_environment() -> Vec<(String, String)> {
    let variable = |name: &str| {
        let text = std::env::var_os(name)?.into_string().ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let value = |name: &str| {
        let file = || std::fs::read_to_string(variable(&format!("{name}_FILE"))?).ok();
        variable(name).or_else(|| file().map(|text| text.trim().to_owned()))
    };
    let names = OFFERS.iter().map(|(name, ..)| *name).chain(["OPENAI_BASE_URL"]);
    names.filter_map(|name| Some((name.to_owned(), value(name)?))).collect()
}

/// Makes a provider for each key, if there is no provider and no person yet.
///
/// # Errors
///
/// When the database fails.
pub async fn providers(app: &App, env: &[(String, String)]) -> Result<(), Failure> {
    let is_first =
        app.store.users.count().await? == 0 && app.store.providers.list(1).await?.is_empty();
    if !is_first {
        return Ok(());
    }
    let value = |name: &str| env.iter().find(|(found, _)| found == name).map(|(_, value)| value);
    for (variable, kind, name, base_url) in OFFERS {
        let Some(key) = value(variable) else { continue };
        let own_url = value("OPENAI_BASE_URL").filter(|_| *kind == ProviderKind::Openai);
        let id = app.ids.id();
        let new = NewProvider {
            id,
            kind: if own_url.is_some() { ProviderKind::OpenaiCompatible } else { *kind },
            name: (*name).to_owned(),
            base_url: own_url.cloned().or_else(|| base_url.map(str::to_owned)),
            api_key: Some(seal(app, id, key)),
        };
        match app.store.providers.create(&new).await {
            Ok(_) => tracing::info!(provider = name, "found a key in the environment"),
            // Another replica was faster.
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(Failure::failed(Problem::from(error).detail().to_owned())),
        }
    }
    Ok(())
}
