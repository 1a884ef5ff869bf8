//! An attachment as clients see it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::chat::content::FileRef;
use crate::store::attachments::AttachmentRow;
use crate::time::Timestamp;

/// A file that was uploaded.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttachmentView {
    /// What messages say of it.
    #[serde(flatten)]
    file: FileRef,
    /// Whether a message names it: then it stays as long as its chat.
    sent: bool,
    /// When it was uploaded.
    created_at: Timestamp,
}

impl From<&AttachmentRow> for AttachmentView {
    fn from(row: &AttachmentRow) -> Self {
        Self {
            file: row.file.clone(),
            sent: row.sent_at_ms.is_some(),
            created_at: Timestamp(row.created_at_ms),
        }
    }
}
