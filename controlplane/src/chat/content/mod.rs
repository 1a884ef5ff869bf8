//! What a message holds: a role and parts.
//!
//! The same JSON is stored, sent to clients and shown by the API. What only a provider understands
//! (signed thinking, server-tool blocks) is kept beside the part as `raw`, byte for byte, so that
//! it can go back unchanged; `raw` never leaves the server except towards that provider.

pub mod kind;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::ids::{AttachmentId, ChatId};
use utoipa::ToSchema;

use super::family::Outcome;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A person, or a program that speaks for one.
    User,
    /// The model.
    Assistant,
    /// Results of tools, sealed as one batch per step.
    Tool,
}

impl Role {
    /// The text in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Prose, in Markdown.
    Text {
        /// Never empty in a stored message.
        text: String,
    },
    /// The model's thinking, as far as the provider shows it.
    Reasoning {
        /// May be empty where the provider shows only a signature.
        text: String,
    },
    /// A file that somebody attached. Its bytes are not here.
    File {
        /// Which, and what is known of it.
        #[serde(flatten)]
        file: FileRef,
    },
    /// The model asks for a tool.
    ToolCall {
        /// As the provider names it; unique within the chat.
        tool_call_id: String,
        /// The tool's name.
        name: String,
        /// Its arguments: an object, or the text as it came where it is not valid JSON.
        #[schema(value_type = Object)]
        args: serde_json::Value,
    },
    /// What the tool answered.
    ToolResult {
        /// Of the call.
        tool_call_id: String,
        /// The tool's name.
        name: String,
        /// JSON for people and programs; the model sees it as text.
        #[schema(value_type = Object)]
        result: serde_json::Value,
        /// Whether the tool says that it went wrong.
        #[serde(default)]
        is_error: bool,
        /// From dispatch to answer, in milliseconds.
        #[serde(default)]
        duration_ms: u64,
    },
    /// A remark of the system in the place where it happened, such as "interrupted".
    Notice {
        /// Stable: `interrupted`, `step_limit`, `fallback`, `outcome_unknown`, `compact`.
        code: String,
        /// For people.
        text: String,
    },
    /// An agent that the chat began tells what became of it.
    AgentReport {
        /// The agent's chat.
        #[schema(value_type = String)]
        agent_id: ChatId,
        /// Its title.
        title: String,
        /// What became of it.
        outcome: Outcome,
        /// What it said last; may be empty.
        text: String,
    },
    /// The history before this place was made shorter for the model; people still see all of it.
    Compaction {
        /// What was done.
        #[serde(flatten)]
        mark: Compaction,
    },
}

/// An attached file as a message names it. The same bytes always have the same `hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileRef {
    /// Under which its bytes are read, within the chat.
    #[schema(value_type = String)]
    pub attachment_id: AttachmentId,
    /// Without folders, at most 200 characters.
    pub name: String,
    /// What the bytes are, whatever the name says.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the bytes, in hexadecimal.
    pub hash: String,
    /// Pixels; only of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels; only of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
}

/// What a compaction did. It is a message of its own, and the prompt follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Compaction {
    /// How the history was made shorter.
    pub method: CompactionMethod,
    /// Why it was made shorter.
    pub reason: CompactionReason,
    /// The last message that it covers, by `seq`.
    pub through_seq: i64,
    /// What the model wrote of it; empty where tool outputs alone were left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// Tokens of the prompt before, as far as known.
    pub tokens_before: u64,
    /// Tokens of the prompt after it, estimated.
    pub tokens_after: u64,
}

/// How a history is made shorter for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompactionMethod {
    /// Old outputs of tools are stubs that `read_result` opens again.
    Prune,
    /// A summary stands for everything that it covers.
    Summary,
    /// Attached files are left out.
    Files,
}

/// Why a history is made shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompactionReason {
    /// The prompt reached its share of the model's window.
    Threshold,
    /// Somebody asked for it.
    Asked,
    /// The provider refused the prompt as too long.
    Exceeded,
    /// The provider refused an attached file.
    Refused,
}

impl Part {
    /// The tool call id of a call or a result.
    #[must_use]
    pub fn tool_call_id(&self) -> Option<&str> {
        match self {
            Self::ToolCall { tool_call_id, .. } | Self::ToolResult { tool_call_id, .. } => {
                Some(tool_call_id)
            }
            _ => None,
        }
    }
}

/// A part as it is stored: with the provider's own block beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredPart {
    /// What clients see.
    pub part: Part,
    /// The provider's block, byte for byte; only for the provider kind in `raw_kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Box<RawValue>>,
}

impl From<Part> for StoredPart {
    fn from(part: Part) -> Self {
        Self { part, raw: None }
    }
}

/// What a chat is going to do, as the user approved it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// In a few words.
    #[serde(default)]
    pub title: String,
    /// In order; at least one.
    pub steps: Vec<PlanStep>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    /// What is to be done.
    pub text: String,
    /// How far it is.
    #[serde(default)]
    pub status: PlanStatus,
}

/// How far a step of a plan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// Nothing was done.
    #[default]
    Pending,
    /// It is being done.
    InProgress,
    /// It is done.
    Done,
    /// It will not be done.
    Skipped,
}

/// A tool that the client of a chat declares and runs itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClientTool {
    /// Unlike every other tool's.
    pub name: String,
    /// What the model is told.
    pub description: String,
    /// JSON Schema of its arguments, an object.
    #[schema(value_type = Object)]
    pub input_schema: serde_json::Value,
}

/// How hard a model thinks before it answers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as the model can.
    Minimal,
    /// A little.
    Low,
    /// As it does by itself.
    Medium,
    /// Much.
    High,
    /// Very much.
    Xhigh,
    /// As much as the model can.
    Max,
}

impl Effort {
    /// In ascending order.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// The text in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }
}

impl std::str::FromStr for Effort {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == text).ok_or(())
    }
}

/// Tokens of one model call, normalised over all providers. Unknown counts are zero and `source`
/// says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache.
    pub cache_write: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Reasoning tokens among the output.
    pub reasoning: u64,
    /// `provider`, or `unknown` where the provider sent none or nonsense.
    pub source: String,
    /// What the call cost, in millionths of the price's currency; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

impl Usage {
    /// Whether the provider counted, and the counts can be true.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.source == "provider"
    }

    /// Tokens of the prompt and of the answer: what the window held at the end of the call.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write, self.output]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}
