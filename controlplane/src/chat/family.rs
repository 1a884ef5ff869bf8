//! Families: a chat and the agents that it began. Types and rules; pure.
//!
//! ```text
//! root (depth 0) ─┬─ agent (1) ─── agent (2)     a chat speaks to those it began, and to nobody else:
//!                 └─ agent (1)                   no sibling, no cousin, not upwards
//! ```
//!
//! An agent is a chat like any other, with a parent. What it says last is its report; the commit that
//! brings it to rest gives the report to its parent: as the answer of the call that waits for it, or
//! as a message.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::ids::ChatId;
use utoipa::ToSchema;

use super::content::Part;
use super::event::ChatErrorView;
use crate::text_enum::text_enum;

/// How deep a family goes: a root, its agents, and theirs.
pub const DEPTH_MAX: i64 = 2;
/// Agents of one chat that work at once.
pub const WORKING_MAX: i64 = 8;
/// Agents of one family that work at once.
pub const FAMILY_WORKING_MAX: i64 = 16;
/// Agents that one family may ever have.
pub const FAMILY_MAX: i64 = 500;
/// Agents that one call waits for.
pub const WAITED_MAX: usize = 16;
/// Most of an agent's last words that its parent is given, in bytes.
pub const REPORT_MAX_BYTES: usize = 32 * 1024;
/// Longest prompt or message for an agent, in bytes.
pub const PROMPT_MAX_BYTES: usize = 64 * 1024;

text_enum! {
    /// What an agent is for.
    #[derive(Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    AgentType {
        /// Everything that its parent may do, in its parent's mode.
        General = "general",
        /// Reads and searches; it changes nothing and begins no agents.
        Explore = "explore",
    }
}

text_enum! {
    /// What became of an agent's work.
    #[derive(Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    Outcome {
        /// It said what it had to say.
        Done = "done",
        /// An error stopped it.
        Failed = "failed",
        /// A limit stopped it; a person may let it go on.
        Paused = "paused",
        /// A person or its parent stopped it.
        Interrupted = "interrupted",
    }
}

/// How much a chat, with all agents below it, may use until somebody lets it go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Model calls of the chat itself in one turn, 1 to 1,200; none: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Time that the chat itself works, in seconds; waiting for people or agents is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_s: Option<u32>,
    /// Tokens of the chat and of all agents below it, in and out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What they cost, in millionths of the prices' currency; calls without a price are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

impl Budget {
    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What became of an agent, as its parent is told.
#[derive(Clone, Debug)]
pub struct Report {
    /// The agent.
    pub agent_id: ChatId,
    /// Its title.
    pub title: String,
    /// What became of it; none: it works.
    pub outcome: Option<Outcome>,
    /// What it said last; empty: nothing.
    pub text: String,
    /// Why it stopped.
    pub error: Option<ChatErrorView>,
    /// Tokens that it used so far.
    pub tokens: i64,
}

impl Report {
    /// The answer of a call that waited for the agent.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut told = json!({
            "agent_id": self.agent_id,
            "title": self.title,
            "status": self.outcome.map_or("working", Outcome::as_str),
            "report": cut(&self.text),
            "tokens": self.tokens,
        });
        if let Some(error) = &self.error {
            told["error"] = json!({ "code": error.code, "message": error.message });
        }
        told
    }

    /// What the parent is told where no call waits.
    #[must_use]
    pub fn part(&self) -> Part {
        let error = self.error.as_ref().map(|error| error.message.as_str());
        Part::AgentReport {
            agent_id: self.agent_id,
            title: self.title.clone(),
            outcome: self.outcome.unwrap_or(Outcome::Done),
            text: match (self.text.is_empty(), error) {
                (false, None) => cut(&self.text),
                (false, Some(error)) => format!("{}\n\n{error}", cut(&self.text)),
                (true, error) => error.unwrap_or_default().to_owned(),
            },
        }
    }
}

/// A report as a model reads it.
#[must_use]
pub fn told(agent_id: ChatId, title: &str, outcome: Outcome, text: &str) -> String {
    let became = match outcome {
        Outcome::Done => "has finished",
        Outcome::Failed => "was stopped by an error",
        Outcome::Paused => "was paused by a limit",
        Outcome::Interrupted => "was interrupted",
    };
    let said = if text.is_empty() { "It said nothing." } else { text };
    format!("[The agent {agent_id} ({title}) {became}. Its report follows.]\n{said}")
}

/// The first two thirds and the last third of a long report.
fn cut(text: &str) -> String {
    if text.len() <= REPORT_MAX_BYTES {
        return text.to_owned();
    }
    let head = &text[..text.floor_char_boundary(REPORT_MAX_BYTES / 3 * 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - REPORT_MAX_BYTES / 3)..];
    let between = text.len() - head.len() - tail.len();
    format!("{head}\n[{between} bytes left out]\n{tail}")
}

/// Codes of errors that are limits: a person may let the chat go on.
pub const PAUSES: &[&str] = &[
    "step_limit",
    "budget_time",
    "budget_tokens",
    "budget_cost",
    "family_budget",
    "doom_loop",
    "repeated_mistakes",
];

/// What an error makes of an agent's work.
#[must_use]
pub fn outcome_of(error: &ChatErrorView) -> Outcome {
    if PAUSES.contains(&error.code.as_str()) { Outcome::Paused } else { Outcome::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    #[test]
    fn a_long_report_keeps_its_beginning_and_its_end() {
        let ids: &dyn IdSource = &CountingIds::default();
        let text = format!("BEGIN{}END", "é".repeat(REPORT_MAX_BYTES));
        let report = Report {
            agent_id: ids.id(),
            title: "look".into(),
            outcome: Some(Outcome::Done),
            text,
            error: None,
            tokens: 7,
        };
        let told = report.json();
        let said = told["report"].as_str().unwrap();
        assert!(said.starts_with("BEGIN") && said.ends_with("END") && said.contains("left out"));
        assert!(said.len() < REPORT_MAX_BYTES + 64, "{}", said.len());
        assert_eq!(told["status"], "done");
    }

    #[test]
    fn a_limit_is_a_pause_and_anything_else_a_failure() {
        let error = |code: &str| ChatErrorView {
            code: code.into(),
            message: String::new(),
            retryable: true,
            provider: None,
            status_code: None,
            request_id: None,
        };
        assert_eq!(outcome_of(&error("step_limit")), Outcome::Paused);
        assert_eq!(outcome_of(&error("provider_auth")), Outcome::Failed);
    }
}
