//! `POST /api/v1/chats/{id}/answers/{action}`.

use axum::Extension;
use axum::extract::State;
use shared::ids::{ChatId, OpId};

use super::approvals::short;
use super::view::{ChatView, now};
use crate::app::App;
use crate::chat::deciding::{Reply, Ruling};
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::edge::Asked;
use crate::http::json::{Json, body};
use crate::http::problem::Problem;
use crate::http::query::Path;

body! {
    /// The answer to one question.
    pub struct ReplyBody {
        /// Labels of the options that are chosen; one, unless the question takes several.
        pub selected: Option<Vec<String>>,
        /// In one's own words, beside an option or instead of one.
        pub text: Option<String>,
    }
}

body! {
    /// Answers to the questions of a call.
    pub struct AnswerBody {
        /// One for each question, in order; not with `skip`.
        pub answers: Option<Vec<ReplyBody>>,
        /// Let the agent decide by itself.
        pub skip: Option<bool>,
        /// The action's `args_hash`: binds the answer to what was shown.
        pub args_hash: Option<String>,
        /// For the model.
        pub note: Option<String>,
    }
}

/// Answers questions that the agent asked. Once, from any device; the turn goes on.
///
/// Errors as for approvals.
#[utoipa::path(post, path = "/chats/{id}/answers/{action}", tag = "chats",
    params(("id" = String, Path,), ("action" = String, Path,)),
    request_body = AnswerBody, responses((status = 200, body = ChatView)))]
pub async fn answer_question(
    State(app): State<App>,
    caller: Caller,
    Path((id, action)): Path<(ChatId, OpId)>,
    asked: Option<Extension<Asked>>,
    Json(body): Json<AnswerBody>,
) -> Result<axum::Json<ChatView>, Problem> {
    short("/note", body.note.as_deref())?;
    let replies = match (body.answers, body.skip.unwrap_or(false)) {
        (Some(answers), false) => {
            for answer in &answers {
                short("/answers", answer.text.as_deref())?;
            }
            let reply = |answer: ReplyBody| Reply {
                selected: answer.selected.unwrap_or_default(),
                text: answer.text,
            };
            Some(answers.into_iter().map(reply).collect())
        }
        (None, true) => None,
        _ => {
            let detail = "either answers or skip is due";
            return Err(Problem::of_field(Code::InvalidValue, "/answers", detail));
        }
    };
    let ruling = Ruling {
        user: caller.user_id,
        chat: id,
        op_id: action,
        args_hash: body.args_hash,
        note: body.note,
        request_id: asked.and_then(|Extension(Asked(id))| id.parse().ok()),
    };
    app.chats.answer(ruling, replies).await?;
    Ok(axum::Json(now(&app, caller.user_id, id).await?))
}
