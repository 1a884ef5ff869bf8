//! `POST /api/v1/providers/{id}/test`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use shared::ids::ProviderId;
use utoipa::ToSchema;

use super::view::settings;
use crate::app::App;
use crate::chat::event::ChatErrorView;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::llm::{ProviderError, ProviderErrorKind};

const PATIENCE: Duration = Duration::from_secs(15);

/// How a provider answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderTestView {
    /// Whether it answered well.
    pub ok: bool,
    /// From the question to the answer.
    pub latency_ms: u64,
    /// What it offers; empty where it does not say.
    pub models: Vec<String>,
    /// What went wrong, and what to do.
    pub error: Option<ChatErrorView>,
}

/// Asks the provider for its models with the stored key. A failure is an answer too: `ok` is false.
#[utoipa::path(post, path = "/providers/{id}/test", tag = "providers", params(("id" = String, Path,)),
    responses((status = 200, body = ProviderTestView)))]
pub async fn test_provider(
    State(app): State<App>,
    Path(id): Path<ProviderId>,
) -> Result<Json<ProviderTestView>, Problem> {
    let row = app.store.providers.provider(id).await?.ok_or_else(Problem::not_found)?;
    let settings = settings(&app, &row)?;
    let started = app.clock.now();
    let asked = async { app.registry.provider(&settings)?.models().await };
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(too_late()));
    let elapsed = app.clock.now().saturating_duration_since(started);
    let latency_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(match answer {
        Ok(models) => ProviderTestView { ok: true, latency_ms, models, error: None },
        Err(error) => {
            let error = Some(error_view(&error, row.kind.as_str()));
            ProviderTestView { ok: false, latency_ms, models: Vec::new(), error }
        }
    }))
}

fn too_late() -> ProviderError {
    ProviderError {
        kind: ProviderErrorKind::Timeout,
        message: format!("the provider did not answer within {} s", PATIENCE.as_secs()),
        status: None,
        retry_after: None,
        request_id: None,
    }
}

fn error_view(error: &ProviderError, kind: &str) -> ChatErrorView {
    ChatErrorView {
        code: error.kind.code().to_owned(),
        message: error.message.clone(),
        retryable: error.kind.is_retryable(),
        provider: Some(kind.to_owned()),
        status_code: error.status,
        request_id: error.request_id.clone(),
    }
}
