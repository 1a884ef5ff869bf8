//! From a model's tool calls to intents: what is committed before anything is dispatched.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Runner;
use crate::chat::content::{Part, StoredPart};
use crate::chat::machine::{Class, Gate, Intent};
use crate::tools::ToolKind;

impl Runner {
    /// One intent for each call, in order.
    pub(super) fn intents(&self, content: &[StoredPart]) -> Vec<Intent> {
        let intent = |stored: &StoredPart| {
            let Part::ToolCall { tool_call_id, name, args } = &stored.part else { return None };
            let acts = self.shared.tools.kind(name).is_some_and(ToolKind::acts);
            Some(Intent {
                op_id: self.shared.ids.id(),
                tool_call_id: tool_call_id.clone(),
                tool: name.clone(),
                args: args.clone(),
                args_hash: args_hash(name, args),
                // What only reads leaves no trace with the daemon.
                workspace_id: self.chat.workspace_id.filter(|_| acts),
                process_id: acts.then(|| self.shared.ids.id()),
                class: self.class(name, args),
                gate: Gate::Open,
            })
        };
        content.iter().filter_map(intent).collect()
    }
}

impl Runner {
    /// What a call would do. A tool that the client declared is the client's, unless a built-in
    /// one has its name.
    fn class(&self, tool: &str, args: &Value) -> Class {
        match self.shared.tools.class(tool, args) {
            Some(class) => class,
            None if self.chat.client_tools.iter().any(|declared| declared.name == tool) => {
                Class::Client
            }
            None => Class::Free,
        }
    }
}

/// Hex BLAKE3 over the tool's name and its arguments in canonical form (sorted keys).
fn args_hash(tool: &str, args: &Value) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tool.as_bytes()).update(&[0]).update(canonical(args).as_bytes());
    hasher.finalize().to_hex().to_string()
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, String> =
                fields.iter().map(|(key, value)| (key, canonical(value))).collect();
            let inner: Vec<String> = sorted
                .iter()
                .map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", inner.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_is_over_the_tool_and_its_arguments_in_any_order_of_keys() {
        let hash = args_hash("act", &json!({"a": 1, "b": {"y": [1, {"q": 2, "p": 3}], "x": null}}));
        let turned: Value =
            serde_json::from_str(r#"{"b":{"x":null,"y":[1,{"p":3,"q":2}]},"a":1}"#).unwrap();
        assert_eq!(hash, args_hash("act", &turned));
        assert_ne!(hash, args_hash("other", &turned));
        assert_ne!(hash, args_hash("act", &json!({"a": "1"})));
        assert_eq!(hash.len(), 64);
    }
}
