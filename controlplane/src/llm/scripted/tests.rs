//! The scenario is a function of the history.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::scenario::Scenario;
use super::{Failures, Scripted};
use crate::chat::content::{Part, Role};
use crate::llm::tests::{Heard, message, prompt, text};
use crate::llm::{Event, FinishReason, PromptMessage, Provider};

fn scripted(scenario: &Value) -> Scripted {
    Scripted {
        scenario: Scenario::parse(&scenario.to_string()).unwrap(),
        failures: Arc::new(Failures::default()),
    }
}

async fn hear(provider: &Scripted, history: &[PromptMessage]) -> Heard {
    Heard::all(provider.stream(prompt(history.to_vec())).await.unwrap()).await
}

fn said(heard: &Heard) -> String {
    heard.streamed.values().cloned().collect()
}

fn user(said: &str) -> PromptMessage {
    message(Role::User, vec![text(said)])
}

fn assistant(said: &str) -> PromptMessage {
    message(Role::Assistant, vec![text(said)])
}

fn results(results: &[Value]) -> PromptMessage {
    let part = |result: &Value| Part::ToolResult {
        tool_call_id: "call_1".to_owned(),
        name: "execute".to_owned(),
        result: result.clone(),
        is_error: false,
        duration_ms: 1,
    };
    message(Role::Tool, results.iter().map(part).collect())
}

#[tokio::test(start_paused = true)]
async fn the_turn_and_the_step_follow_from_the_history() {
    let provider = scripted(&json!({ "pace_ms": 5, "turns": [
        { "match": "(?i)hello", "steps": [[{ "say": "matched" }]] },
        { "steps": [[{ "say": "first, one" }], [{ "say": "first, two" }]] },
        { "steps": [[{ "say": "second {{user}}" }]] },
    ] }));
    let rows = [
        (vec![user("a")], "first, one"),
        (vec![user("a"), assistant("x")], "first, two"),
        (vec![user("a"), assistant("x"), assistant("y")], "That is all the scenario has to say."),
        (vec![user("a"), assistant("x"), user("b")], "second b"),
        (vec![user("a"), user("b"), user("c")], "second c"),
        (vec![user("a"), user("Hello there")], "matched"),
    ];
    for (history, expected) in rows {
        assert_eq!(said(&hear(&provider, &history).await), expected, "{history:?}");
    }
}

#[tokio::test]
async fn calls_are_filled_from_results_and_have_the_same_ids_every_time() {
    let provider = scripted(&json!({ "turns": [{ "steps": [
        [{ "call": { "tool": "a" } }],
        [
            { "call": { "tool": "b", "args": { "id": "{{results.0.process_id}}", "n": ["{{results.-1.items.len}}"] } } },
            { "call": { "tool": "c", "args": {}, "when": "results.0.absent" } },
            { "call": { "tool": "d", "args": "no object" } },
        ],
    ] }] }));
    let history = [
        user("go"),
        assistant("x"),
        results(&[json!({ "process_id": "proc_1" }), json!({ "items": [1, 2, 3] })]),
    ];
    let heard = hear(&provider, &history).await;
    let calls = heard.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].2, json!({ "id": "proc_1", "n": ["3"] }));
    assert_eq!(calls[1].2, json!("no object"));
    assert_ne!(calls[0].0, calls[1].0);
    assert_eq!(hear(&provider, &history).await.summary(), heard.summary());
    assert!(heard.finished.unwrap().starts_with("ToolUse"));
}

#[tokio::test]
async fn a_failure_is_over_after_the_attempts_it_was_meant_for() {
    let provider = scripted(&json!({ "turns": [{ "steps": [[
        { "fail": { "kind": "rate_limited", "times": 2, "retry_after_ms": 40 } }, { "say": "well" },
    ]] }] }));
    for _ in 0..2 {
        let error = hear(&provider, &[user("a")]).await.error.unwrap();
        assert_eq!(error.kind.code(), "provider_rate_limited");
        assert_eq!(error.retry_after.map(|pause| pause.as_millis()), Some(40));
    }
    assert_eq!(said(&hear(&provider, &[user("a")]).await), "well");
}

