//! What a person may say: parts of text and files, not empty and not endless.

use serde::Serialize;
use serde_json::Value;
use shared::ids::{AttachmentId, ChatId, UserId};
use shared::limits::ATTACHMENTS_PER_CHAT;
use utoipa::ToSchema;

use crate::app::App;
use crate::chat::content::{FileRef, Part};
use crate::http::code::Code;
use crate::http::json::{At, Fields, FromJson};
use crate::http::problem::Problem;

/// Text of one message, all parts together.
const TEXT_MAX_BYTES: usize = 1024 * 1024;
const PARTS_MAX: usize = 100;

/// A part of what a person says.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(example = json!({"type": "text", "text": "What does this project do?"}))]
pub enum PartBody {
    /// Words.
    Text {
        /// What is said.
        text: String,
    },
    /// A file that was uploaded to the chat, or by the same person for a chat to come.
    File {
        /// Which.
        #[schema(value_type = String)]
        attachment_id: AttachmentId,
    },
}

impl FromJson for PartBody {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let part = match fields.take::<String>("type", at).as_deref() {
            Some("text") => fields.take("text", at).map(|text| Self::Text { text }),
            Some("file") => fields
                .take::<AttachmentId>("attachment_id", at)
                .map(|attachment_id| Self::File { attachment_id }),
            Some(_) => {
                let detail = "one of these is due here: text, file";
                return at.inside("type", |at| at.fail(Code::InvalidValue, detail));
            }
            None => None,
        };
        fields.finish(at);
        part
    }
}

/// Checks what was said in a chat (none: in a new one), and looks up the files that it names.
///
/// # Errors
///
/// `empty_message` when there is nothing to answer, `message_too_long` with the limit,
/// `attachment_not_found` for a file that the chat does not have.
pub(super) async fn parts(
    app: &App,
    (user, chat): (UserId, Option<ChatId>),
    content: Vec<PartBody>,
) -> Result<Vec<Part>, Problem> {
    if content.len() > PARTS_MAX {
        let detail = format!("at most {PARTS_MAX} parts");
        return Err(Problem::of_field(Code::TooManyItems, "/content", detail));
    }
    let bytes: usize = content.iter().map(text_bytes).sum();
    if bytes > TEXT_MAX_BYTES {
        let detail = format!("the message has {bytes} bytes; the limit is {TEXT_MAX_BYTES}");
        return Err(Problem::new(Code::MessageTooLong, detail).with("limit", TEXT_MAX_BYTES));
    }
    if content.iter().all(is_blank) {
        return Err(Problem::new(Code::EmptyMessage, "the message has no text and no file"));
    }
    let ids: Vec<AttachmentId> = content.iter().filter_map(named).collect();
    if ids.len() > ATTACHMENTS_PER_CHAT as usize {
        let detail = format!("at most {ATTACHMENTS_PER_CHAT} files");
        return Err(Problem::of_field(Code::TooManyItems, "/content", detail));
    }
    // Without files no question is asked.
    let files = match ids.as_slice() {
        [] => Vec::new(),
        ids => app.attachments.named(user, chat, ids).await?,
    };
    let mut files = files.into_iter();
    let said = content.into_iter().filter(|part| !is_blank(part));
    Ok(said.filter_map(|part| said_part(part, &mut files)).collect())
}

fn said_part(part: PartBody, files: &mut impl Iterator<Item = FileRef>) -> Option<Part> {
    match part {
        PartBody::Text { text } => Some(Part::Text { text }),
        PartBody::File { .. } => files.next().map(|file| Part::File { file }),
    }
}

const fn named(part: &PartBody) -> Option<AttachmentId> {
    match part {
        PartBody::File { attachment_id } => Some(*attachment_id),
        PartBody::Text { .. } => None,
    }
}

fn text_bytes(part: &PartBody) -> usize {
    match part {
        PartBody::Text { text } => text.len(),
        PartBody::File { .. } => 0,
    }
}

fn is_blank(part: &PartBody) -> bool {
    matches!(part, PartBody::Text { text } if text.trim().is_empty())
}
