//! The product's own providers against the fake, and the fake against bad requests.

use std::sync::Arc;
use std::time::Duration;

use controlplane::chat::content::{Part, Role, StoredPart};
use controlplane::llm::{
    Event, LlmClient, Prompt, PromptMessage, ProviderError, ProviderKind, ProviderSettings,
    Registry,
};
use futures_util::StreamExt;
use serde_json::{Map, Value, json};
use shared::clock::SystemClock;

use super::{Answer, Ending, FakeLlm, Format, problems};

fn prompt(messages: Vec<PromptMessage>) -> Prompt {
    Prompt {
        ask: None,
        model: "m".to_owned(),
        system: "Be brief.".to_owned(),
        messages,
        tools: Vec::new(),
        max_output_tokens: 100,
        options: Map::new(),
        cache_key: "chat".to_owned(),
        files: Default::default(),
    }
}

fn message(role: Role, part: Part) -> PromptMessage {
    PromptMessage { role, parts: vec![StoredPart::from(part)] }
}

fn hello() -> PromptMessage {
    message(Role::User, Part::Text { text: "Hello".to_owned() })
}

async fn ask(
    fake: &FakeLlm,
    format: Format,
    messages: Vec<PromptMessage>,
) -> Result<Vec<StoredPart>, ProviderError> {
    let registry = Registry::new(LlmClient::new(Arc::new(SystemClock)).unwrap());
    let provider = registry.provider(&ProviderSettings {
        kind: format.provider_kind().parse::<ProviderKind>().unwrap(),
        name: "Fake".to_owned(),
        base_url: Some(fake.base_url(format)),
        key: Some(controlplane::secrets::Secret::new("key".to_owned())),
    })?;
    let mut stream = provider.stream(prompt(messages)).await?;
    let mut parts = Vec::new();
    while let Some(event) = stream.next().await {
        if let Event::PartDone { part, .. } = event? {
            parts.push(*part);
        }
    }
    Ok(parts)
}

#[tokio::test]
async fn a_whole_turn_in_both_formats_breaks_no_rule() {
    for format in Format::ALL {
        let fake = FakeLlm::start().await.unwrap();
        let first = Answer::reasoning("Look first.")
            .and_text("I look.")
            .and_call("execute", &json!({ "command": "ls" }))
            .and_raw_call(Some("bad id!"), "../x", "{\"cut\":");
        fake.play("m", [first.in_pieces_of(3), Answer::text("Two files.")]);

        let mut history = vec![hello()];
        let parts = ask(&fake, format, history.clone()).await.unwrap();
        let results = parts
            .iter()
            .filter_map(|part| match &part.part {
                Part::ToolCall { tool_call_id, name, .. } => {
                    Some(StoredPart::from(Part::ToolResult {
                        tool_call_id: tool_call_id.clone(),
                        name: name.clone(),
                        result: json!({ "output": "a\nb" }),
                        is_error: false,
                        duration_ms: 1,
                    }))
                }
                _ => None,
            })
            .collect();
        assert_eq!(parts.len(), 4, "{format:?}: {parts:?}");
        history.push(PromptMessage { role: Role::Assistant, parts });
        history.push(PromptMessage { role: Role::Tool, parts: results });
        let parts = ask(&fake, format, history.clone()).await.unwrap();
        assert_eq!(parts[0].part, Part::Text { text: "Two files.".to_owned() });
        assert_eq!(fake.violations(), Vec::<String>::new(), "{format:?}");
        let positions: Vec<usize> =
            fake.requests().iter().map(|request| request.position).collect();
        assert_eq!(positions, [0, 1]);
    }
}

#[tokio::test]
async fn attempts_of_one_position_differ_and_the_last_repeats() {
    let fake = FakeLlm::start().await.unwrap();
    fake.play_attempts(
        "m",
        [vec![
            Answer::status(529, "Overloaded"),
            Answer::status(429, "slow").with_header("retry-after", "3"),
            Answer::html(),
            Answer::text("well").ending(Ending::CutAfter(200)),
            Answer::text("well"),
        ]],
    );
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(match ask(&fake, Format::Anthropic, vec![hello()]).await {
            Ok(parts) => format!("{} parts", parts.len()),
            Err(error) => format!("{} {:?}", error.kind.code(), error.retry_after),
        });
    }
    assert_eq!(
        seen,
        [
            "provider_overloaded None",
            "provider_rate_limited Some(3s)",
            "provider_bad_response None",
            "provider_timeout None",
            "1 parts",
            "1 parts",
        ]
    );
    fake.wait_for_requests(6, Duration::from_secs(1)).await.unwrap();
}

#[tokio::test]
async fn an_orphaned_call_is_refused_and_remembered() {
    for format in Format::ALL {
        let fake = FakeLlm::start().await.unwrap();
        fake.play("m", [Answer::text("never")]);
        let call = Part::ToolCall {
            tool_call_id: "call_1".to_owned(),
            name: "execute".to_owned(),
            args: json!({}),
        };
        let history = vec![hello(), message(Role::Assistant, call), hello()];
        let error = ask(&fake, format, history).await.unwrap_err();
        assert_eq!(error.status, Some(400));
        assert_eq!(
            fake.violations(),
            ["message 2: the call `call_1` has no result".to_owned()].map(|text| {
                // The system message is a message of its own there.
                if format == Format::Chat { text.replace("message 2", "message 3") } else { text }
            })
        );
    }
}

#[test]
fn what_providers_refuse_is_found() {
    let user = json!({ "role": "user", "content": [{ "type": "text", "text": "x" }] });
    let call = |id: &str| json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": id, "name": "t", "input": {} }] });
    let result = |id: &str| json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id }] });
    let rows: Vec<(Vec<Value>, &str)> = vec![
        (vec![user.clone(), call("a")], "has no result"),
        (vec![user.clone(), call("a"), user.clone()], "has no result"),
        (vec![user.clone(), call("a"), result("b")], "has no call"),
        (vec![result("a")], "has no call"),
        (vec![user.clone(), call("a"), result("a"), call("a"), result("a")], "comes twice"),
        (vec![user.clone(), user.clone()], "in a row"),
        (vec![json!({ "role": "user", "content": [] })], "empty"),
        (
            vec![
                user.clone(),
                json!({ "role": "assistant", "content": [{ "type": "thinking", "thinking": "x" }] }),
            ],
            "unsigned",
        ),
    ];
    for (messages, expected) in rows {
        let body = json!({ "model": "m", "stream": true, "max_tokens": 1, "messages": messages });
        let found = problems(Format::Anthropic, &body);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
    let good = json!({ "model": "m", "stream": true, "max_tokens": 1, "messages": [user, call("a"), result("a")] });
    assert_eq!(problems(Format::Anthropic, &good), Vec::<String>::new());
}
