//! Agents that run: listed, spoken to, stopped.

use serde_json::json;
use shared::ids::{ChatId, OpId};

use super::home::report;
use super::{AgentStep, Bad, head};
use crate::chat::family::Outcome;
use crate::chat::machine::{Busy, Event, Refusal, UserMessage};
use crate::store::Base;
use crate::store::chats::ChatStore;
use crate::store::chats::family::descendants;
use crate::store::chats::guard::{Held, chat_columns};
use crate::store::chats::rows::{ChatRow, WorkerFence};
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;

/// Agents in one list.
pub(super) const LIST_MAX: i64 = 50;

pub(super) const AGENTS: &str = concat!(
    "SELECT ",
    chat_columns!(),
    " FROM chats WHERE parent_id = $1 ORDER BY id DESC LIMIT $2"
);

impl ChatStore {
    /// Says something to an agent of a chat, for one of its calls, which is answered in the same
    /// commit.
    pub async fn message_agent(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        op_id: OpId,
        (agent, message, busy): (ChatId, &UserMessage, Busy),
    ) -> Result<AgentStep, StoreError> {
        shared::fault::point("f0 message");
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            let (told, touched) = match held.own_agent(agent).await? {
                Err(bad) => (Err(bad), vec![]),
                Ok(_) => {
                    let mut agent = Held::take(held.tx, held.base, agent).await?;
                    let event = Event::Send { message: message.clone(), busy };
                    match agent.apply(event, None).await {
                        Ok(()) => {
                            agent.chat.reports = true;
                            agent.save().await?;
                            let queued = agent.written.queued.is_some();
                            let delivery = if queued { "queued" } else { "now" };
                            let told = json!({ "agent_id": agent.chat.id, "status": "working",
                                "delivered": delivery });
                            (Ok(told), vec![agent.chat])
                        }
                        Err(StoreError::Refused(refusal)) => (Err(not_taken(refusal)), vec![]),
                        Err(error) => Err(error)?,
                    }
                }
            };
            held.tell(fence, op_id, told, touched).await?
        })
    }

    /// Stops an agent of a chat and all below it, for one of its calls, which is answered in the
    /// same commit. Who waits for the agent is answered when it has stopped.
    pub async fn interrupt_agent(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        op_id: OpId,
        agent: ChatId,
    ) -> Result<AgentStep, StoreError> {
        shared::fault::point("f0 interrupt");
        in_write_tx!(&self.base.db, |tx| {
            let mut held = Held::take_fenced(tx, &self.base, id, fence).await?;
            match held.own_agent(agent).await? {
                Err(bad) => held.tell(fence, op_id, Err(bad), vec![]).await?,
                Ok(agent) if !agent.is_working() => {
                    let told = report(held.tx, &agent).await?.json();
                    held.tell(fence, op_id, Ok(told), vec![]).await?
                }
                Ok(_) => {
                    let told = json!({ "agent_id": agent, "status": "interrupting" });
                    let step = held.tell(fence, op_id, Ok(told), vec![]).await?;
                    let mut touched = stop_one(tx, &self.base, agent).await?;
                    touched.extend(stop_descendants(tx, &self.base, agent).await?);
                    AgentStep { touched, ..step }
                }
            }
        })
    }

    /// The agents that a chat began, newest first, with what became of each.
    pub async fn agents(&self, id: ChatId) -> Result<Vec<ChatRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows =
                sqlx::query(AGENTS).bind(id.to_string()).bind(LIST_MAX).fetch_all(pool).await?;
            rows.iter().map(ChatRow::read).collect()
        })
    }
}

/// Stops every agent below a chat that works. Their parents know: nothing is told upwards.
pub(in crate::store::chats) async fn stop_descendants(
    tx: &mut Tx,
    base: &Base,
    id: ChatId,
) -> Result<Vec<ChatRow>, StoreError> {
    let mut stopped = Vec::new();
    for id in descendants(tx, id).await? {
        // Those that rest keep their rows as they are.
        if !head(tx, id).await?.is_some_and(|agent| agent.is_working()) {
            continue;
        }
        let mut agent = Held::take(tx, base, id).await?;
        agent.chat.reports = false;
        match agent.apply(Event::Interrupt, None).await {
            Ok(()) => {}
            Err(StoreError::Refused(_)) => continue,
            Err(error) => return Err(error),
        }
        let due = agent.comes_to_rest(Outcome::Interrupted);
        agent.save().await?;
        agent.come_home(due).await?;
        stopped.push(agent.chat);
    }
    Ok(stopped)
}

/// Stops one agent on behalf of its parent, which has to be told nothing.
async fn stop_one(tx: &mut Tx, base: &Base, id: ChatId) -> Result<Vec<ChatRow>, StoreError> {
    let mut agent = Held::take(tx, base, id).await?;
    agent.chat.reports = false;
    agent.apply(Event::Interrupt, None).await?;
    let due = agent.comes_to_rest(Outcome::Interrupted);
    agent.save().await?;
    let parent = agent.come_home(due).await?;
    Ok([Some(agent.chat), parent].into_iter().flatten().collect())
}

pub(super) async fn of_chat(
    tx: &mut Tx,
    id: ChatId,
    limit: i64,
) -> Result<Vec<ChatRow>, StoreError> {
    on_pool!(tx.conn(), |conn| {
        let rows = sqlx::query(AGENTS).bind(id.to_string()).bind(limit).fetch_all(conn).await?;
        rows.iter().map(ChatRow::read).collect()
    })
}

fn not_taken(refusal: Refusal) -> Bad {
    Bad(refusal.code(), format!("The agent does not take the message: {refusal}."))
}
