//! A chat that begins with the history of another one.

use shared::ids::{ChatId, MessageId};

use super::ChatStore;
use super::effects::Saying;
use super::entries::MessageRow;
use super::guard::Held;
use super::read::{HISTORY, read_messages};
use super::rows::ChatRow;
use super::user::INSERT;
use crate::chat::content::{Part, Role};
use crate::chat::machine::{Event, Refusal};
use crate::store::attachments;
use crate::store::db::{in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::text::{clean, json};

impl ChatStore {
    /// Makes a chat at rest with what was said in `from` up to and with message `up_to` (none:
    /// everything), in the branch that is shown there. What belongs to the calls of that message
    /// comes with it. The new chat has the same workspace, model and mode, and no plan.
    ///
    /// Errors: [`StoreError::NotFound`], or refused: no such message in that branch.
    pub async fn copy(
        &self,
        from: ChatId,
        up_to: Option<MessageId>,
        title: &str,
    ) -> Result<ChatRow, StoreError> {
        let id: ChatId = self.base.ids.id();
        let now_ms = self.base.clock.now_ms();
        in_write_tx!(&self.base.db, |tx| {
            // Held while it is read, so that the copy is of one moment.
            let original = Held::take(tx, &self.base, from).await?.chat;
            let history: Vec<MessageRow> = on_pool!(tx.conn(), |conn| {
                read_messages(&sqlx::query(HISTORY).bind(from.to_string()).fetch_all(conn).await?)?
            });
            let wanted = cut(history, up_to)?;
            let chat = on_pool!(tx.conn(), |conn| {
                let row = sqlx::query(INSERT)
                    .bind(id.to_string())
                    .bind(original.owner_id.to_string())
                    .bind(original.workspace_id.map(|id| id.to_string()))
                    .bind(None::<String>)
                    .bind(original.model_id.map(|id| id.to_string()))
                    .bind(&original.mode)
                    .bind(clean(title))
                    .bind(original.title_source.as_str())
                    .bind(now_ms)
                    .bind((!original.client_tools.is_empty()).then(|| json(&original.client_tools)))
                    .bind(Some(from.to_string()))
                    .bind(original.budget.as_ref().map(json))
                    .fetch_one(conn)
                    .await?;
                ChatRow::read(&row)?
            });
            let mut held = Held::born(tx, &self.base, chat, now_ms);
            held.chat.effort = original.effort;
            held.apply(Event::Copy, None).await?;
            for mut row in wanted {
                attachments::copy(held.tx, &self.base, id, &mut row.content, now_ms).await?;
                let saying = Saying {
                    content: row.content,
                    raw_kind: row.raw_kind,
                    model: row.model,
                    usage: row.usage,
                    variant: None,
                };
                held.insert_message(row.role, saying).await?;
            }
            held.save().await?;
            held.chat
        })
    }
}

/// The history up to a message, with the results of its calls.
fn cut(
    mut history: Vec<MessageRow>,
    up_to: Option<MessageId>,
) -> Result<Vec<MessageRow>, StoreError> {
    let Some(id) = up_to else { return Ok(history) };
    let at = history.iter().position(|row| row.id == id);
    let at = at.ok_or(StoreError::Refused(Refusal::MessageNotFound))?;
    let calls =
        history[at].content.iter().any(|stored| matches!(stored.part, Part::ToolCall { .. }));
    let with_results = calls && history.get(at + 1).is_some_and(|row| row.role == Role::Tool);
    history.truncate(at + 1 + usize::from(with_results));
    Ok(history)
}
