//! A chat and all that descend from it: archived and taken back together, or not at all.

use shared::ids::ChatId;

use super::ChatStore;
use super::guard::Held;
use super::rows::ChatRow;
use crate::chat::machine::{Event, Refusal};
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::row::Reader;

// In the order of their ids, so that two who take a family wait for each other.
const DESCENDANTS: &str = "WITH RECURSIVE family (id) AS ( \
     SELECT id FROM chats WHERE parent_id = $1 \
     UNION ALL SELECT chats.id FROM chats JOIN family ON chats.parent_id = family.id) \
     SELECT id FROM family ORDER BY id";

pub(super) const STATEMENTS: &[&str] = &[DESCENDANTS];

impl ChatStore {
    /// Archives a chat at rest or after an error, or takes it back from there, with every chat that
    /// descends from it. One that cannot (it runs) keeps all of them from it. The chat itself
    /// comes first, then the others that changed.
    ///
    /// Errors: [`StoreError::Refused`], also for a chat that belongs to another one.
    pub async fn set_archived(
        &self,
        id: ChatId,
        archived: bool,
    ) -> Result<Vec<ChatRow>, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut root = Held::take(tx, &self.base, id).await?;
            if root.chat.parent_id.is_some() {
                refuse(Refusal::NotRoot)?;
            }
            root.apply(Event::SetArchived(archived), None).await?;
            root.save().await?;
            let mut family = vec![root.chat];
            for id in descendants(tx, id).await? {
                let mut member = Held::take(tx, &self.base, id).await?;
                if member.chat.archived == archived {
                    continue;
                }
                member.apply(Event::SetArchived(archived), None).await?;
                member.save().await?;
                family.push(member.chat);
            }
            family
        })
    }
}

/// All that descend from a chat, those that begin before those that they began.
pub(super) async fn descendants(tx: &mut Tx, id: ChatId) -> Result<Vec<ChatId>, StoreError> {
    on_pool!(tx.conn(), |conn| {
        let rows = sqlx::query(DESCENDANTS).bind(id.to_string()).fetch_all(conn).await?;
        rows.iter().map(|row| Reader::of(row, "chats", "id").parsed("id")).collect()
    })
}

fn refuse(refusal: Refusal) -> Result<(), StoreError> {
    Err(StoreError::Refused(refusal))
}
