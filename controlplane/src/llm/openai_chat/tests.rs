//! Answers in the shapes of many servers, made by hand.

use serde_json::{Value, json};

use super::{ChatStream, request};
use crate::chat::content::{Part, Role};
use crate::llm::calls::CallIds;
use crate::llm::registry::ProviderKind;
use crate::llm::tests::{Heard, body, every_cut, message, prompt, teller, text};
use crate::llm::{EventStream, PromptMessage, sse};

const ANSWER: &str = r#": OPENROUTER PROCESSING

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"reasoning_content":"Let me "}}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"reasoning_content":"see."}}]}

: keep-alive

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"content":"Schöne "}}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"content":"Grüße 🌊"}}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"execute","arguments":""}}]}}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"command\": "}}]}}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"ls\"}"}}]}}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"a\"}"}}]}}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"id":"chatcmpl-1","model":"gpt-x","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":50,"total_tokens":1050,"prompt_tokens_details":{"cached_tokens":900},"completion_tokens_details":{"reasoning_tokens":7}}}

data: [DONE]

"#;

fn decode(bytes: &[u8], cuts: &[usize], history: Vec<PromptMessage>) -> EventStream {
    let decoder = ChatStream::new(CallIds::new(&prompt(history)), teller(), None);
    sse::decode(body(bytes, cuts), decoder, teller(), None)
}

/// Events of one choice's deltas, and the reason to stop.
fn stream(deltas: &[Value], reason: &str) -> String {
    let mut text = String::new();
    for delta in deltas {
        text.push_str(&format!("data: {}\n\n", json!({ "choices": [{ "delta": delta }] })));
    }
    text.push_str(&format!(
        "data: {}\n\ndata: [DONE]\n\n",
        json!({ "choices": [{ "delta": {}, "finish_reason": reason }] })
    ));
    text
}

async fn hear(deltas: &[Value], reason: &str) -> Heard {
    Heard::all(decode(stream(deltas, reason).as_bytes(), &[], vec![])).await
}

#[tokio::test]
async fn reasoning_text_and_calls_are_told_apart() {
    let heard = Heard::all(decode(ANSWER.as_bytes(), &[], vec![])).await;
    let stored: Value = serde_json::from_str(&heard.stored()).unwrap();
    assert_eq!(
        stored,
        json!([
            { "part": { "type": "reasoning", "text": "Let me see." }, "raw": { "reasoning_content": "Let me see." } },
            { "part": { "type": "text", "text": "Schöne Grüße 🌊" } },
            { "part": { "type": "tool_call", "tool_call_id": "call_a", "name": "execute", "args": { "command": "ls" } },
              "raw": { "id": "call_a", "type": "function", "function": { "name": "execute", "arguments": "{\"command\": \"ls\"}" } } },
            { "part": { "type": "tool_call", "tool_call_id": "call_b", "name": "read_file", "args": { "path": "a" } },
              "raw": { "id": "call_b", "type": "function", "function": { "name": "read_file", "arguments": "{\"path\":\"a\"}" } } },
        ])
    );
    assert_eq!(
        heard.finished.as_deref(),
        Some(
            "ToolUse Usage { input: 100, cache_read: 900, cache_write: 0, output: 50, reasoning: 7, \
             source: \"provider\", cost_micros: None }"
        )
    );
}

