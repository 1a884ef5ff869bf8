//! The chat's own row, and who owns it.

use std::str::FromStr;

use shared::ids::{ChatId, MessageId, ModelId, OpId, ReplicaId, RunnerId, UserId, WorkspaceId};

use crate::chat::content::{ClientTool, Effort, Plan};
use crate::chat::event::{ChatErrorView, ChatHead, ChatStatus, FamilyHead};
use crate::chat::family::{AgentType, Budget, Outcome};
use crate::chat::machine::{ExecutionState, Facts, FallbackState, RetryState};
use crate::store::error::StoreError;
use crate::store::row::{Columns, Reader};
use crate::text_enum::text_enum;
use crate::time::Timestamp;

text_enum! {
    /// Who chose a chat's title.
    TitleSource {
        /// The user wrote it.
        User = "user",
        /// A model wrote it.
        Generated = "generated",
        /// The first words of the first message.
        FirstWords = "first_words",
    }
}

impl TitleSource {
    /// Smaller is better: a later title replaces one of the same or a worse source.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::User => 0,
            Self::Generated => 1,
            Self::FirstWords => 2,
        }
    }
}

/// One chat: the row that guards everything that belongs to it.
#[derive(Clone, Debug)]
pub struct ChatRow {
    /// Its id.
    pub id: ChatId,
    /// Whose it is.
    pub owner_id: UserId,
    /// The workspace; none: no tools.
    pub workspace_id: Option<WorkspaceId>,
    /// The chat that started it.
    pub parent_id: Option<ChatId>,
    /// The model; none: the default one.
    pub model_id: Option<ModelId>,
    /// `ask`, `plan`, `edit` or `auto`.
    pub mode: String,
    /// Empty until the first message.
    pub title: String,
    /// Who chose the title.
    pub title_source: TitleSource,
    /// 2 to 5 words on the newest turn that has a label.
    pub label: Option<String>,
    /// Its status.
    pub status: ChatStatus,
    /// Whether it is archived.
    pub archived: bool,
    /// Raised by one with each transaction that touches the chat.
    pub snapshot_version: i64,
    /// The `snapshot_version` of the last change of the messages.
    pub history_version: i64,
    /// The `snapshot_version` of the last change of the queue.
    pub queue_version: i64,
    /// Model calls begun since the history last changed.
    pub attempt: i64,
    /// Why and how long the worker waits before the next attempt.
    pub retry: Option<RetryState>,
    /// Who is asked for the rest of the turn in place of the model, and why.
    pub fallback: Option<FallbackState>,
    /// Who is asked where the model cannot answer; none: whom the model's settings name.
    pub fallback_model_id: Option<ModelId>,
    /// Why the chat stopped; only in the error state.
    pub last_error: Option<ChatErrorView>,
    /// The replica that drives it.
    pub worker_id: Option<ReplicaId>,
    /// The acquisition under which it does.
    pub runner_id: Option<RunnerId>,
    /// Raised by each acquisition; the fence of every operation.
    pub epoch: i64,
    /// Model calls committed since the last user message.
    pub steps_in_turn: i64,
    /// Rows in `queued_messages`.
    pub queue_length: i64,
    /// Those of them that steer.
    pub steered_length: i64,
    /// Operations of the open batch without an answer.
    pub unanswered: i64,
    /// Those of them that wait for a person or a client.
    pub awaited: i64,
    /// How hard the model thinks; none: as its settings say.
    pub effort: Option<Effort>,
    /// The plan that the user approved, with its ticks.
    pub plan: Option<Plan>,
    /// Tools that the client declared and runs.
    pub client_tools: Vec<ClientTool>,
    /// The newest message of the branch that is shown.
    pub leaf_id: Option<MessageId>,
    /// The chat of which this one was a copy.
    pub forked_from: Option<ChatId>,
    /// The `seq` of the newest message.
    pub last_seq: i64,
    /// Unix milliseconds since when it has work and no worker; none: it has one, or none.
    pub runnable_since_ms: Option<i64>,
    /// Its place among those that wait for another to end, from 1, where it was looked up.
    pub queue_position: Option<u32>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub updated_at_ms: i64,
    /// The chat from which its family descends; none: itself.
    pub root_id: Option<ChatId>,
    /// How many chats stand above it.
    pub depth: i64,
    /// What it is for; none: it is nobody's agent.
    pub agent_type: Option<AgentType>,
    /// The call that began it.
    pub spawned_by: Option<OpId>,
    /// Whether its parent is to be told when it comes to rest.
    pub reports: bool,
    /// What became of its last work, if it is an agent.
    pub outcome: Option<Outcome>,
    /// Calls of the open batch that wait for agents; they are among the awaited ones.
    pub awaited_agents: i64,
    /// How much it may use until somebody lets it go on.
    pub budget: Option<Budget>,
    /// Milliseconds that workers worked on it since somebody last let it go on.
    pub worked_ms: i64,
    /// Tokens of all its model calls.
    pub total_tokens: i64,
    /// Their cost, in millionths, as far as it is known.
    pub total_cost_micros: i64,
    /// Tokens of the chat and all below it when somebody last let it go on.
    pub granted_tokens: i64,
    /// Their cost then.
    pub granted_cost_micros: i64,
    /// The `snapshot_version` of the last label of a message; labels are no change of the history.
    pub labelled_version: i64,
}

