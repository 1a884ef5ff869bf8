//! `POST /api/v1/chats/{id}/messages`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use shared::ids::{ChatId, MessageId, ModelId, QueueId, UserId};

use super::content::{PartBody, parts};
use super::view::{EffortBody, check_model};
use crate::app::App;
use crate::chat::content::Part;
use crate::chat::event::{MessageView, QueuedView};
use crate::chat::machine::Busy;
use crate::chat::service::Say;
use crate::http::auth::Caller;
use crate::http::idempotency::Earlier;
use crate::http::json::{Json, body, choice};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::StoreError;
use crate::store::chats::{Delivery, PageOf};
use crate::time::Timestamp;

/// Messages among which a repeated request looks for the one it made.
const RECENT: u32 = 200;

choice! {
    /// What to do with a message while a turn is in progress.
    pub enum BusyBody {
        /// Answer it when the turn is over.
        Queue = "queue",
        /// Deliver it after the running tools.
        Steer = "steer",
        /// Stop the turn and answer it.
        Interrupt = "interrupt",
    }
}

body! {
    /// Something to say.
    pub struct MessageBody {
        /// What is said.
        pub content: Vec<PartBody>,
        /// Who answers this and what follows; none: the chat's model.
        #[schema(value_type = Option<String>)]
        pub model_id: Option<ModelId>,
        /// How hard it thinks about this and what follows; none: as before.
        pub effort: Option<EffortBody>,
        /// While a turn is in progress; none: `queue`.
        pub busy: Option<BusyBody>,
    }
}

/// Says something in a chat.
///
/// 201 with the message: a turn has begun. 202 with the queued message: it waits. 409 `queue_full`:
/// 20 messages wait already; 409 `chat_archived`.
#[utoipa::path(post, path = "/chats/{id}/messages", tag = "chats", params(("id" = String, Path,)),
    request_body = MessageBody,
    responses((status = 201, body = MessageView), (status = 202, body = QueuedView)))]
pub async fn send_message(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    earlier: Earlier,
    Json(body): Json<MessageBody>,
) -> Result<Response, Problem> {
    let content = parts(&app, (caller.user_id, Some(id)), body.content).await?;
    if let Some(made) = earlier.made {
        return sent_before(&app, (caller.user_id, id), &made, content, body.model_id).await;
    }
    check_model(&app, body.model_id).await?;
    let busy = match body.busy.unwrap_or(BusyBody::Queue) {
        BusyBody::Queue => Busy::Queue,
        BusyBody::Steer => Busy::Steer,
        BusyBody::Interrupt => Busy::Interrupt,
    };
    let effort = body.effort.map(EffortBody::effort);
    let say = Say { content, model_id: body.model_id, effort, busy, key: earlier.key };
    let (_, delivery) = app.chats.send(caller.user_id, id, say).await?;
    Ok(match delivery {
        Delivery::Message(row) => (StatusCode::CREATED, axum::Json(row.view())).into_response(),
        Delivery::Queued(row) => (StatusCode::ACCEPTED, axum::Json(row.view())).into_response(),
    })
}

/// The answer of an earlier try, from what it made. A queued message may have been delivered or
/// taken back since; it is then shown as it was queued.
async fn sent_before(
    app: &App,
    (user, chat): (UserId, ChatId),
    made: &str,
    content: Vec<Part>,
    model_id: Option<ModelId>,
) -> Result<Response, Problem> {
    if let Ok(id) = made.parse::<MessageId>() {
        let page = app.chats.messages(user, chat, PageOf::Newest, RECENT).await?;
        let row = page.items.iter().find(|row| row.id == id).ok_or(StoreError::NotFound)?;
        return Ok((StatusCode::CREATED, axum::Json(row.view())).into_response());
    }
    let id: QueueId = made.parse().map_err(Problem::internal)?;
    app.chats.head(user, chat).await?;
    let created_at = Timestamp(i64::try_from(id.made_at_ms()).unwrap_or_default());
    let view = QueuedView { id, content, model_id, effort: None, created_at };
    Ok((StatusCode::ACCEPTED, axum::Json(view)).into_response())
}
