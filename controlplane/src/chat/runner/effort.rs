//! How hard the model thinks, in the words of each provider.

use serde_json::{Map, Value, json};

use crate::chat::content::Effort;
use crate::chat::ports::ModelChoice;

/// The model's options with the chat's effort; none: as the model's settings say.
pub(super) fn options(choice: &ModelChoice, effort: Option<Effort>) -> Map<String, Value> {
    let options = choice.options.clone();
    match effort {
        Some(effort) => with_effort(options, choice.provider.kind(), effort),
        None => options,
    }
}

fn with_effort(mut options: Map<String, Value>, kind: &str, effort: Effort) -> Map<String, Value> {
    match kind {
        "anthropic" if effort == Effort::None => {
            options.insert("thinking".into(), json!({ "type": "disabled" }));
        }
        "anthropic" => {
            let word = if effort == Effort::Minimal { Effort::Low } else { effort };
            let config = options.entry("output_config").or_insert_with(|| json!({}));
            if let Some(config) = config.as_object_mut() {
                config.insert("effort".into(), word.as_str().into());
            }
        }
        "openai" | "openai_compatible" => {
            options.insert("reasoning_effort".into(), effort.as_str().into());
        }
        _ => {}
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_is_told_in_its_own_words() {
        let with = |kind: &str, effort| Value::Object(with_effort(Map::new(), kind, effort));
        assert_eq!(with("openai", Effort::High), json!({"reasoning_effort": "high"}));
        assert_eq!(with("anthropic", Effort::Minimal), json!({"output_config": {"effort": "low"}}));
        assert_eq!(with("anthropic", Effort::None), json!({"thinking": {"type": "disabled"}}));
        assert_eq!(with("scripted", Effort::Max), json!({}));
        let mut set = Map::new();
        set.insert("output_config".into(), json!({"format": "x"}));
        assert_eq!(
            Value::Object(with_effort(set, "anthropic", Effort::Max)),
            json!({"output_config": {"format": "x", "effort": "max"}})
        );
    }
}
