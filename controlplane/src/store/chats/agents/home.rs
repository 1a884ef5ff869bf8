//! The way home: what became of an agent reaches its parent once.

use shared::ids::OpId;

use super::head;
use super::wait::waited;
use crate::chat::content::{Part, StoredPart};
use crate::chat::event::ChatStatus;
use crate::chat::family::{Outcome, Report};
use crate::chat::machine::{Awaited, Event, ExecutionState, UserMessage};
use crate::store::chats::guard::Held;
use crate::store::chats::rows::ChatRow;
use crate::store::db::{Tx, on_pool};
use crate::store::error::StoreError;
use crate::store::row::Reader;

pub(super) const WAITING_CALLS: &str = "SELECT op_id FROM operations \
     WHERE chat_id = $2 AND sealed = FALSE AND state = 'intended' AND gate = 'agents' \
     AND op_id IN (SELECT op_id FROM agent_waits WHERE agent_id = $1) ORDER BY op_id";
pub(super) const FORGET_WAITS: &str = "DELETE FROM agent_waits WHERE agent_id = $1 AND op_id IN ( \
     SELECT op_id FROM operations WHERE state = 'done' OR sealed = TRUE)";
pub(super) const LAST_SAID: &str = "SELECT content FROM messages \
     WHERE chat_id = $1 AND role = 'assistant' AND removed = FALSE ORDER BY seq DESC LIMIT 4";

impl Held<'_> {
    /// Notes what became of an agent whose work is over, before its row is saved. Whether its
    /// parent is to be told although no call waits; none: it is no agent, or it works on.
    pub(in crate::store::chats) fn comes_to_rest(&mut self, outcome: Outcome) -> Option<bool> {
        let facts_rest = !self.state().is_runnable() && !self.state().is_awaiting();
        if self.chat.parent_id.is_none() || !facts_rest {
            return None;
        }
        self.chat.outcome = Some(outcome);
        Some(std::mem::take(&mut self.chat.reports))
    }

    /// Tells the parent what became of this agent, whose row is saved: every call that waits for it
    /// and for nobody else any more has its answer. The parent, if it changed.
    pub(in crate::store::chats) async fn come_home(
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
}

/// What became of an agent so far.
pub(super) async fn report(tx: &mut Tx, agent: &ChatRow) -> Result<Report, StoreError> {
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
