//! Calls about agents: commits of the chat itself, one after the other, in no task of their own.
//!
//! ```text
//! spawn_agent ─► agent begun + call answered (background) or call waits   one commit each; what was
//! wait_agent  ─► call waits, or is answered at once                       not committed runs again,
//! message_agent, interrupt_agent ─► agent changed + call answered         what was, never does
//! ```
//!
//! A call that waits keeps nobody busy: when all open calls wait, the chat is free, and the commit
//! that brings the last agent to rest gives it work again.

use serde_json::{Value, json};
use shared::ids::ChatId;
use std::time::Duration;

use super::{Leave, Runner};
use crate::chat::content::Effort;
use crate::chat::family::{AgentType, Budget};
use crate::chat::hub::EpisodeWriter;
use crate::chat::machine::{Busy, ToolAnswer, UserMessage};
use crate::chat::title;
use crate::llm::ToolSpec;
use crate::store::chats::{AgentStep, ChatRow, NewAgent, OperationRow};
use crate::tools::{ToolOutcome, agents};

/// A call about agents, checked.
enum Wish {
    Spawn(Box<NewAgent>),
    Wait {
        agents: Vec<ChatId>,
        timeout_ms: Option<i64>,
    },
    Message {
        agent: ChatId,
        message: Box<UserMessage>,
        busy: Busy,
    },
    Interrupt(ChatId),
    /// It is answered without a change.
    Told(ToolOutcome),
}

impl Runner {
    /// The tools by which this chat begins agents; those of an agent that cannot are none.
    pub(super) fn agent_specs(&self) -> Vec<ToolSpec> {
        let chat = &self.chat;
        let may = chat.workspace_id.is_some()
            && chat.agent_type != Some(AgentType::Explore)
            && chat.depth < crate::chat::family::DEPTH_MAX;
        if may { self.shared.agents.specs().collect() } else { Vec::new() }
    }

    /// Carries out one call about agents. False: the chat moved on.
    pub(super) async fn run_agent_call(
        &mut self,
        row: &OperationRow,
        writer: &EpisodeWriter,
    ) -> Result<bool, Leave> {
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let op = row.op_id;
        let written = match self.wish(row).await {
            Wish::Told(outcome) => {
                return self.store_answer(row, outcome, Duration::ZERO, writer).await;
            }
            Wish::Spawn(new) => self.write(|| store.spawn_agent(id, &fence, op, &new)).await?,
            Wish::Wait { agents, timeout_ms } => {
                self.write(|| store.wait_for_agents(id, &fence, op, &agents, timeout_ms)).await?
            }
            Wish::Message { agent, message, busy } => {
                self.write(|| store.message_agent(id, &fence, op, (agent, &message, busy))).await?
            }
            Wish::Interrupt(agent) => {
                self.write(|| store.interrupt_agent(id, &fence, op, agent)).await?
            }
        };
        let Some(AgentStep { stored, answer, touched }) = written else { return Ok(false) };
        shared::fault::point("f1 agents committed");
        for agent in &touched {
            self.tell_agent(agent);
        }
        if let Some(answer) = &answer {
            let outcome = outcome_of(answer);
            self.trace_tool_over(row, &outcome, (Duration::ZERO, Duration::ZERO));
        }
        self.took(row, stored, answer, writer);
        if touched.iter().any(|agent| agent.id == self.id) {
            // It was told of an agent that came to rest at once.
            self.look_again().await?;
            self.operations = None;
        }
        Ok(true)
    }

    /// An agent or a parent of this chat changed: its viewers may look, and somebody may take it.
    pub(super) fn tell_agent(&self, agent: &ChatRow) {
        let hints = &self.shared.hints;
        hints.chat_changed(agent.id);
        hints.chat_asked(agent.id);
        hints.list_changed(agent.owner_id, agent.id);
        if agent.worker_id.is_none() && agent.state().is_runnable() {
            hints.runnable();
        }
    }

