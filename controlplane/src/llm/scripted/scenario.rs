//! The scenario file: JSON, checked whole before the first step is played.

use std::io::Read;

use regex::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::llm::ProviderErrorKind;

/// Largest scenario file, in bytes.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A whole scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// For people; not used.
    #[serde(default, rename = "title")]
    _title: String,
    /// Pause between two pieces of streamed text.
    #[serde(default)]
    pub(super) pace_ms: u64,
    /// Characters of one piece; none: one word.
    #[serde(default)]
    pub(super) piece_chars: Option<usize>,
    /// In order.
    pub(super) turns: Vec<Turn>,
}

/// What is played from a user's message to rest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Turn {
    /// Plays when the user's last text matches; none: plays by the number of the user's message.
    #[serde(default, rename = "match", deserialize_with = "pattern")]
    pub(super) pattern: Option<Regex>,
    /// One model call each.
    pub(super) steps: Vec<Vec<Action>>,
}

/// One thing that a step does.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// Streams text.
    Say(String),
    /// Streams thinking.
    Reason(String),
    /// Calls a tool. All calls of a step run at the same time.
    Call(Call),
    /// Waits.
    WaitMs(u64),
    /// Fails the model call.
    Fail(Failure),
    /// Says nothing more, as a provider that hangs.
    Stall,
}

/// A tool call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// The tool's name; not checked, so that an unknown one can be tried.
    pub(super) tool: String,
    /// Its arguments; an object, or anything else to try that.
    #[serde(default)]
    pub(super) args: Value,
    /// Calls only if this value is there.
    #[serde(default)]
    pub(super) when: Option<String>,
}

/// A failure on purpose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    /// The stable code of the failure.
    pub(super) kind: FailureKind,
    /// How many attempts fail before the step goes on; none: all.
    #[serde(default)]
    pub(super) times: Option<u32>,
    /// The pause the provider asks for.
    #[serde(default)]
    pub(super) retry_after_ms: Option<u64>,
    /// For people.
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// A kind of failure by its code, with or without `provider_`.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailureKind(pub(super) ProviderErrorKind);

impl<'de> Deserialize<'de> for FailureKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use ProviderErrorKind as Kind;
        const KINDS: [Kind; 12] = [
            Kind::Overloaded,
            Kind::RateLimited,
            Kind::Timeout,
            Kind::StreamSilent,
            Kind::Auth,
            Kind::Quota,
            Kind::Config,
            Kind::ContextExceeded,
            Kind::BadResponse,
            Kind::Unreachable,
            Kind::Server,
            Kind::MissingKey,
        ];
        let text = String::deserialize(deserializer)?;
        let named = |kind: &Kind| {
            let code = kind.code();
            code == text || code.strip_prefix("provider_") == Some(&text)
        };
        KINDS
            .into_iter()
            .find(named)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("unknown kind of failure"))
    }
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Regex::new(&text).map_err(serde::de::Error::custom)).transpose()
}

/// Why a scenario cannot be played. Says where, and never what stands there: any file may be named.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScenarioError {
    #[error("the scenario file could not be read ({0})")]
    Read(std::io::ErrorKind),
    #[error("the scenario file is over 4 MiB")]
    TooLarge,
    #[error("the scenario file is not a scenario: line {line}, column {column}")]
    Invalid { line: usize, column: usize },
    #[error("the scenario has no turns, or a turn without steps")]
    Empty,
}

impl Scenario {
    /// Reads and checks a file.
    pub(super) fn open(path: &str) -> Result<Self, ScenarioError> {
        let file = std::fs::File::open(path).map_err(|error| ScenarioError::Read(error.kind()))?;
        let mut text = String::new();
        file.take(FILE_MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|error| ScenarioError::Read(error.kind()))?;
        if text.len() as u64 > FILE_MAX_BYTES {
            return Err(ScenarioError::TooLarge);
        }
        Self::parse(&text)
    }

    /// Checks a text.
    pub(super) fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_json::from_str(text).map_err(|error| {
            ScenarioError::Invalid { line: error.line(), column: error.column() }
        })?;
        let is_empty =
            scenario.turns.is_empty() || scenario.turns.iter().any(|turn| turn.steps.is_empty());
        if is_empty { Err(ScenarioError::Empty) } else { Ok(scenario) }
    }

    /// The built-in one.
    pub(super) fn demo() -> Self {
        Self::parse(include_str!("demo.json")).expect("the built-in scenario is valid, by a test")
    }
}
