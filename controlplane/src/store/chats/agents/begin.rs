//! An agent is begun: within the limits of its family, in one commit with its call.

use serde_json::json;
use shared::ids::{ChatId, ModelId, OpId};

use super::{AgentStep, Bad, HOLD, head, hold};
use crate::chat::content::{Effort, Part};
use crate::chat::family::{
    AgentType, Budget, DEPTH_MAX, FAMILY_MAX, FAMILY_WORKING_MAX, WORKING_MAX,
};
use crate::chat::machine::{Event, ToolAnswer, UserMessage};
use crate::store::chats::ChatStore;
use crate::store::chats::guard::{Held, chat_columns};
use crate::store::chats::rows::{ChatRow, TitleSource, WorkerFence};
use crate::store::db::{in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::text::{clean, json};

pub(super) const INSERT_AGENT: &str = concat!(
    "INSERT INTO chats (id, owner_id, workspace_id, parent_id, mode, title, title_source, status, \
     archived, snapshot_version, history_version, queue_version, attempt, epoch, steps_in_turn, \
     queue_length, steered_length, unanswered, last_seq, created_at_ms, updated_at_ms, root_id, \
     depth, agent_type, spawned_by, reports, budget) VALUES ($1, $2, $3, $4, $5, $6, $7, \
     'running', FALSE, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, $8, $8, $9, $10, $11, $12, TRUE, $13) \
     RETURNING ",
    chat_columns!()
);
pub(super) const COUNT: &str = "SELECT COUNT(*), \
     CAST(COALESCE(SUM(CASE WHEN status IN ('running', 'interrupting', 'requires_action') \
     THEN 1 ELSE 0 END), 0) AS BIGINT), \
     CAST(COALESCE(SUM(CASE WHEN parent_id = $2 \
     AND status IN ('running', 'interrupting', 'requires_action') \
     THEN 1 ELSE 0 END), 0) AS BIGINT) FROM chats WHERE root_id = $1";

/// An agent to be begun.
#[derive(Clone, Debug)]
pub struct NewAgent {
    /// What it is for.
    pub agent_type: AgentType,
    /// What it is to do.
    pub prompt: String,
    /// A few words.
    pub title: String,
    /// Its model; none: its parent's.
    pub model_id: Option<ModelId>,
    /// How hard the model thinks; none: as its parent's does.
    pub effort: Option<Effort>,
    /// How much it may use.
    pub budget: Option<Budget>,
    /// Whether the call that begins it waits for it.
    pub waits: bool,
}

impl ChatStore {
    /// Begins an agent of a chat for one of its calls, which is answered or waits in the same
    /// commit: a call begins one agent, whatever crashes.
    ///
    /// Errors: [`StoreError::Refused`] if the call has its answer, [`StoreError::Fenced`].
    pub async fn spawn_agent(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        op_id: OpId,
        new: &NewAgent,
    ) -> Result<AgentStep, StoreError> {
        shared::fault::point("f0 spawn");
        in_write_tx!(&self.base.db, |tx| {
            // The limits of a family are counted under the lock of its root.
            let root = head(tx, id).await?.and_then(|chat| chat.root_id);
            if let Some(root) = root {
                hold(tx, HOLD, root).await?;
            }
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            if let Some(bad) = held.no_room().await? {
                held.tell(fence, op_id, Err(bad), vec![]).await?
            } else {
                // The call first: one that has its answer begins nothing.
                let agent_id: ChatId = held.base.ids.id();
                let mut answer = None;
                if new.waits {
                    held.wait(op_id).await?;
                } else {
                    let result = json!({ "agent_id": agent_id, "title": new.title,
                        "status": "working", "note": "You will be told when it is done." });
                    let told =
                        ToolAnswer { op_id, result, is_error: false, duration_ms: 0, plan: None };
                    held.store_result(&told).await?;
                    answer = Some(told);
                }
                let agent = held.begin_agent(agent_id, op_id, new).await?;
                if new.waits {
                    held.wait_for(op_id, &[agent.id]).await?;
                }
                held.save().await?;
                AgentStep { stored: held.stored(fence), answer, touched: vec![agent] }
            }
        })
    }
}

impl Held<'_> {
    /// Why no more agents can be begun here; none: one can.
    async fn no_room(&mut self) -> Result<Option<Bad>, StoreError> {
        if self.chat.depth >= DEPTH_MAX || self.chat.agent_type == Some(AgentType::Explore) {
            let text = "This agent cannot begin agents of its own: do the work yourself.";
            return Ok(Some(Bad("agent_depth_limit", text.to_owned())));
        }
        let (root, id) = (self.chat.family_root().to_string(), self.chat.id.to_string());
        let (all, working, own): (i64, i64, i64) = on_pool!(self.tx.conn(), |conn| {
            sqlx::query_as(COUNT).bind(&root).bind(&id).fetch_one(conn).await?
        });
        let wait = "Wait for one with wait_agent, or stop one with interrupt_agent.";
        Ok(if all >= FAMILY_MAX {
            Some(Bad(
                "agent_limit",
                format!("This conversation has had {FAMILY_MAX} agents, which is the limit."),
            ))
        } else if own >= WORKING_MAX {
            Some(Bad(
                "agent_limit",
                format!("{own} agents of yours work, which is the limit. {wait}"),
            ))
        } else if working >= FAMILY_WORKING_MAX {
            Some(Bad(
                "agent_limit",
                format!("{working} agents work in this family, which is the limit. {wait}"),
            ))
        } else {
            None
        })
    }

    /// Inserts an agent of this chat, running.
    async fn begin_agent(
        &mut self,
        id: ChatId,
        op_id: OpId,
        new: &NewAgent,
    ) -> Result<ChatRow, StoreError> {
        let parent = &self.chat;
        let mode = if new.agent_type == AgentType::Explore { "plan" } else { &parent.mode };
        let (now_ms, base) = (self.now_ms, self.base);
        let message = UserMessage {
            content: vec![Part::Text { text: clean(&new.prompt).into_owned() }.into()],
            model_id: new.model_id.or(parent.model_id),
            effort: new.effort.or(parent.effort),
        };
        let chat = on_pool!(self.tx.conn(), |conn| {
            let row = sqlx::query(INSERT_AGENT)
                .bind(id.to_string())
                .bind(parent.owner_id.to_string())
                .bind(parent.workspace_id.map(|id| id.to_string()))
                .bind(parent.id.to_string())
                .bind(mode)
                .bind(clean(&new.title))
                .bind(TitleSource::Generated.as_str())
                .bind(now_ms)
                .bind(parent.family_root().to_string())
                .bind(parent.depth + 1)
                .bind(new.agent_type.as_str())
                .bind(op_id.to_string())
                .bind(new.budget.as_ref().map(json))
                .fetch_one(conn)
                .await?;
            ChatRow::read(&row)?
        });
        let mut agent = Held::born(self.tx, base, chat, now_ms);
        agent.apply(Event::Create(message), None).await?;
        agent.save().await?;
        Ok(agent.chat)
    }
}
