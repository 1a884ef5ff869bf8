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

use serde_json::{Value, json};
use shared::ids::{ChatId, ModelId, OpId};

use super::ChatStore;
use super::asked::ToolStored;
use super::family::descendants;
use super::guard::{Held, chat_columns};
use super::rows::{ChatRow, TitleSource, WorkerFence};
use crate::chat::content::{Effort, Part, StoredPart};
use crate::chat::event::ChatStatus;
use crate::chat::family::{
    AgentType, Budget, DEPTH_MAX, FAMILY_MAX, FAMILY_WORKING_MAX, Outcome, Report, WORKING_MAX,
};
use crate::chat::machine::{
    Awaited, Busy, Event, ExecutionState, Refusal, ToolAnswer, UserMessage,
};
use crate::store::Base;
use crate::store::db::{Tx, in_write_tx, on_pool};
use crate::store::error::StoreError;
use crate::store::row::Reader;
use crate::store::text::{clean, json};

/// Agents in one list.
const LIST_MAX: i64 = 50;

// Changes nothing: it takes the row, on both databases.
const HOLD: &str = "UPDATE chats SET snapshot_version = snapshot_version WHERE id = $1";
const HOLD_PARENT: &str = "UPDATE chats SET snapshot_version = snapshot_version \
     WHERE id = (SELECT agent.parent_id FROM chats AS agent WHERE agent.id = $1)";
const INSERT_AGENT: &str = concat!(
    "INSERT INTO chats (id, owner_id, workspace_id, parent_id, mode, title, title_source, status, \
     archived, snapshot_version, history_version, queue_version, attempt, epoch, steps_in_turn, \
     queue_length, steered_length, unanswered, last_seq, created_at_ms, updated_at_ms, root_id, \
     depth, agent_type, spawned_by, reports, budget) VALUES ($1, $2, $3, $4, $5, $6, $7, \
     'running', FALSE, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, $8, $8, $9, $10, $11, $12, TRUE, $13) \
     RETURNING ",
    chat_columns!()
);
const COUNT: &str = "SELECT COUNT(*), \
     CAST(COALESCE(SUM(CASE WHEN status IN ('running', 'interrupting', 'requires_action') \
     THEN 1 ELSE 0 END), 0) AS BIGINT), \
     CAST(COALESCE(SUM(CASE WHEN parent_id = $2 \
     AND status IN ('running', 'interrupting', 'requires_action') \
     THEN 1 ELSE 0 END), 0) AS BIGINT) FROM chats WHERE root_id = $1";
const AGENTS: &str = concat!(
    "SELECT ",
    chat_columns!(),
    " FROM chats WHERE parent_id = $1 ORDER BY id DESC LIMIT $2"
);
const HEAD: &str = concat!("SELECT ", chat_columns!(), " FROM chats WHERE id = $1");
const WAIT_FOR: &str = "INSERT INTO agent_waits (op_id, agent_id) VALUES ($1, $2)";
const WAITED: &str = concat!(
    "SELECT ",
    chat_columns!(),
    " FROM chats WHERE id IN (SELECT agent_id FROM agent_waits WHERE op_id = $1) ORDER BY id"
);
const WAITING_CALLS: &str = "SELECT op_id FROM operations \
     WHERE chat_id = $2 AND sealed = FALSE AND state = 'intended' AND gate = 'agents' \
     AND op_id IN (SELECT op_id FROM agent_waits WHERE agent_id = $1) ORDER BY op_id";
const FORGET_WAITS: &str = "DELETE FROM agent_waits WHERE agent_id = $1 AND op_id IN ( \
     SELECT op_id FROM operations WHERE state = 'done' OR sealed = TRUE)";
const LAST_SAID: &str = "SELECT content FROM messages \
     WHERE chat_id = $1 AND role = 'assistant' AND removed = FALSE ORDER BY seq DESC LIMIT 4";

pub(super) const STATEMENTS: &[&str] = &[
    HOLD,
    HOLD_PARENT,
    INSERT_AGENT,
    COUNT,
    AGENTS,
    HEAD,
    WAIT_FOR,
    WAITED,
    WAITING_CALLS,
    FORGET_WAITS,
    LAST_SAID,
];

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