#[tokio::test(start_paused = true)]
async fn a_stall_ends_as_with_a_real_provider() {
    let provider = scripted(&json!({ "turns": [{ "steps": [[{ "say": "so far" }, "stall"]] }] }));
    let from = tokio::time::Instant::now();
    let heard = hear(&provider, &[user("a")]).await;
    assert_eq!((heard.code(), from.elapsed().as_secs()), ("provider_stream_silent", 120));
    assert_eq!(said(&heard), "so far");
}

#[test]
fn a_bad_scenario_says_where_and_not_what() {
    let rows = [
        ("{", "line 1, column 1"),
        (r#"{"turns":[{"steps":[[{"shout":"secret"}]]}]}"#, "column"),
        (r#"{"turns":[{"match":"(","steps":[[]]}]}"#, "column"),
        (r#"{"turns":[{"steps":[[{"fail":{"kind":"tired"}}]]}]}"#, "column"),
        (r#"{"turns":[]}"#, "no turns"),
        (r#"{"turns":[{"steps":[]}]}"#, "no turns"),
    ];
    for (text, expected) in rows {
        let error = Scenario::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
    }
    assert!(Scenario::open("/no/such/file").unwrap_err().to_string().contains("could not be read"));
}

/// Plays a whole turn of the built-in scenario with pretended results.
async fn play(said: &str) -> Vec<String> {
    let provider = Scripted { scenario: Scenario::demo(), failures: Arc::new(Failures::default()) };
    let mut history = vec![user(said)];
    let mut tools = Vec::new();
    for _ in 0..10 {
        let mut stream = provider.stream(prompt(history.clone())).await.unwrap();
        let (mut parts, mut reason) = (Vec::new(), None);
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::PartDone { part, .. }) => parts.push(*part),
                Ok(Event::Finished { reason: why, .. }) => reason = Some(why),
                Ok(_) => {}
                Err(error) => assert!(error.kind.is_retryable()),
            }
        }
        let Some(reason) = reason else { continue };
        let calls: Vec<String> = parts
            .iter()
            .filter_map(|part| match &part.part {
                Part::ToolCall { name, .. } => Some(name.clone()),
                _ => None,
            })
            .collect();
        history.push(PromptMessage { role: Role::Assistant, parts });
        if reason == FinishReason::EndTurn {
            return tools;
        }
        let answer = json!({
            "process_id": "proc_1", "paths": ["README.md"], "entries": [{ "name": "src" }],
            "output": "a\nb\n", "path": "README.md", "content": "x", "exit_code": 2, "hash": "b3:0", "size": 3,
        });
        history.push(results(&calls.iter().map(|_| answer.clone()).collect::<Vec<_>>()));
        tools.extend(calls);
    }
    panic!("the turn comes to rest");
}

#[tokio::test(start_paused = true)]
async fn the_built_in_scenario_shows_the_product_and_comes_to_rest() {
    assert_eq!(play("hi").await, ["list_dir", "execute", "glob", "execute", "read_file"]);
    assert_eq!(play("write a note").await, ["write_file", "edit_files", "read_file"]);
    assert_eq!(
        play("something slow").await,
        ["execute", "process_output", "process_list", "process_signal"]
    );
    assert_eq!(play("show me a failure").await, ["execute"]);
}

#[tokio::test(start_paused = true)]
async fn the_built_in_scenario_calls_tools_with_arguments_they_take() {
    let catalogue = crate::tools::Catalogue::new();
    let text: Value = serde_json::from_str(include_str!("demo.json")).unwrap();
    let actions =
        text["turns"].as_array().unwrap().iter().flat_map(|turn| turn["steps"].as_array().unwrap());
    for call in
        actions.flat_map(|step| step.as_array().unwrap()).filter_map(|action| action.get("call"))
    {
        let name = call["tool"].as_str().unwrap();
        let args = call.get("args").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(catalogue.problem(name, &args), None, "{name} {args}");
    }
}
