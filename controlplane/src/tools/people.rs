//! `ask_user`, `propose_plan`, `update_plan`: what the agent asks of people and shows them.
//!
//! They touch no workspace. A person answers the first two: the chat waits, and their answer is
//! the result, so no body here ever runs for them. The third ticks the chat's plan.

use std::time::Duration;

use serde_json::{Value, json};

use super::catalogue::{Declaration, ToolKind};

/// Questions of one call.
const QUESTIONS_MAX: usize = 4;
/// Steps of one plan.
const STEPS_MAX: usize = 100;

pub(super) fn declarations() -> [Declaration; 3] {
    [ask_user(), propose_plan(), update_plan()]
}

fn ask_user() -> Declaration {
    let option = json!({
        "type": "object",
        "properties": {
            "label": { "type": "string", "minLength": 1, "maxLength": 200, "description": "A few words." },
            "description": { "type": "string", "maxLength": 1000, "description": "What it would mean." }
        },
        "required": ["label"],
        "additionalProperties": false
    });
    Declaration {
        name: "ask_user",
        kind: ToolKind::Question,
        description: "Ask the user one or more questions and wait for the answers, however long it takes. \
            Only for what you cannot find out and must not decide yourself. Give 2 to 6 options each; \
            the user may answer in their own words as well.",
        schema: json!({
            "type": "object",
            "properties": {
                "questions": {
                    "type": "array", "minItems": 1, "maxItems": QUESTIONS_MAX,
                    "items": {
                        "type": "object",
                        "properties": {
                            "question": { "type": "string", "minLength": 1, "maxLength": 2000 },
                            "header": { "type": "string", "maxLength": 40, "description": "One or two words." },
                            "options": { "type": "array", "minItems": 2, "maxItems": 6, "items": option },
                            "multiple": { "type": "boolean", "description": "Several options may be chosen." }
                        },
                        "required": ["question", "options"],
                        "additionalProperties": false
                    }
                }
            },
            "required": ["questions"],
            "additionalProperties": false
        }),
        deadline: Duration::MAX,
    }
}

fn propose_plan() -> Declaration {
    Declaration {
        name: "propose_plan",
        kind: ToolKind::Proposal,
        description: "Show the user your plan and wait. They may change its steps, approve it, or send it back \
            with a note. Once it is approved you carry it out.",
        schema: json!({
            "type": "object",
            "properties": {
                "title": { "type": "string", "minLength": 1, "maxLength": 200 },
                "steps": {
                    "type": "array", "minItems": 1, "maxItems": STEPS_MAX,
                    "items": { "type": "string", "minLength": 1, "maxLength": 2000 },
                    "description": "What to do, in order; each can be ticked when it is done."
                },
                "notes": { "type": "string", "maxLength": 16000, "description": "Risks, open points, how to check it. Markdown." }
            },
            "required": ["title", "steps"],
            "additionalProperties": false
        }),
        deadline: Duration::MAX,
    }
}

fn update_plan() -> Declaration {
    Declaration {
        name: "update_plan",
        kind: ToolKind::Progress,
        description: "Tick steps of the approved plan, so that the user sees how far you are.",
        schema: json!({
            "type": "object",
            "properties": {
                "steps": {
                    "type": "array", "minItems": 1, "maxItems": STEPS_MAX,
                    "items": {
                        "type": "object",
                        "properties": {
                            "step": { "type": "integer", "minimum": 1, "description": "From 1." },
                            "status": { "enum": ["pending", "in_progress", "done", "skipped"] }
                        },
                        "required": ["step", "status"],
                        "additionalProperties": false
                    }
                }
            },
            "required": ["steps"],
            "additionalProperties": false
        }),
        deadline: Duration::from_secs(5),
    }
}

/// Whether the body of a tool is outside the workspace: its arguments are checked, and whoever
/// drives the chat does the rest.
pub(super) const fn is_ours(kind: ToolKind) -> bool {
    matches!(kind, ToolKind::Question | ToolKind::Proposal | ToolKind::Progress)
}

/// What the catalogue answers for them.
pub(super) fn accepted() -> Value {
    json!({ "ok": true })
}