/// Stops every agent below a chat that works. Their parents know: nothing is told upwards.
pub(super) async fn stop_descendants(
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

impl Held<'_> {
    /// Notes what became of an agent whose work is over, before its row is saved. Whether its
    /// parent is to be told although no call waits; none: it is no agent, or it works on.
    pub(super) fn comes_to_rest(&mut self, outcome: Outcome) -> Option<bool> {
        let facts_rest = !self.state().is_runnable() && !self.state().is_awaiting();
        if self.chat.parent_id.is_none() || !facts_rest {
            return None;
        }
        self.chat.outcome = Some(outcome);
        Some(std::mem::take(&mut self.chat.reports))
    }

    /// Tells the parent what became of this agent, whose row is saved: every call that waits for it
    /// and for nobody else any more has its answer. The parent, if it changed.
    pub(super) async fn come_home(
        &mut self,
        due: Option<bool>,
    ) -> Result<Option<ChatRow>, StoreError> {
        let (Some(reports), Some(parent_id)) = (due, self.chat.parent_id) else { return Ok(None) };
        let agent = self.chat.id;
        let calls: Vec<OpId> = on_pool!(self.tx.conn(), |conn| {
            let rows = sqlx::query(WAITING_CALLS)
                .bind(agent.to_string())
                .bind(parent_id.to_string())
                .fetch_all(conn)
                .await?;
            rows.iter()
                .map(|row| Reader::of(row, "operations", "op_id").parsed("op_id"))
                .collect::<Result<_, StoreError>>()?
        });
        let is_awaited = !calls.is_empty();
        let mut due = Vec::new();
        for call in calls {
            if !waited(self.tx, call).await?.iter().any(ChatRow::is_working) {
                due.push(call);
            }
        }
        if due.is_empty() && (is_awaited || !reports) {
            return Ok(None);
        }
        // Nobody is told in an archive, nor where the columns contradict each other.
        let stands =
            head(self.tx, parent_id).await?.map(|parent| (parent.archived, parent.state()));
        if stands.is_none_or(|(archived, state)| archived || state == ExecutionState::Invalid) {
            return Ok(None);
        }
        let report = if due.is_empty() { Some(report(self.tx, &self.chat).await?) } else { None };
        let mut parent = Held::take(self.tx, self.base, parent_id).await?;
        let mut events = Vec::new();
        for call in due {
            let answer = parent.answer_of_agents(call, false).await?;
            events.push(Event::Answer { answer, found: Awaited::Waiting });
        }
        events.extend(report.map(|report| {
            let content = vec![report.part().into()];
            Event::Report(UserMessage { content, model_id: None, effort: None })
        }));
        for event in events {
            let answers = matches!(event, Event::Answer { .. });
            match parent.apply(event, None).await {
                Ok(()) if answers => {
                    parent.chat.awaited_agents = (parent.chat.awaited_agents - 1).max(0);
                }
                // It is being stopped, or archived, or was: it needs to know no more.
                Ok(()) | Err(StoreError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        parent.save().await?;
        let parent = parent.chat;
        on_pool!(self.tx.conn(), |conn| {
            sqlx::query(FORGET_WAITS).bind(agent.to_string()).execute(conn).await?;
        });
        Ok(Some(parent))
    }

    /// The answer of a call that waits for agents, as they stand now.
    pub(super) async fn answer_of_agents(
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

    /// Lets a call wait, if it is open. Before anything else is written for it.
    async fn wait(&mut self, op_id: OpId) -> Result<(), StoreError> {
        let found = self.asked(op_id).await?;
        self.apply(Event::Wait { op_id, found }, None).await
    }

    /// Notes for whom a call waits.
    async fn wait_for(&mut self, op_id: OpId, agents: &[ChatId]) -> Result<(), StoreError> {
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

async fn waited(tx: &mut Tx, op_id: OpId) -> Result<Vec<ChatRow>, StoreError> {
    on_pool!(tx.conn(), |conn| {
        let rows = sqlx::query(WAITED).bind(op_id.to_string()).fetch_all(conn).await?;
        rows.iter().map(ChatRow::read).collect()
    })
}

/// What became of an agent so far.
async fn report(tx: &mut Tx, agent: &ChatRow) -> Result<Report, StoreError> {
    let said: Vec<Vec<StoredPart>> = on_pool!(tx.conn(), |conn| {
        let rows = sqlx::query(LAST_SAID).bind(agent.id.to_string()).fetch_all(conn).await?;
        rows.iter()
            .map(|row| Reader::of(row, "messages", "content").json("content"))
            .collect::<Result<_, StoreError>>()?
    });
    let texts = |content: &Vec<StoredPart>| {
        let texts = content.iter().filter_map(|stored| match &stored.part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<&str>>().join("\n\n")
    };
    let text = said.iter().map(texts).find(|text| !text.trim().is_empty()).unwrap_or_default();
    let works = agent.is_working();
    Ok(Report {
        agent_id: agent.id,
        title: agent.title.clone(),
        outcome: agent.outcome.filter(|_| !works),
        text,
        error: agent.last_error.clone().filter(|_| agent.status == ChatStatus::Error),
        tokens: agent.total_tokens,
    })
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

async fn of_chat(tx: &mut Tx, id: ChatId, limit: i64) -> Result<Vec<ChatRow>, StoreError> {
    on_pool!(tx.conn(), |conn| {
        let rows = sqlx::query(AGENTS).bind(id.to_string()).bind(limit).fetch_all(conn).await?;
        rows.iter().map(ChatRow::read).collect()
    })
}

fn not_taken(refusal: Refusal) -> Bad {
    Bad(refusal.code(), format!("The agent does not take the message: {refusal}."))
}
