//! Arguments as the model sent them, checked against the tool's schema before any body sees them.

use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::ToolOutcome;
use super::text;

/// Most problems that one error names; a model needs the first few.
const PROBLEMS_MAX: usize = 5;
/// Longest piece of a problem's text, in bytes: it may quote the model's own megabyte.
const PROBLEM_BYTES: usize = 300;

/// Whether `schema` is a JSON Schema of an object, which a model's arguments can be held to.
#[must_use]
pub fn is_schema(schema: &Value) -> bool {
    let object = schema.is_object() && schema.get("type").is_none_or(|kind| kind == "object");
    object && jsonschema::validator_for(schema).is_ok()
}

/// Says what is wrong with `args`, naming each field; none: they fit.
pub(super) fn problem(tool: &str, validator: &Validator, args: &Value) -> Option<ToolOutcome> {
    let Value::Object(_) = args else {
        let sent = match args {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        return Some(ToolOutcome::error(
            "invalid_arguments",
            format!(
                "The arguments of `{tool}` are not a JSON object. Nothing was done. \
                 Send the call again with valid JSON. They begin with: {}",
                text::cut(&sent, PROBLEM_BYTES)
            ),
        ));
    };
    let problems: Vec<String> = validator
        .iter_errors(args)
        .take(PROBLEMS_MAX)
        .map(|error| {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { "arguments".to_owned() } else { path };
            format!("{place}: {}", text::cut(&error.to_string(), PROBLEM_BYTES))
        })
        .collect();
    if problems.is_empty() {
        return None;
    }
    Some(ToolOutcome::error(
        "invalid_arguments",
        format!(
            "The arguments of `{tool}` do not fit its schema. Nothing was done. {}",
            problems.join("; ")
        ),
    ))
}

/// The arguments as the body's type. They fit the schema, so this fails only where the schema is
/// wider than the type (a number over its range); the model is told either way.
pub(super) fn parse<T: DeserializeOwned>(tool: &str, args: &Value) -> Result<T, ToolOutcome> {
    T::deserialize(args).map_err(|error| {
        ToolOutcome::error(
            "invalid_arguments",
            format!("The arguments of `{tool}` cannot be used: {error}. Nothing was done."),
        )
    })
}
