//! `POST /api/v1/chats/{id}/fork`, `…/continue`, `…/reconcile`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::{ChatId, MessageId};

use super::view::{ChatView, now};
use crate::app::App;
use crate::chat::machine::Refusal;
use crate::http::auth::Caller;
use crate::http::idempotency::Earlier;
use crate::http::json::{Json, Name, body};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::StoreError;

body! {
    /// A copy of a chat.
    pub struct ForkBody {
        /// The last message that is copied; none: all of them.
        #[schema(value_type = Option<String>)]
        pub message_id: Option<MessageId>,
        /// None: the same title.
        #[schema(value_type = Option<String>)]
        pub title: Option<Name>,
    }
}

/// Makes a chat at rest with what was said in this one, in the branch that is shown.
#[utoipa::path(post, path = "/chats/{id}/fork", tag = "chats", params(("id" = String, Path,)),
    request_body = ForkBody, responses((status = 201, body = ChatView)))]
pub async fn fork_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    earlier: Earlier,
    Json(body): Json<ForkBody>,
) -> Result<(StatusCode, axum::Json<ChatView>), Problem> {
    // A copy that was made and not noted is made again: nothing runs in it.
    let made = match earlier.made.as_deref().and_then(|made| made.parse().ok()) {
        Some(made) => made,
        None => {
            let title = body.title.map(Name::into_inner);
            app.chats.copy(caller.user_id, id, body.message_id, title).await?.id
        }
    };
    Ok((StatusCode::CREATED, axum::Json(now(&app, caller.user_id, made).await?)))
}

/// Lets a turn go on that was stopped by its step cap or by an error, with a new allowance of
/// steps. 409 `chat_not_running`: there is nothing to continue.
#[utoipa::path(post, path = "/chats/{id}/continue", tag = "chats", params(("id" = String, Path,)),
    responses((status = 200, body = ChatView)))]
pub async fn continue_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<axum::Json<ChatView>, Problem> {
    app.chats.continue_turn(caller.user_id, id).await?;
    Ok(axum::Json(now(&app, caller.user_id, id).await?))
}

/// Repairs a chat that answers `chat_state_invalid`: it ends in error, with its queue. A chat that
/// is in order stays as it is.
#[utoipa::path(post, path = "/chats/{id}/reconcile", tag = "chats",
    params(("id" = String, Path,)), responses((status = 200, body = ChatView)))]
pub async fn reconcile_chat(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<axum::Json<ChatView>, Problem> {
    match app.chats.reconcile(caller.user_id, id).await {
        Ok(_) | Err(StoreError::Refused(Refusal::NotAllowed { .. })) => {
            Ok(axum::Json(now(&app, caller.user_id, id).await?))
        }
        Err(error) => Err(error.into()),
    }
}
