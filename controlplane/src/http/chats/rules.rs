//! `GET /api/v1/approval-rules`, `DELETE /api/v1/approval-rules/{id}`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use shared::ids::{ChatId, WorkspaceId};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::chats::RuleRow;
use crate::time::Timestamp;

/// What runs without asking, since somebody said so once.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleView {
    /// Its id.
    id: String,
    /// `chat`, `workspace` or `user`.
    scope: &'static str,
    /// The chat, for that scope.
    #[schema(value_type = Option<String>)]
    chat_id: Option<ChatId>,
    /// The workspace, for that scope.
    #[schema(value_type = Option<String>)]
    workspace_id: Option<WorkspaceId>,
    /// The tool.
    tool: String,
    /// Which of its calls; `*` stands for anything harmless.
    pattern: String,
    /// Since when.
    created_at: Timestamp,
}

/// Rules.
#[derive(Debug, Serialize, ToSchema)]
pub struct RulesView {
    /// Newest first, at most 500.
    items: Vec<RuleView>,
}

/// The caller's rules.
#[utoipa::path(get, path = "/approval-rules", tag = "chats",
    responses((status = 200, body = RulesView)))]
pub async fn list_approval_rules(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<RulesView>, Problem> {
    let rows = app.store.chats.approval_rules(caller.user_id).await?;
    Ok(Json(RulesView { items: rows.into_iter().map(view).collect() }))
}

/// Takes a rule back: what it allowed is asked for again.
#[utoipa::path(delete, path = "/approval-rules/{id}", tag = "chats",
    params(("id" = String, Path,)), responses((status = 204)))]
pub async fn delete_approval_rule(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if app.store.chats.delete_approval_rule(caller.user_id, &id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

fn view(row: RuleRow) -> RuleView {
    RuleView {
        id: row.id,
        scope: row.scope.as_str(),
        chat_id: row.chat_id,
        workspace_id: row.workspace_id,
        tool: row.tool,
        pattern: row.pattern,
        created_at: Timestamp(row.created_at_ms),
    }
}
