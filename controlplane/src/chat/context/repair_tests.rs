//! Any history becomes valid for each provider, and no word of a person is lost.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::chat::context::validate::faults;
use crate::llm::{Prompt, wire_body};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just(" \n".to_owned()), "[a-c]{1,3}"]
}

/// Ids that come twice, are empty, or are not plain.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("call_1".to_owned()), Just("a:0".to_owned()), "[a-d]"]
}

fn part(kind: &'static str) -> impl Strategy<Value = StoredPart> {
    let args = prop_oneof![Just(json!({"x": 1})), Just(json!("no object"))];
    prop_oneof![
        4 => text().prop_map(|text| Part::Text { text }.into()),
        2 => (text(), any::<bool>()).prop_map(move |(text, signed)| StoredPart {
            raw: signed.then(|| crate::llm::raw(thought(kind, &text))).flatten(),
            part: Part::Reasoning { text },
        }),
        5 => (id(), args).prop_map(|(tool_call_id, args)| {
            Part::ToolCall { tool_call_id, name: "execute".into(), args }.into()
        }),
        5 => id().prop_map(|tool_call_id| Part::ToolResult {
            tool_call_id,
            name: "execute".into(),
            result: json!({"out": "x"}),
            is_error: false,
            duration_ms: 0,
        }
        .into()),
        1 => text().prop_map(|text| Part::Notice { code: "interrupted".into(), text }.into()),
    ]
}

fn thought(kind: &str, text: &str) -> String {
    match kind {
        "anthropic" => json!({"type": "thinking", "thinking": text, "signature": "s"}).to_string(),
        _ => json!({ "reasoning_content": text }).to_string(),
    }
}

fn history(kind: &'static str) -> impl Strategy<Value = Vec<PromptMessage>> {
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::Tool)];
    let parts = prop::collection::vec(part(kind), 0..5);
    let message = (role, parts).prop_map(|(role, parts)| PromptMessage { role, parts });
    prop::collection::vec(message, 0..12)
}

fn body(kind: &str, messages: &[PromptMessage]) -> Value {
    let prompt = Prompt {
        model: "m".into(),
        system: "s".into(),
        messages: messages.to_vec(),
        ask: None,
        tools: vec![],
        max_output_tokens: 1,
        options: Default::default(),
        cache_key: "k".into(),
        files: Default::default(),
    };
    serde_json::from_slice(&wire_body(kind, &prompt)).unwrap()
}

fn plain(messages: &[PromptMessage]) -> String {
    let parts = |message: &PromptMessage| {
        message.parts.iter().map(|part| serde_json::to_value(part).unwrap()).collect::<Value>()
    };
    let messages: Value = messages.iter().map(|m| json!([m.role, parts(m)])).collect();
    messages.to_string()
}

/// Everything that people said, in order.
fn said(messages: &[PromptMessage]) -> Vec<String> {
    messages
        .iter()
        .filter(|message| message.role == Role::User)
        .flat_map(|message| &message.parts)
        .filter_map(|stored| match &stored.part {
            Part::Text { text } if !text.trim().is_empty() && text != OPENING => Some(text.clone()),
            _ => None,
        })
        .collect()
}

fn raw(messages: &[PromptMessage]) -> Vec<String> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts.filter_map(|part| part.raw.as_ref().map(|raw| raw.get().to_owned())).collect()
}

fn check(kind: &'static str, history: Vec<PromptMessage>) -> Result<(), TestCaseError> {
    let dialect = Dialect::of(kind);
    let fixed = repair(history.clone(), dialect);
    let sent = body(kind, &fixed);
    if !fixed.is_empty() {
        prop_assert_eq!(faults(dialect, &sent), Vec::<String>::new(), "{}", sent);
    }
    prop_assert_eq!(said(&history), said(&fixed), "a person's words");
    prop_assert_eq!(plain(&repair(fixed.clone(), dialect)), plain(&fixed), "repaired twice");
    // A provider's block is one of those that were stored, byte for byte.
    let stored = raw(&history);
    prop_assert!(raw(&fixed).iter().all(|block| stored.contains(block)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_history_is_valid_for_anthropic(history in history("anthropic")) {
        check("anthropic", history)?;
    }

    #[test]
    fn any_history_is_valid_for_chat_completions(history in history("openai_compatible")) {
        check("openai_compatible", history)?;
    }

    #[test]
    fn a_longer_history_begins_with_the_shorter_ones_repair(
        history in history("anthropic"), cut in 0usize..12,
    ) {
        // Cut where a runner asks the model: behind a person or behind the tools.
        let cut = cut.min(history.len());
        let asks = history[..cut].last().is_none_or(|last| last.role != Role::Assistant);
        let goes_on = history.get(cut).is_none_or(|next| next.role == Role::Assistant);
        if !(asks && goes_on) {
            return Ok(());
        }
        let short = plain(&repair(history[..cut].to_vec(), Dialect::Anthropic));
        let long = plain(&repair(history, Dialect::Anthropic));
        prop_assert!(long.starts_with(short.trim_end_matches(']')), "{}\n{}", short, long);
    }
}

#[test]
fn the_validators_see_each_fault() {
    let user = json!({"role": "user", "content": [{"type": "text", "text": "x"}]});
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "n", "input": {}}]});
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]});
    let thinks = json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "s"}]});
    let rows = [
        (json!([user, call, result]), 0),
        (json!([user, call, user]), 1),
        (json!([user, call]), 1),
        (json!([result]), 1),
        (json!([user, user]), 1),
        (json!([call, result]), 3),
        (json!([user, thinks]), 1),
    ];
    for (messages, expected) in rows {
        let found = faults(Dialect::Anthropic, &json!({ "messages": messages }));
        assert_eq!(found.len(), expected, "{found:?} in {messages}");
    }
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "n", "arguments": "{}"}}]});
    let (user, tool) = (
        json!({"role": "user", "content": "x"}),
        json!({"role": "tool", "tool_call_id": "a", "content": "x"}),
    );
    let rows = [
        (json!([user, call, tool]), 0),
        (json!([user, call, user]), 1),
        (json!([user, tool]), 1),
        (json!([user, {"role": "assistant", "content": ""}]), 1),
        (json!([call, tool]), 1),
    ];
    for (messages, expected) in rows {
        let found = faults(Dialect::OpenaiChat, &json!({ "messages": messages }));
        assert_eq!(found.len(), expected, "{found:?} in {messages}");
    }
}
