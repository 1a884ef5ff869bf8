//! `POST /api/v1/chats/{id}/approvals/{action}`.

use axum::Extension;
use axum::extract::State;
use shared::ids::{ChatId, OpId};

use super::view::{ChatView, ModeBody, now};
use crate::app::App;
use crate::chat::deciding::{Choice, DecisionError, PlanChanges, Ruling};
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::edge::Asked;
use crate::http::json::{Json, body, choice};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::chats::RuleScope;

/// Longest note and pattern, in bytes.
pub(super) const NOTE_MAX_BYTES: usize = 4_096;

choice! {
    /// What is decided.
    pub enum DecisionBody {
        /// Do it, this time.
        Once = "once",
        /// Do it, and others like it without asking.
        Always = "always",
        /// Do not.
        Deny = "deny",
    }
}

choice! {
    /// In which chats a rule stands.
    pub enum ScopeBody {
        /// In this one.
        Chat = "chat",
        /// In each of yours with the same workspace.
        Workspace = "workspace",
        /// In each of yours.
        User = "user",
    }
}

body! {
    /// A decision.
    pub struct ApprovalBody {
        /// What is decided.
        pub decision: DecisionBody,
        /// The action's `args_hash`: binds the decision to what was shown.
        pub args_hash: Option<String>,
        /// For the model, such as why not.
        pub note: Option<String>,
        /// With `always`: which calls, with `*` for anything harmless; none: the same ones.
        pub pattern: Option<String>,
        /// With `always`: in which chats; none: in this one.
        pub scope: Option<ScopeBody>,
        /// For a plan: its steps as they should be; none: as proposed.
        pub steps: Option<Vec<String>>,
        /// For a plan: the mode from now on; none: `edit`.
        pub mode: Option<ModeBody>,
    }
}

/// Allows or denies a call that waits, or approves or rejects a plan. Once, from any device.
///
/// 404 `action_not_found`; 409 `action_resolved`: somebody was faster; 409 `action_mismatch`: what
/// waits is not what was shown.
#[utoipa::path(post, path = "/chats/{id}/approvals/{action}", tag = "chats",
    params(("id" = String, Path,), ("action" = String, Path,)),
    request_body = ApprovalBody, responses((status = 200, body = ChatView)))]
pub async fn decide_approval(
    State(app): State<App>,
    caller: Caller,
    Path((id, action)): Path<(ChatId, OpId)>,
    asked: Option<Extension<Asked>>,
    Json(body): Json<ApprovalBody>,
) -> Result<axum::Json<ChatView>, Problem> {
    let is_rule = body.decision == DecisionBody::Always;
    if !is_rule && (body.pattern.is_some() || body.scope.is_some()) {
        let detail = "only a decision for always has a pattern and a scope";
        return Err(Problem::of_field(Code::InvalidValue, "/decision", detail));
    }
    short("/note", body.note.as_deref())?;
    short("/pattern", body.pattern.as_deref())?;
    for step in body.steps.iter().flatten() {
        short("/steps", Some(step))?;
    }
    let choice = match body.decision {
        DecisionBody::Once => Choice::Allow,
        DecisionBody::Deny => Choice::Deny,
        DecisionBody::Always => Choice::Always {
            scope: match body.scope.unwrap_or(ScopeBody::Chat) {
                ScopeBody::Chat => RuleScope::Chat,
                ScopeBody::Workspace => RuleScope::Workspace,
                ScopeBody::User => RuleScope::User,
            },
            pattern: body.pattern,
        },
    };
    let plan =
        PlanChanges { steps: body.steps, mode: body.mode.map(|mode| mode.as_str().to_owned()) };
    let ruling = Ruling {
        user: caller.user_id,
        chat: id,
        op_id: action,
        args_hash: body.args_hash,
        note: body.note,
        request_id: asked.and_then(|Extension(Asked(id))| id.parse().ok()),
    };
    app.chats.rule_on(ruling, choice, plan).await?;
    Ok(axum::Json(now(&app, caller.user_id, id).await?))
}

/// Refuses a text that nobody would write by hand.
pub(super) fn short(pointer: &str, text: Option<&str>) -> Result<(), Problem> {
    if text.is_some_and(|text| text.len() > NOTE_MAX_BYTES) {
        let detail = format!("at most {NOTE_MAX_BYTES} bytes");
        return Err(Problem::of_field(Code::InvalidValue, pointer, detail));
    }
    Ok(())
}

impl From<DecisionError> for Problem {
    fn from(error: DecisionError) -> Self {
        match error {
            DecisionError::Store(error) => error.into(),
            DecisionError::Invalid { pointer, detail } => {
                Self::of_field(Code::InvalidValue, &pointer, detail)
            }
        }
    }
}
