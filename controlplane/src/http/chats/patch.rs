//! `PATCH /api/v1/chats/{id}`.

use axum::extract::State;
use shared::ids::{ChatId, ModelId, WorkspaceId};

use super::budget::BudgetBody;
use super::view::{ChatView, ModeBody, check_model, now};
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{Json, Name, Patch, body};
use crate::http::models::check_fallback;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::http::workspaces::EditCheckBody;
use crate::store::chats::{ChatPatch, TitleSource};

body! {
    /// What to change; what is not there stays.
    pub struct ChatPatchBody {
        /// The title; from then on nobody changes it but people.
        #[schema(value_type = Option<String>)]
        pub title: Option<Name>,
        /// Who answers from now on.
        #[schema(value_type = Option<String>)]
        pub model_id: Option<ModelId>,
        /// Who is asked where that model cannot answer; null: whom the model's settings name.
        #[schema(value_type = Option<String>)]
        pub fallback_model_id: Patch<ModelId>,
        /// What the agent may do from now on.
        pub mode: Option<ModeBody>,
        /// Where its tools work; only for a chat that has no workspace.
        #[schema(value_type = Option<String>)]
        pub workspace_id: Option<WorkspaceId>,
        /// What is run after edits in this chat; an empty command: nothing; null: what its workspace
        /// says.
        #[schema(value_type = Option<EditCheckBody>)]
        pub edit_check: Patch<EditCheckBody>,
        /// How much it may use from now on; without fields: no limits but the steps of a turn.
        pub budget: Option<BudgetBody>,
    }
}

/// Changes a chat's title, model, mode, workspace or budget. Also while it runs: the next step sees it.
#[utoipa::path(patch, path = "/chats/{id}", tag = "chats", params(("id" = String, Path,)),
    request_body = ChatPatchBody, responses((status = 200, body = ChatView)))]
pub async fn patch_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    Json(body): Json<ChatPatchBody>,
) -> Result<axum::Json<ChatView>, Problem> {
    check_model(&app, body.model_id).await?;
    if let Some(workspace) = body.workspace_id
        && app.store.workspaces.workspace(workspace).await?.is_none()
    {
        let detail = "there is no such workspace";
        return Err(Problem::of_field(Code::InvalidValue, "/workspace_id", detail));
    }
    let fallback_model_id = body.fallback_model_id.given();
    check_fallback(&app, body.model_id, fallback_model_id.flatten()).await?;
    let patch = ChatPatch {
        title: body.title.map(|title| (title.into_inner(), TitleSource::User)),
        label: None,
        model_id: body.model_id,
        fallback_model_id,
        mode: body.mode.map(|mode| mode.as_str().to_owned()),
        workspace_id: body.workspace_id,
    };
    let budget = body.budget.map(|budget| budget.budget("/budget")).transpose()?;
    let given = body.edit_check.given();
    let check =
        given.map(|check| check.map(|it| it.check("/edit_check")).transpose()).transpose()?;
    app.chats.patch(caller.user_id, id, patch).await?;
    if let Some(check) = check {
        app.store.chats.set_edit_check(id, check.as_ref()).await?;
    }
    if budget.is_some() {
        app.chats.set_budget(caller.user_id, id, budget).await?;
    }
    Ok(axum::Json(now(&app, caller.user_id, id).await?))
}
