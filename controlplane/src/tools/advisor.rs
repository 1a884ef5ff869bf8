//! `advisor`: a second opinion from a model that sees the end of the conversation and has no tools.
//!
//! What models are told of it; the call itself is the runner's (`chat/runner/advisor.rs`).

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::arguments;
use super::context::ToolOutcome;
use crate::llm::ToolSpec;

/// The tool's name.
pub const ADVISOR: &str = "advisor";

/// The tool.
pub struct AdvisorTool {
    spec: ToolSpec,
    validator: Validator,
}

impl AdvisorTool {
    /// Compiles the schema.
    ///
    /// # Panics
    /// If the schema of this source is not a schema; a test compiles it.
    #[must_use]
    pub fn new() -> Self {
        let schema = json!({
            "type": "object",
            "properties": {
                "question": {
                    "type": "string", "minLength": 1, "maxLength": 2000,
                    "description": "What you want to know, with what you have tried and what you think."
                },
                "model": {
                    "type": "string", "minLength": 1, "maxLength": 200,
                    "description": "Name of the model to ask; without it, yours."
                }
            },
            "required": ["question"],
            "additionalProperties": false
        });
        let validator =
            jsonschema::validator_for(&schema).expect("the schema of this source is valid");
        let spec = ToolSpec {
            name: ADVISOR.to_owned(),
            description: "Ask an advisor for a second opinion: a model that reads the end of this conversation and \
                has no tools. For a decision that is hard to take back, or when you are stuck. It is \
                called alone, in a step of its own."
                .to_owned(),
            schema: Arc::new(schema),
        };
        Self { spec, validator }
    }

    /// What a model is offered.
    #[must_use]
    pub fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    /// What is wrong with arguments, as the model is told; none: they fit.
    #[must_use]
    pub fn problem(&self, args: &Value) -> Option<ToolOutcome> {
        arguments::problem(ADVISOR, &self.validator, args)
    }
}

impl Default for AdvisorTool {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_due_and_not_too_long() {
        let tool = AdvisorTool::new();
        assert!(tool.problem(&json!({"question": "which?"})).is_none());
        for bad in [json!({}), json!({"question": ""}), json!({"question": "x".repeat(2_001)})] {
            assert_eq!(tool.problem(&bad).unwrap().error_code(), Some("invalid_arguments"));
        }
    }
}
