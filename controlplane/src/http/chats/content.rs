//! What a person may say: parts of text, not empty and not endless.

use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::content::Part;
use crate::http::code::Code;
use crate::http::json::{At, Fields, FromJson};
use crate::http::problem::Problem;

/// Text of one message, all parts together.
const TEXT_MAX_BYTES: usize = 1024 * 1024;
const PARTS_MAX: usize = 100;

/// A part of what a person says.
#[derive(Clone, Debug, ToSchema)]
#[schema(example = json!({"type": "text", "text": "What does this project do?"}))]
pub struct PartBody {
    /// `text`.
    #[schema(rename = "type", value_type = String)]
    #[expect(dead_code, reason = "only in the schema")]
    kind: (),
    /// What is said.
    text: String,
}

impl FromJson for PartBody {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let kind = fields.take::<String>("type", at);
        let text = fields.take::<String>("text", at);
        fields.finish(at);
        if kind.as_ref().is_some_and(|kind| kind != "text") {
            return at.inside("type", |at| {
                at.fail(Code::InvalidValue, "one of these is due here: text")
            });
        }
        Some(Self { kind: kind.map(|_| ())?, text: text? })
    }
}

/// Checks what was said.
///
/// # Errors
///
/// `empty_message` when there is nothing to answer, `message_too_long` with the limit.
pub(super) fn parts(content: Vec<PartBody>) -> Result<Vec<Part>, Problem> {
    if content.len() > PARTS_MAX {
        let detail = format!("at most {PARTS_MAX} parts");
        return Err(Problem::of_field(Code::TooManyItems, "/content", detail));
    }
    let bytes: usize = content.iter().map(|part| part.text.len()).sum();
    if bytes > TEXT_MAX_BYTES {
        let detail = format!("the message has {bytes} bytes; the limit is {TEXT_MAX_BYTES}");
        return Err(Problem::new(Code::MessageTooLong, detail).with("limit", TEXT_MAX_BYTES));
    }
    let is_blank = |part: &PartBody| part.text.trim().is_empty();
    if content.iter().all(is_blank) {
        return Err(Problem::new(Code::EmptyMessage, "the message has no text"));
    }
    let said = content.into_iter().filter(|part| !is_blank(part));
    Ok(said.map(|part| Part::Text { text: part.text }).collect())
}