    async fn wish(&self, row: &OperationRow) -> Wish {
        if self.agent_specs().is_empty() {
            let text = "This chat has no agents: do the work yourself.";
            return Wish::Told(ToolOutcome::error("unknown_tool", text));
        }
        if let Some(problem) = self.shared.agents.problem(&row.tool, &row.args) {
            return Wish::Told(problem);
        }
        let args = &row.args;
        match row.tool.as_str() {
            agents::SPAWN => self.spawn_wish(args).await,
            agents::WAIT => {
                let named = args["agent_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
                match named.iter().map(agent_of).collect::<Result<Vec<_>, _>>() {
                    Ok(agents) => {
                        let timeout_ms =
                            args["timeout_s"].as_i64().map(|s| s.saturating_mul(1_000));
                        Wish::Wait { agents, timeout_ms }
                    }
                    Err(outcome) => Wish::Told(outcome),
                }
            }
            agents::MESSAGE => match agent_of(&args["agent_id"]) {
                Ok(agent) => {
                    let text = args["message"].as_str().unwrap_or_default().to_owned();
                    let content = vec![crate::chat::content::Part::Text { text }.into()];
                    let message = Box::new(UserMessage { content, model_id: None, effort: None });
                    let interrupt = args["interrupt"].as_bool().unwrap_or(false);
                    let busy = if interrupt { Busy::Interrupt } else { Busy::Steer };
                    Wish::Message { agent, message, busy }
                }
                Err(outcome) => Wish::Told(outcome),
            },
            agents::INTERRUPT => match agent_of(&args["agent_id"]) {
                Ok(agent) => Wish::Interrupt(agent),
                Err(outcome) => Wish::Told(outcome),
            },
            _ => Wish::Told(self.listed().await),
        }
    }

    async fn spawn_wish(&self, args: &Value) -> Wish {
        let prompt = args["prompt"].as_str().unwrap_or_default().to_owned();
        let mut model_id = None;
        if let Some(name) = args["model"].as_str() {
            match self.shared.models.find(name).await {
                Ok(found) => model_id = Some(found),
                Err(known) => {
                    let text =
                        format!("There is no model `{name}`. There are: {}.", known.join(", "));
                    return Wish::Told(ToolOutcome::error("model_not_found", text));
                }
            }
        }
        let number = |field: &str| args["budget"][field].as_u64();
        let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let budget = Budget {
            steps: number("steps").map(short),
            time_s: number("time_s").map(short),
            tokens: number("tokens"),
            cost_micros: None,
        };
        let title = args["title"].as_str().map(str::to_owned);
        Wish::Spawn(Box::new(NewAgent {
            agent_type: args["type"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or(AgentType::Explore),
            title: title.unwrap_or_else(|| title::from_first_words_of(&prompt)),
            prompt,
            model_id,
            effort: args["effort"].as_str().and_then(|text| text.parse::<Effort>().ok()),
            budget: Some(budget).filter(|budget| !budget.is_empty()),
            waits: !args["background"].as_bool().unwrap_or(false),
        }))
    }

    async fn listed(&self) -> ToolOutcome {
        match self.shared.store.agents(self.id).await {
            Ok(agents) => {
                let shown = |agent: &ChatRow| {
                    let status = match (agent.is_working(), agent.outcome) {
                        (false, Some(outcome)) => outcome.as_str(),
                        _ => "working",
                    };
                    json!({ "agent_id": agent.id, "title": agent.title, "status": status,
                        "type": agent.agent_type, "tokens": agent.total_tokens })
                };
                ToolOutcome::ok(json!({ "agents": agents.iter().map(shown).collect::<Vec<_>>() }))
            }
            Err(error) => {
                tracing::warn!(chat.id = %self.id, error = &error as &dyn std::error::Error,
                    "a chat's agents cannot be listed");
                ToolOutcome::error("unavailable", "The agents cannot be listed now; try again.")
            }
        }
    }
}

fn agent_of(value: &Value) -> Result<ChatId, ToolOutcome> {
    let text = value.as_str().unwrap_or_default();
    text.parse().map_err(|_| {
        let text = "An agent's id looks like chat_… and is in the answer of spawn_agent.";
        ToolOutcome::error("agent_not_found", text)
    })
}

fn outcome_of(answer: &ToolAnswer) -> ToolOutcome {
    ToolOutcome {
        result: answer.result.clone(),
        is_error: answer.is_error,
        process_ids: Vec::new(),
    }
}
