//! A call waits for agents, and what it is told once none of them works.

use serde_json::{Value, json};
use shared::ids::{ChatId, OpId};

use super::AgentStep;
use super::control::{LIST_MAX, of_chat};
use super::home::report;
use crate::chat::machine::{Event, ToolAnswer};
use crate::store::chats::ChatStore;
use crate::store::chats::guard::{Held, chat_columns};
use crate::store::chats::rows::{ChatRow, WorkerFence};
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;

pub(super) const WAIT_FOR: &str = "INSERT INTO agent_waits (op_id, agent_id) VALUES ($1, $2)";
pub(super) const WAITED: &str = concat!(
    "SELECT ",
    chat_columns!(),
    " FROM chats WHERE id IN (SELECT agent_id FROM agent_waits WHERE op_id = $1) ORDER BY id"
);

impl ChatStore {
    /// Lets a call wait for agents of its chat until none of them works; those that rest already
    /// are told with the others. `wanted` empty: all that work. Without anybody to wait for the
    /// call is answered at once. `timeout_ms`: when the wait is given up.
    pub async fn wait_for_agents(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        op_id: OpId,
        wanted: &[ChatId],
        timeout_ms: Option<i64>,
    ) -> Result<AgentStep, StoreError> {
        shared::fault::point("f0 wait");
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            let (mut agents, mut bad) = (Vec::new(), None);
            for agent in wanted {
                match held.own_agent(*agent).await? {
                    Ok(agent) => agents.push(agent),
                    Err(why) => bad = Some(why),
                }
            }
            if wanted.is_empty() {
                agents = of_chat(held.tx, id, LIST_MAX).await?;
                agents.retain(ChatRow::is_working);
            }
            if let Some(bad) = bad {
                held.tell(fence, op_id, Err(bad), vec![]).await?
            } else if agents.iter().any(ChatRow::is_working) {
                held.deadline_at_ms = timeout_ms.map(|ms| held.now_ms.saturating_add(ms));
                let ids: Vec<ChatId> = agents.iter().map(|agent| agent.id).collect();
                held.wait(op_id).await?;
                held.wait_for(op_id, &ids).await?;
                held.save().await?;
                AgentStep { stored: held.stored(fence), answer: None, touched: vec![] }
            } else {
                let mut told = Vec::new();
                for agent in &agents {
                    told.push(report(held.tx, agent).await?.json());
                }
                held.tell(fence, op_id, Ok(json!({ "agents": told })), vec![]).await?
            }
        })
    }
}

impl Held<'_> {
    /// Lets a call wait, if it is open. Before anything else is written for it.
    pub(super) async fn wait(&mut self, op_id: OpId) -> Result<(), StoreError> {
        let found = self.asked(op_id).await?;
        self.apply(Event::Wait { op_id, found }, None).await
    }

    /// Notes for whom a call waits.
    pub(super) async fn wait_for(
        &mut self,
        op_id: OpId,
        agents: &[ChatId],
    ) -> Result<(), StoreError> {
        for agent in agents {
            on_pool!(self.tx.conn(), |conn| {
                sqlx::query(WAIT_FOR)
                    .bind(op_id.to_string())
                    .bind(agent.to_string())
                    .execute(conn)
                    .await?;
            });
        }
        Ok(())
    }

    /// The answer of a call that waits for agents, as they stand now.
    pub(in crate::store::chats) async fn answer_of_agents(
        &mut self,
        op_id: OpId,
        timed_out: bool,
    ) -> Result<ToolAnswer, StoreError> {
        let call = self.operation(op_id).await?;
        let began_ms = call.map_or(self.now_ms, |call| call.started_at_ms);
        let rows = waited(self.tx, op_id).await?;
        let mut agents = Vec::new();
        for agent in &rows {
            agents.push(report(self.tx, agent).await?.json());
        }
        let began_it = matches!(&rows[..], [only] if only.spawned_by == Some(op_id));
        let result = match agents.pop() {
            Some(only) if began_it => only,
            last => {
                agents.extend(last);
                let mut told = json!({ "agents": agents });
                if timed_out {
                    told["timed_out"] = Value::Bool(true);
                }
                told
            }
        };
        let duration_ms = self.now_ms.saturating_sub(began_ms).max(0).unsigned_abs();
        Ok(ToolAnswer { op_id, result, is_error: false, duration_ms, plan: None })
    }
}

pub(super) async fn waited(tx: &mut Tx, op_id: OpId) -> Result<Vec<ChatRow>, StoreError> {
    on_pool!(tx.conn(), |conn| {
        let rows = sqlx::query(WAITED).bind(op_id.to_string()).fetch_all(conn).await?;
        rows.iter().map(ChatRow::read).collect()
    })
}
