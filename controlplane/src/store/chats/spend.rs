//! What a chat uses, and how much of it since somebody last let it go on.

use shared::ids::ChatId;

use super::ChatStore;
use super::guard::Held;
use super::rows::ChatRow;
use crate::chat::content::Usage;
use crate::chat::family::Budget;
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;

const SPENT: &str = "WITH RECURSIVE family (id) AS ( \
     SELECT id FROM chats WHERE id = $1 \
     UNION ALL SELECT chats.id FROM chats JOIN family ON chats.parent_id = family.id) \
     SELECT CAST(COALESCE(SUM(total_tokens), 0) AS BIGINT), \
     CAST(COALESCE(SUM(total_cost_micros), 0) AS BIGINT) \
     FROM chats WHERE id IN (SELECT id FROM family)";

pub(super) const STATEMENTS: &[&str] = &[SPENT];

/// What a chat and all agents below it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens, in and out.
    pub tokens: i64,
    /// Millionths of the prices' currency, as far as known.
    pub cost_micros: i64,
}

impl Held<'_> {
    /// Counts what a step used.
    pub(super) fn spend(&mut self, usage: Option<&Usage>, worked_ms: u64) {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let chat = &mut self.chat;
        chat.worked_ms = chat.worked_ms.saturating_add(count(worked_ms));
        let Some(usage) = usage else { return };
        chat.total_tokens = chat.total_tokens.saturating_add(count(usage.total()));
        let cost = count(usage.cost_micros.unwrap_or_default());
        chat.total_cost_micros = chat.total_cost_micros.saturating_add(cost);
    }

    /// The whole budget is there again.
    pub(super) async fn grant(&mut self) -> Result<(), StoreError> {
        self.chat.steps_in_turn = 0;
        self.chat.worked_ms = 0;
        if self.chat.budget.is_none() {
            return Ok(()); // nobody asks how much it was
        }
        // The row may hold less than is counted here already.
        let stored = spent(self.tx, self.chat.id).await?;
        self.chat.granted_tokens = stored.tokens.max(self.chat.total_tokens);
        self.chat.granted_cost_micros = stored.cost_micros.max(self.chat.total_cost_micros);
        Ok(())
    }
}

async fn spent(tx: &mut Tx, id: ChatId) -> Result<Spent, StoreError> {
    let (tokens, cost_micros) = on_pool!(tx.conn(), |conn| {
        sqlx::query_as(SPENT).bind(id.to_string()).fetch_one(conn).await?
    });
    Ok(Spent { tokens, cost_micros })
}

impl ChatStore {
    /// What a chat and all agents below it used, since ever.
    pub async fn spent(&self, id: ChatId) -> Result<Spent, StoreError> {
        let (tokens, cost_micros) = on_pool!(self.base.db.reader(), |pool| {
            sqlx::query_as(SPENT).bind(id.to_string()).fetch_one(pool).await?
        });
        Ok(Spent { tokens, cost_micros })
    }

    /// Sets the budget, all of it unused; none: no limits.
    pub async fn set_budget(
        &self,
        id: ChatId,
        budget: Option<Budget>,
    ) -> Result<ChatRow, StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take(tx, &self.base, id).await?;
            held.chat.budget = budget.filter(|budget| !budget.is_empty());
            held.grant().await?;
            held.save().await?;
            held.chat
        })
    }
}