impl ChatRow {
    /// Whether it has work, or waits for something that gives it work.
    #[must_use]
    pub fn is_working(&self) -> bool {
        !matches!(self.status, ChatStatus::Waiting | ChatStatus::Error)
    }

    /// The mode as tools know it: an agent that explores is narrower than any mode of people.
    #[must_use]
    pub fn tool_mode(&self) -> &str {
        match self.agent_type {
            Some(AgentType::Explore) => "explore",
            Some(AgentType::General) | None => &self.mode,
        }
    }

    /// The `snapshot_version` of the last change of a message as people see it.
    #[must_use]
    pub fn messages_changed(&self) -> i64 {
        self.history_version.max(self.labelled_version)
    }

    /// The chat from which its family descends.
    #[must_use]
    pub fn family_root(&self) -> ChatId {
        self.root_id.unwrap_or(self.id)
    }

    /// Whether it waits, and for agents alone: no person is needed.
    #[must_use]
    pub fn waits_for_agents(&self) -> bool {
        self.status == ChatStatus::RequiresAction && self.awaited_agents >= self.awaited
    }

    /// What the machine has to know.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let count = |number: i64| u32::try_from(number).unwrap_or(0);
        Facts {
            status: self.status,
            archived: self.archived,
            queue: count(self.queue_length),
            steered: count(self.steered_length),
            unanswered: count(self.unanswered),
            awaited: count(self.awaited),
            owned: self.worker_id.is_some(),
            retrying: self.retry.is_some(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> ExecutionState {
        ExecutionState::of(&self.facts())
    }

    /// The fence of the worker that owns it now; none: nobody does.
    #[must_use]
    pub fn fence(&self) -> Option<WorkerFence> {
        Some(WorkerFence {
            worker_id: self.worker_id?,
            runner_id: self.runner_id?,
            epoch: self.epoch,
            history_version: self.history_version,
            attempt: self.attempt,
        })
    }

    /// As lists show it.
    #[must_use]
    pub fn head(&self) -> ChatHead {
        ChatHead {
            id: self.id,
            title: self.title.clone(),
            label: self.label.clone(),
            mode: self.mode.clone(),
            model_id: self.model_id,
            fallback_model_id: self.fallback_model_id,
            effort: self.effort,
            plan: self.plan.clone().map(Box::new),
            workspace_id: self.workspace_id,
            status: self.status,
            archived: self.archived,
            queue_position: self.queue_position,
            snapshot_version: self.snapshot_version,
            created_at: Timestamp(self.created_at_ms),
            updated_at: Timestamp(self.updated_at_ms),
            family: FamilyHead {
                parent_id: self.parent_id,
                agent_type: self.agent_type,
                outcome: self.outcome,
                waits_for_agents: self.waits_for_agents(),
                tokens: self.total_tokens,
                cost_micros: self.total_cost_micros,
                budget: self.budget,
            },
        }
    }

    pub(super) fn read<R: Columns>(row: &R) -> Result<Self, StoreError> {
        let row = Reader::of(row, "chats", "id");
        Ok(Self {
            id: row.parsed("id")?,
            owner_id: row.parsed("owner_id")?,
            workspace_id: row.parsed_or_null("workspace_id")?,
            parent_id: row.parsed_or_null("parent_id")?,
            model_id: row.parsed_or_null("model_id")?,
            mode: row.text("mode")?,
            title: row.text("title")?,
            title_source: row.parsed("title_source")?,
            label: row.text_or_null("label")?,
            status: row.parsed("status")?,
            archived: row.bool("archived")?,
            snapshot_version: row.int("snapshot_version")?,
            history_version: row.int("history_version")?,
            queue_version: row.int("queue_version")?,
            attempt: row.int("attempt")?,
            retry: row.json_or_null("retry_state")?,
            fallback: row.json_or_null("fallback")?,
            fallback_model_id: row.parsed_or_null("fallback_model_id")?,
            last_error: row.json_or_null("last_error")?,
            worker_id: row.parsed_or_null("worker_id")?,
            runner_id: row.parsed_or_null("runner_id")?,
            epoch: row.int("epoch")?,
            steps_in_turn: row.int("steps_in_turn")?,
            queue_length: row.int("queue_length")?,
            steered_length: row.int("steered_length")?,
            unanswered: row.int("unanswered")?,
            awaited: row.int("awaited")?,
            effort: row.parsed_or_null("effort")?,
            plan: row.json_or_null("plan")?,
            client_tools: row.json_or_null("client_tools")?.unwrap_or_default(),
            leaf_id: row.parsed_or_null("leaf_id")?,
            forked_from: row.parsed_or_null("forked_from")?,
            last_seq: row.int("last_seq")?,
            runnable_since_ms: row.int_or_null("runnable_since_ms")?,
            queue_position: None,
            created_at_ms: row.int("created_at_ms")?,
            updated_at_ms: row.int("updated_at_ms")?,
            root_id: row.parsed_or_null("root_id")?,
            depth: row.int("depth")?,
            agent_type: row.parsed_or_null("agent_type")?,
            spawned_by: row.parsed_or_null("spawned_by")?,
            reports: row.bool("reports")?,
            outcome: row.parsed_or_null("outcome")?,
            awaited_agents: row.int("awaited_agents")?,
            budget: row.json_or_null("budget")?,
            worked_ms: row.int("worked_ms")?,
            total_tokens: row.int("total_tokens")?,
            total_cost_micros: row.int("total_cost_micros")?,
            granted_tokens: row.int("granted_tokens")?,
            granted_cost_micros: row.int("granted_cost_micros")?,
            labelled_version: row.int("labelled_version")?,
        })
    }
}

/// Proof of ownership that every write of a worker carries. A write whose fence no longer fits the
/// row touches nothing and is [`StoreError::Fenced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerFence {
    /// The replica.
    pub worker_id: ReplicaId,
    /// The acquisition.
    pub runner_id: RunnerId,
    /// Of the acquisition.
    pub epoch: i64,
    /// The history the worker has read.
    pub history_version: i64,
    /// The attempt the worker is in.
    pub attempt: i64,
}

impl WorkerFence {
    /// The fence of the next write after a commit under this one. Of no use if the commit gave the
    /// chat back.
    pub(super) const fn moved_to(&self, chat: &ChatRow) -> Self {
        Self { history_version: chat.history_version, attempt: chat.attempt, ..*self }
    }
}

/// A chat that a worker has taken.
#[derive(Clone, Debug)]
pub struct Acquired {
    /// The chat as it is now. [`ChatRow::fence`] is the fence of the first write.
    pub chat: ChatRow,
    /// The fence of the first write.
    pub fence: WorkerFence,
    /// Whether a model call is next and its attempt is recorded already.
    pub attempt_begun: bool,
}

impl FromStr for ChatStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "waiting" => Ok(Self::Waiting),
            "running" => Ok(Self::Running),
            "interrupting" => Ok(Self::Interrupting),
            "requires_action" => Ok(Self::RequiresAction),
            "error" => Ok(Self::Error),
            _ => Err(()),
        }
    }
}
