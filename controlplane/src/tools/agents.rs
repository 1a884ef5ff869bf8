//! `spawn_agent`, `wait_agent`, `message_agent`, `interrupt_agent`, `list_agents`: a chat's own agents.
//!
//! What models are told of them and how arguments are checked; they touch no workspace, and their
//! work is commits of the chat itself (`chat/runner/agents.rs`).

use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::arguments;
use super::context::ToolOutcome;
use crate::llm::ToolSpec;

/// Begins an agent.
pub const SPAWN: &str = "spawn_agent";
/// Waits for agents.
pub const WAIT: &str = "wait_agent";
/// Speaks to an agent.
pub const MESSAGE: &str = "message_agent";
/// Stops an agent.
pub const INTERRUPT: &str = "interrupt_agent";
/// Lists agents.
pub const LIST: &str = "list_agents";

/// The tools, in the fixed order in which models see them.
pub struct AgentTools {
    tools: Vec<(ToolSpec, Validator)>,
}

impl AgentTools {
    /// Compiles the schemas.
    ///
    /// # Panics
    /// If a schema of this source is not a schema; a test compiles them all.
    #[must_use]
    pub fn new() -> Self {
        let declared = [spawn(), wait(), message(), interrupt(), list()];
        let tools = declared.map(|(name, description, schema)| {
            let validator =
                jsonschema::validator_for(&schema).expect("the schemas of this source are valid");
            let spec = ToolSpec {
                name: name.to_owned(),
                description: description.to_owned(),
                schema: Arc::new(schema),
            };
            (spec, validator)
        });
        Self { tools: tools.into() }
    }

    /// What a model is offered.
    pub fn specs(&self) -> impl Iterator<Item = ToolSpec> {
        self.tools.iter().map(|(spec, _)| spec.clone())
    }

    /// Whether a tool is one of these.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|(spec, _)| spec.name == name)
    }

    /// What is wrong with arguments, as the model is told; none: they fit.
    #[must_use]
    pub fn problem(&self, name: &str, args: &Value) -> Option<ToolOutcome> {
        let (_, validator) = self.tools.iter().find(|(spec, _)| spec.name == name)?;
        arguments::problem(name, validator, args)
    }
}

impl Default for AgentTools {
    fn default() -> Self {
        Self::new()
    }
}

type Declared = (&'static str, &'static str, Value);

fn agent_id() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 64, "description": "As spawn_agent gave it." })
}

fn spawn() -> Declared {
    let budget = json!({
        "type": "object",
        "properties": {
            "steps": { "type": "integer", "minimum": 1, "maximum": 1200, "description": "Model calls." },
            "time_s": { "type": "integer", "minimum": 1, "maximum": 86400, "description": "Seconds of work." },
            "tokens": { "type": "integer", "minimum": 1, "description": "In and out, its own agents included." }
        },
        "additionalProperties": false
    });
    (
        SPAWN,
        "Begin an agent: another conversation that works on its own in this workspace and reports to you. \
         It sees nothing of this conversation, so the prompt must say everything it needs, and what to \
         report. `explore` reads and searches only; `general` may do what you may. By default you wait \
         for its report, which is this call's answer; begin several in one step to have them work side \
         by side. With `background` you go on at once and are told when it is done.",
        json!({
            "type": "object",
            "properties": {
                "type": { "enum": ["general", "explore"] },
                "prompt": { "type": "string", "minLength": 1, "maxLength": 65536 },
                "title": { "type": "string", "minLength": 1, "maxLength": 100, "description": "2 to 6 words, for people." },
                "background": { "type": "boolean" },
                "model": { "type": "string", "minLength": 1, "maxLength": 200, "description": "Name of another model; without it, yours." },
                "effort": { "enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max"] },
                "budget": budget
            },
            "required": ["type", "prompt"],
            "additionalProperties": false
        }),
    )
}

fn wait() -> Declared {
    (
        WAIT,
        "Wait until agents of yours have come to rest, and read their reports. Without ids: all that work. \
         Those that rest already are told at once.",
        json!({
            "type": "object",
            "properties": {
                "agent_ids": { "type": "array", "minItems": 1, "maxItems": 16, "uniqueItems": true, "items": agent_id() },
                "timeout_s": { "type": "integer", "minimum": 1, "maximum": 86400,
                    "description": "When to give the wait up and see how they stand; without it, never." }
            },
            "additionalProperties": false
        }),
    )
}

fn message() -> Declared {
    (
        MESSAGE,
        "Say something to an agent of yours. One that rests begins to work again and reports when it is \
         done; one that works reads it after its present work, or at once with `interrupt`.",
        json!({
            "type": "object",
            "properties": {
                "agent_id": agent_id(),
                "message": { "type": "string", "minLength": 1, "maxLength": 65536 },
                "interrupt": { "type": "boolean", "description": "Stop what it does first." }
            },
            "required": ["agent_id", "message"],
            "additionalProperties": false
        }),
    )
}

fn interrupt() -> Declared {
    (
        INTERRUPT,
        "Stop an agent of yours and all that it began. What it did is kept, and you may speak to it again.",
        json!({
            "type": "object",
            "properties": { "agent_id": agent_id() },
            "required": ["agent_id"],
            "additionalProperties": false
        }),
    )
}

fn list() -> Declared {
    (
        LIST,
        "List the agents that you have begun, newest first, and how they stand.",
        json!({ "type": "object", "properties": {}, "additionalProperties": false }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_compile_and_say_what_is_wrong() {
        let tools = AgentTools::new();
        let names: Vec<String> = tools.specs().map(|spec| spec.name).collect();
        assert_eq!(names, [SPAWN, WAIT, MESSAGE, INTERRUPT, LIST]);
        assert!(tools.problem(SPAWN, &json!({"type": "explore", "prompt": "look"})).is_none());
        for bad in [
            json!({"type": "root", "prompt": "look"}),
            json!({"type": "explore"}),
            json!({"type": "explore", "prompt": ""}),
            json!({"type": "general", "prompt": "x", "budget": {"steps": 0}}),
            json!({"type": "general", "prompt": "x", "depth": 9}),
        ] {
            let outcome = tools.problem(SPAWN, &bad).expect("it does not fit");
            assert_eq!(outcome.error_code(), Some("invalid_arguments"), "{bad}");
        }
        assert!(tools.problem(WAIT, &json!({"agent_ids": []})).is_some());
    }
}
