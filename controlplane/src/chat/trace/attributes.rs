//! Attributes of spans, by OpenTelemetry's names and our own.

use serde_json::{Map, Value, json};

use crate::chat::content::Usage;

/// Adds fields; those without a value are left out.
pub(in crate::chat) fn merge(attributes: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    let fields = match attributes {
        Value::Object(fields) => fields,
        other => {
            *other = Value::Object(Map::new());
            let Value::Object(fields) = other else { return };
            fields
        }
    };
    fields.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
}

/// What a model call used.
pub(in crate::chat) fn usage(usage: &Usage) -> Value {
    if !usage.is_known() {
        return json!({ "holdfast.usage_source": "unknown" });
    }
    json!({
        "gen_ai.usage.input_tokens": usage.input + usage.cache_read + usage.cache_write,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "holdfast.usage_source": usage.source,
        "holdfast.cost_micros": usage.cost_micros,
    })
}

/// The provider's name as OpenTelemetry lists it, or the kind.
pub(in crate::chat) fn provider_name(kind: &'static str) -> &'static str {
    match kind {
        "gemini" => "gcp.gemini",
        other => other,
    }
}
