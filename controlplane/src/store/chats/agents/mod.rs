//! A chat and its agents: begun, waited for, spoken to, stopped; and their way home.
//!
//! ```text
//! parent's call ── spawn ──► agent runs ── comes to rest ──► the call's answer, if one waits
//!  (one commit: agent + answer or wait)     (one commit)  └► a message for the parent otherwise
//! ```
//!
//! Invariants: an agent exists if and only if the call that began it says so, as both are one commit;
//! what becomes of an agent is told in the commit that brings it to rest, so it is told once, and no
//! crash lies between; rows are taken from the root downwards, so that two who take parts of one
//! family wait for each other.

mod begin;
mod control;
mod home;
mod wait;

pub use begin::NewAgent;
pub(super) use control::stop_descendants;
use serde_json::{Value, json};
use shared::ids::{ChatId, OpId};

use super::asked::ToolStored;
use super::guard::{Held, chat_columns};
use super::rows::{ChatRow, WorkerFence};
use crate::chat::machine::ToolAnswer;
use crate::store::db::{Tx, on_pool};
use crate::store::error::StoreError;

// Changes nothing: it takes the row, on both databases.
const HOLD: &str = "UPDATE chats SET snapshot_version = snapshot_version WHERE id = $1";
const HOLD_PARENT: &str = "UPDATE chats SET snapshot_version = snapshot_version \
     WHERE id = (SELECT agent.parent_id FROM chats AS agent WHERE agent.id = $1)";
const HEAD: &str = concat!("SELECT ", chat_columns!(), " FROM chats WHERE id = $1");

pub(super) const STATEMENTS: &[&str] = &[
    HOLD,
    HOLD_PARENT,
    HEAD,
    begin::INSERT_AGENT,
    begin::COUNT,
    control::AGENTS,
    wait::WAIT_FOR,
    wait::WAITED,
    home::WAITING_CALLS,
    home::FORGET_WAITS,
    home::LAST_SAID,
];

/// What a call about agents came to.
#[derive(Clone, Debug)]
pub struct AgentStep {
    /// The parent, as after any answer; the same batch goes on where the call waits.
    pub stored: ToolStored,
    /// The answer that was stored; none: the call waits.
    pub answer: Option<ToolAnswer>,
    /// Agents that changed.
    pub touched: Vec<ChatRow>,
}

/// A bad answer for the model.
struct Bad(&'static str, String);

impl Bad {
    fn json(&self) -> Value {
        json!({ "error": { "code": self.0, "message": self.1 } })
    }
}

/// Takes the row of a chat's parent before its own: what an agent comes to is told upwards.
pub(super) async fn hold_parent(tx: &mut Tx, id: ChatId) -> Result<(), StoreError> {
    hold(tx, HOLD_PARENT, id).await
}

async fn hold(tx: &mut Tx, sql: &'static str, id: ChatId) -> Result<(), StoreError> {
    on_pool!(tx.conn(), |conn| {
        sqlx::query(sql).bind(id.to_string()).execute(conn).await?;
    });
    Ok(())
}

async fn head(tx: &mut Tx, id: ChatId) -> Result<Option<ChatRow>, StoreError> {
    on_pool!(tx.conn(), |conn| {
        let row = sqlx::query(HEAD).bind(id.to_string()).fetch_optional(conn).await?;
        row.as_ref().map(ChatRow::read).transpose()
    })
}

impl Held<'_> {
    /// Stores what a call about agents is told, good or bad.
    async fn tell(
        mut self,
        fence: &WorkerFence,
        op_id: OpId,
        told: Result<Value, Bad>,
        touched: Vec<ChatRow>,
    ) -> Result<AgentStep, StoreError> {
        let (result, is_error) = match told {
            Ok(result) => (result, false),
            Err(bad) => (bad.json(), true),
        };
        let answer = ToolAnswer { op_id, result, is_error, duration_ms: 0, plan: None };
        self.store_result(&answer).await?;
        self.save().await?;
        Ok(AgentStep { stored: self.stored(fence), answer: Some(answer), touched })
    }

    /// The agent of this chat with that id.
    async fn own_agent(&mut self, id: ChatId) -> Result<Result<ChatRow, Bad>, StoreError> {
        let found = head(self.tx, id).await?;
        let own = found.filter(|agent| agent.parent_id == Some(self.chat.id));
        Ok(own.ok_or_else(|| {
            let text = format!("You have begun no agent {id}. list_agents names those you have.");
            Bad("agent_not_found", text)
        }))
    }
}