#[tokio::test]
async fn the_answer_is_the_same_wherever_the_network_cuts_it() {
    let whole = Heard::all(decode(ANSWER.as_bytes(), &[], vec![])).await.summary();
    for cuts in every_cut(ANSWER.len()) {
        let heard = Heard::all(decode(ANSWER.as_bytes(), &cuts, vec![])).await;
        assert_eq!(heard.summary(), whole, "cut at {cuts:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_reports_no_call_at_all() {
    let stop = ANSWER.find("\"finish_reason\":\"tool_calls\"").unwrap();
    let stop = stop + ANSWER[stop..].find("\n\n").unwrap() + 2;
    for end in 0..ANSWER.len() {
        let heard = Heard::all(decode(&ANSWER.as_bytes()[..end], &[], vec![])).await;
        let is_whole = end >= stop;
        assert_eq!(heard.calls().len(), if is_whole { 2 } else { 0 }, "cut after {end} bytes");
        assert_eq!(heard.finished.is_some(), is_whole, "cut after {end} bytes");
    }
}

#[tokio::test]
async fn calls_of_odd_servers_are_told_apart() {
    let function = |name: &str, arguments: Value| json!({ "name": name, "arguments": arguments });
    let args = |n: u32| json!({ "n": n });
    let rows: Vec<(&str, Vec<Value>, Vec<Value>)> = vec![
        (
            "arguments as an object, no id, no index",
            vec![json!({ "tool_calls": [
                { "function": function("a", args(1)) }, { "function": function("b", args(2)) },
            ] })],
            vec![args(1), args(2)],
        ),
        (
            "every call has index 0",
            vec![
                json!({ "tool_calls": [{ "index": 0, "id": "x", "function": function("a", json!("{\"n\":1}")) }] }),
                json!({ "tool_calls": [{ "index": 0, "id": "y", "function": function("a", json!("{\"n\":2}")) }] }),
            ],
            vec![args(1), args(2)],
        ),
        (
            "every call has index 0 and no id",
            vec![
                json!({ "tool_calls": [{ "index": 0, "function": function("a", json!("{\"n\":1}")) }] }),
                json!({ "tool_calls": [{ "index": 0, "function": function("a", json!("{\"n\":2}")) }] }),
            ],
            vec![args(1), args(2)],
        ),
        (
            "id and name repeated with every piece",
            vec![
                json!({ "tool_calls": [{ "index": 0, "id": "x", "function": function("a", json!("{\"n\"")) }] }),
                json!({ "tool_calls": [{ "index": 0, "id": "x", "function": function("a", json!(":1}")) }] }),
                json!({ "tool_calls": [{ "index": 0, "id": "x", "function": function("a", json!("")) }] }),
            ],
            vec![args(1)],
        ),
        (
            "pieces of two calls in turn",
            vec![
                json!({ "tool_calls": [{ "index": 0, "id": "x", "function": function("a", json!("{\"n\"")) }] }),
                json!({ "tool_calls": [{ "index": 1, "id": "y", "function": function("a", json!("{\"n\"")) }] }),
                json!({ "tool_calls": [{ "index": 0, "function": { "arguments": ":1}" } }] }),
                json!({ "tool_calls": [{ "index": 1, "function": { "arguments": ":2}" } }] }),
            ],
            vec![args(1), args(2)],
        ),
        (
            "no arguments at all",
            vec![json!({ "tool_calls": [{ "index": 0, "id": "x", "function": { "name": "a" } }] })],
            vec![json!({})],
        ),
    ];
    for (what, deltas, expected) in rows {
        let heard = hear(&deltas, "stop").await;
        let calls: Vec<Value> = heard.calls().into_iter().map(|(_, _, args)| args).collect();
        assert_eq!(calls, expected, "{what}");
        assert!(heard.finished.unwrap().starts_with("ToolUse"), "{what}");
        let ids: std::collections::BTreeSet<&String> =
            heard.begun.iter().map(|(_, id, _)| id).collect();
        assert_eq!(ids.len(), expected.len(), "{what}: ids differ");
    }
}

#[tokio::test]
async fn reasoning_details_are_joined_and_kept() {
    let detail = |text: &str| {
        json!({ "reasoning": text, "reasoning_details": [
            { "type": "reasoning.text", "index": 0, "format": "f", "text": text, "signature": null },
        ] })
    };
    let last = json!({ "reasoning_details": [
        { "type": "reasoning.text", "index": 0, "text": "", "signature": "sig=" },
        { "type": "reasoning.encrypted", "index": 1, "data": "ab" },
    ] });
    let heard =
        hear(&[detail("Let me "), detail("see."), last, json!({ "content": "Yes." })], "stop")
            .await;
    let stored: Value = serde_json::from_str(&heard.stored()).unwrap();
    assert_eq!(
        stored[0],
        json!({
            "part": { "type": "reasoning", "text": "Let me see." },
            "raw": { "reasoning": "Let me see.", "reasoning_details": [
                { "type": "reasoning.text", "index": 0, "format": "f", "text": "Let me see.", "signature": "sig=" },
                { "type": "reasoning.encrypted", "index": 1, "data": "ab" },
            ] },
        })
    );
}

#[tokio::test]
async fn content_in_parts_is_told_apart() {
    let heard = hear(
        &[
            json!({ "content": [{ "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] }] }),
            json!({ "content": [{ "type": "text", "text": "yes" }] }),
        ],
        "stop",
    )
    .await;
    assert_eq!(heard.streamed.into_values().collect::<Vec<_>>(), ["hm", "yes"]);
}

#[tokio::test]
async fn what_a_server_adds_to_a_call_goes_back_with_it() {
    let heard = hear(
        &[json!({ "tool_calls": [{
            "id": "f1", "type": "function", "function": { "name": "execute", "arguments": "{}" },
            "extra_content": { "google": { "thought_signature": "sig=" } },
        }] })],
        "tool_calls",
    )
    .await;
    let parts = heard.parts.into_values().collect();
    let history = vec![
        message(Role::User, vec![text("Hello")]),
        PromptMessage { role: Role::Assistant, parts },
    ];
    let body: Value =
        serde_json::from_slice(&request::body(&prompt(history), ProviderKind::Gemini)).unwrap();
    assert_eq!(
        body["messages"][2]["tool_calls"][0]["extra_content"],
        json!({ "google": { "thought_signature": "sig=" } })
    );
}

#[tokio::test]
async fn reasons_to_stop_are_told_apart() {
    let rows = [
        ("stop", "EndTurn"),
        ("tool_calls", "EndTurn"),
        ("length", "Length"),
        ("content_filter", "ContentFilter"),
        ("tired", "Other(\"tired\")"),
    ];
    for (reason, expected) in rows {
        let finished = hear(&[json!({ "content": "x" })], reason).await.finished.unwrap();
        assert!(finished.starts_with(expected), "{reason}: {finished}");
    }
    let refused = hear(&[json!({ "refusal": "I may not." })], "stop").await.finished.unwrap();
    assert!(refused.starts_with("Refusal(\"I may not.\")"), "{refused}");
}

#[tokio::test]
async fn an_error_inside_the_stream_is_told_with_its_kind() {
    let rows = [
        (json!({ "error": { "code": 429, "message": "slow down" } }), "provider_rate_limited"),
        (
            json!({ "error": { "code": 502, "message": "upstream" }, "choices": [{ "delta": {}, "finish_reason": "error" }] }),
            "provider_error",
        ),
        (json!({ "error": "out of memory" }), "provider_error"),
        (json!({ "choices": [{ "delta": {}, "finish_reason": "error" }] }), "provider_timeout"),
        (
            json!({ "error": { "type": "exceed_context_size_error", "message": "no", "code": 400 } }),
            "context_exceeded",
        ),
    ];
    for (event, code) in rows {
        let answer = format!(
            "data: {}\n\ndata: {event}\n\n",
            json!({ "choices": [{ "delta": { "content": "x" } }] })
        );
        assert_eq!(
            Heard::all(decode(answer.as_bytes(), &[], vec![])).await.code(),
            code,
            "{event}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_farewell_is_complete_soon_after_the_reason_to_stop() {
    use futures_util::StreamExt;
    let answer = stream(&[json!({ "content": "x" })], "stop").replace("data: [DONE]\n\n", "");
    let endless = body(answer.as_bytes(), &[]).chain(futures_util::stream::pending()).boxed();
    let decoder = ChatStream::new(CallIds::new(&prompt(vec![])), teller(), None);
    let from = tokio::time::Instant::now();
    let heard = Heard::all(sse::decode(endless, decoder, teller(), None)).await;
    assert!(heard.finished.is_some());
    assert_eq!(from.elapsed().as_secs(), 5);
}

#[test]
fn the_body_is_what_servers_take() {
    let history = vec![
        message(Role::User, vec![text("Hello")]),
        message(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "hm".to_owned() },
                text("I look."),
                Part::ToolCall {
                    tool_call_id: "functions.execute:0".to_owned(),
                    name: "execute".to_owned(),
                    args: json!({ "command": "ls" }),
                },
            ],
        ),
        message(
            Role::Tool,
            vec![Part::ToolResult {
                tool_call_id: "functions.execute:0".to_owned(),
                name: "execute".to_owned(),
                result: json!({ "error": { "code": "x" } }),
                is_error: true,
                duration_ms: 1,
            }],
        ),
        message(Role::User, vec![text("one")]),
        message(Role::User, vec![text("two")]),
    ];
    let body: Value =
        serde_json::from_slice(&request::body(&prompt(history), ProviderKind::OpenaiCompatible))
            .unwrap();
    let id = body["messages"][2]["tool_calls"][0]["id"].clone();
    assert_eq!(
        body,
        json!({
            "model": "model-1", "stream": true, "stream_options": { "include_usage": true }, "max_tokens": 1000,
            "tools": [{ "type": "function", "function": {
                "name": "execute", "description": "Run a command.", "parameters": { "type": "object" } } }],
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Hello" },
                { "role": "assistant", "content": "I look.", "tool_calls": [
                    { "id": id, "type": "function", "function": { "name": "execute", "arguments": "{\"command\":\"ls\"}" } } ] },
                { "role": "tool", "tool_call_id": id, "content": "Error: {\"error\":{\"code\":\"x\"}}" },
                { "role": "user", "content": "one\n\ntwo" },
            ],
        })
    );
}

#[tokio::test]
async fn reasoning_goes_back_within_its_turn_and_not_after_it() {
    let parts: Vec<_> =
        Heard::all(decode(ANSWER.as_bytes(), &[], vec![])).await.parts.into_values().collect();
    let mut history = vec![
        message(Role::User, vec![text("Hello")]),
        PromptMessage { role: Role::Assistant, parts },
    ];
    let sent = |history: &[PromptMessage]| -> Value {
        let body = request::body(&prompt(history.to_vec()), ProviderKind::OpenaiCompatible);
        serde_json::from_slice::<Value>(&body).unwrap()["messages"][2].clone()
    };
    assert_eq!(sent(&history)["reasoning_content"], "Let me see.");
    history.push(message(Role::User, vec![text("thanks")]));
    assert_eq!(sent(&history).get("reasoning_content"), None);
}
