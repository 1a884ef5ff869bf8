//! A step with everything in it, made by hand in the provider's shape.

use serde_json::{Value, json};

use super::AnthropicStream;
use super::request;
use crate::chat::content::{Part, Role};
use crate::llm::calls::CallIds;
use crate::llm::tests::{Heard, body, every_cut, message, prompt, teller, text};
use crate::llm::{EventStream, PromptMessage, sse};

const ANSWER: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-x-20260101","content":[],"stop_reason":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":5,"cache_read_input_tokens":900,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Is it “ready”? "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Look first."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCkYIBRgCKkD/+=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking", "data":"EmwKAhgBEgy3va3=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Schöne "}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Grüße 🌊"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"query\": \"kelp\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://kelp.example","encrypted_content":"Eo8=","page_age":null}]}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: a_new_event
data: {"type":"a_new_event","of":"tomorrow"}

event: content_block_start
data: {"type":"content_block_start","index":5,"content_block":{"type":"tool_use","id":"toolu_01","name":"execute","input":{},"caller":{"type":"direct"}}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":"{\"command\": \"ls"}}

event: content_block_delta
data: {"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":" -l\", \"n\": 1.50}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":5}

event: content_block_start
data: {"type":"content_block_start","index":6,"content_block":{"type":"tool_use","id":"toolu_02","name":"execute","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":6,"delta":{"type":"input_json_delta","partial_json":"{\"command\":\"pwd\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":6}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":77,"output_tokens_details":{"thinking_tokens":20}}}

event: message_stop
data: {"type":"message_stop"}

"#;

fn decode(bytes: &[u8], cuts: &[usize], history: Vec<PromptMessage>) -> EventStream {
    let ids = CallIds::new(&prompt(history));
    let decoder = AnthropicStream::new(ids, teller(), Some("req_1".to_owned()));
    sse::decode(body(bytes, cuts), decoder, teller(), Some("req_1".to_owned()))
}

#[tokio::test]
async fn every_kind_of_block_is_shown_and_kept() {
    let heard = Heard::all(decode(ANSWER.as_bytes(), &[], vec![])).await;
    assert_eq!(heard.error.map(|error| error.message), None);
    let stored: Value = serde_json::from_str(
        &serde_json::to_string(&heard.parts.values().collect::<Vec<_>>()).unwrap(),
    )
    .unwrap();
    assert_eq!(
        stored,
        json!([
            { "part": { "type": "reasoning", "text": "Is it “ready”? Look first." },
              "raw": { "type": "thinking", "thinking": "Is it “ready”? Look first.", "signature": "EqQBCkYIBRgCKkD/+==" } },
            { "part": { "type": "reasoning", "text": "" },
              "raw": { "type": "redacted_thinking", "data": "EmwKAhgBEgy3va3==" } },
            { "part": { "type": "text", "text": "Schöne Grüße 🌊" } },
            { "part": { "type": "notice", "code": "provider_block", "text": "server_tool_use" },
              "raw": { "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": { "query": "kelp" } } },
            { "part": { "type": "notice", "code": "provider_block", "text": "web_search_tool_result" },
              "raw": { "type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
                       "content": [{ "type": "web_search_result", "url": "https://kelp.example", "encrypted_content": "Eo8=", "page_age": null }] } },
            { "part": { "type": "tool_call", "tool_call_id": "toolu_01", "name": "execute", "args": { "command": "ls -l", "n": 1.5 } },
              "raw": { "type": "tool_use", "id": "toolu_01", "name": "execute", "input": { "command": "ls -l", "n": 1.5 }, "caller": { "type": "direct" } } },
            { "part": { "type": "tool_call", "tool_call_id": "toolu_02", "name": "execute", "args": { "command": "pwd" } },
              "raw": { "type": "tool_use", "id": "toolu_02", "name": "execute", "input": { "command": "pwd" } } },
        ])
    );
    assert_eq!(heard.model.as_deref(), Some("claude-x-20260101"));
    assert_eq!(
        heard.finished.as_deref(),
        Some(
            "ToolUse Usage { input: 12, cache_read: 900, cache_write: 5, output: 77, reasoning: 20, \
             source: \"provider\", cost_micros: None }"
        )
    );
}

#[tokio::test]
async fn a_block_that_came_whole_is_kept_byte_for_byte() {
    let heard = Heard::all(decode(ANSWER.as_bytes(), &[], vec![])).await;
    let stored = heard.stored();
    assert!(
        stored.contains(r#"{"type":"redacted_thinking", "data":"EmwKAhgBEgy3va3=="}"#),
        "{stored}"
    );
    assert!(stored.contains(r#""input":{"command": "ls -l", "n": 1.50}"#), "{stored}");
}

#[tokio::test]
async fn the_answer_is_the_same_wherever_the_network_cuts_it() {
    let whole = Heard::all(decode(ANSWER.as_bytes(), &[], vec![])).await.summary();
    for cuts in every_cut(ANSWER.len()) {
        let heard = Heard::all(decode(ANSWER.as_bytes(), &cuts, vec![])).await;
        assert_eq!(heard.summary(), whole, "cut at {cuts:?}");
    }
    for (from, to) in [("\n", "\r\n"), ("\n", "\r")] {
        let other = format!("\u{FEFF}{}", ANSWER.replace(from, to));
        let heard = Heard::all(decode(other.as_bytes(), &[1, 2, 500], vec![])).await;
        assert_eq!(heard.summary(), whole, "line ends {to:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_reports_no_call_that_is_not_whole() {
    for end in 0..ANSWER.len() - 2 {
        let cut = &ANSWER.as_bytes()[..end];
        let heard = Heard::all(decode(cut, &[], vec![])).await;
        let text = String::from_utf8_lossy(cut);
        let whole =
            |index: &str| text.contains(&format!("\"content_block_stop\",\"index\":{index}}}\n\n"));
        let expected = usize::from(whole("5")) + usize::from(whole("6"));
        assert_eq!(heard.calls().len(), expected, "cut after {end} bytes");
        let stopped = text.contains("\"stop_reason\":\"tool_use\"")
            && text.contains("\"thinking_tokens\":20}}}\n\n");
        assert_eq!(heard.finished.is_some(), stopped, "cut after {end} bytes");
        if !stopped {
            assert!(matches!(heard.code(), "provider_timeout" | "provider_bad_response"), "{end}");
        }
    }
}

#[tokio::test]
async fn what_came_from_the_provider_goes_back_as_it_came() {
    let heard = Heard::all(decode(ANSWER.as_bytes(), &[], vec![])).await;
    let parts: Vec<_> = heard.parts.into_values().collect();
    let raws: Vec<String> =
        parts.iter().filter_map(|part| Some(part.raw.as_ref()?.get().to_owned())).collect();
    let history = vec![
        message(Role::User, vec![text("Hello")]),
        PromptMessage { role: Role::Assistant, parts },
        message(Role::Tool, vec![result("toolu_01", "a\nb"), result("toolu_02", "/work")]),
    ];
    let body = String::from_utf8(request::body(&prompt(history))).unwrap();
    assert_eq!(raws.len(), 6);
    for raw in raws {
        assert!(body.contains(&raw), "{raw} is not in {body}");
    }
}

fn result(id: &str, output: &str) -> Part {
    Part::ToolResult {
        tool_call_id: id.to_owned(),
        name: "execute".to_owned(),
        result: json!({ "output": output }),
        is_error: false,
        duration_ms: 3,
    }
}

fn call(id: &str, args: Value) -> Part {
    Part::ToolCall { tool_call_id: id.to_owned(), name: "execute".to_owned(), args }
}

fn history(steps: usize) -> Vec<PromptMessage> {
    let mut history = vec![message(Role::User, vec![text("Hello")])];
    for step in 0..steps {
        let id = format!("toolu_{step}");
        history.push(message(
            Role::Assistant,
            vec![text("I look."), call(&id, json!({ "command": "ls" }))],
        ));
        history.push(message(Role::Tool, vec![result(&id, "src")]));
    }
    history
}

#[test]
fn a_longer_history_begins_with_the_bytes_of_the_shorter_one() {
    let unmarked = |steps| {
        let body = String::from_utf8(request::body(&prompt(history(steps)))).unwrap();
        body.replace(r#""cache_control":{"type":"ephemeral"},"#, "")
    };
    for steps in 0..5 {
        let shorter = unmarked(steps);
        let shorter = shorter.trim_end_matches(['}', ']']);
        assert!(unmarked(steps + 1).starts_with(shorter), "after {steps} steps");
    }
}

#[test]
fn at_most_four_places_are_marked_for_the_cache() {
    let body = String::from_utf8(request::body(&prompt(history(9)))).unwrap();
    assert_eq!(body.matches("cache_control").count(), 3);
}

#[test]
fn the_body_is_what_the_provider_documents() {
    let mut asked = prompt(history(1));
    asked.options.insert("temperature".to_owned(), json!(0.5));
    asked.options.insert("model".to_owned(), json!("another"));
    let body: Value = serde_json::from_slice(&request::body(&asked)).unwrap();
    let mark = json!({ "type": "ephemeral" });
    assert_eq!(
        body,
        json!({
            "model": "model-1", "max_tokens": 1000, "stream": true, "temperature": 0.5,
            "tools": [{ "name": "execute", "description": "Run a command.", "input_schema": { "type": "object" } }],
            "system": [{ "type": "text", "text": "Be brief.", "cache_control": mark }],
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": "Hello", "cache_control": mark }] },
                { "role": "assistant", "content": [
                    { "type": "text", "text": "I look." },
                    { "type": "tool_use", "id": "toolu_0", "name": "execute", "input": { "command": "ls" } },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "toolu_0", "content": "{\"output\":\"src\"}",
                      "is_error": false, "cache_control": mark },
                ] },
            ],
        })
    );
}

#[test]
fn another_providers_history_is_made_fit() {
    let strange = "functions.execute:0";
    let history = vec![
        message(Role::User, vec![text("Hello")]),
        message(Role::User, vec![text("and again")]),
        message(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "unsigned".to_owned() },
                text("  \n"),
                call(strange, json!("{\"command\": \"l")),
                Part::Notice {
                    code: "interrupted".to_owned(),
                    text: "Interrupted by the user".to_owned(),
                },
            ],
        ),
        message(Role::Tool, vec![result(strange, "no")]),
    ];
    let body: Value = serde_json::from_slice(&request::body(&prompt(history))).unwrap();
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let blocks = messages[1]["content"].as_array().unwrap();
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    assert_eq!(blocks[0]["input"], json!({ "invalid_arguments": "{\"command\": \"l" }));
    assert_eq!(blocks[1]["text"], "[Interrupted by the user]");
    assert_eq!(blocks[0]["id"], messages[2]["content"][0]["tool_use_id"]);
}

#[tokio::test]
async fn reasons_to_stop_are_told_apart() {
    let rows = [
        (r#"{"stop_reason":"end_turn"}"#, "EndTurn"),
        (r#"{"stop_reason":"stop_sequence"}"#, "EndTurn"),
        (r#"{"stop_reason":"max_tokens"}"#, "Length"),
        (r#"{"stop_reason":"pause_turn"}"#, "Pause"),
        (r#"{"stop_reason":"refusal","stop_details":{"explanation":"no"}}"#, "Refusal(\"no\")"),
        (r#"{"stop_reason":"tool_use"}"#, "EndTurn"),
        (r#"{"stop_reason":"tired"}"#, "Other(\"tired\")"),
    ];
    for (delta, expected) in rows {
        let answer = format!(
            "data: {{\"type\":\"message_start\",\"message\":{{}}}}\n\n\
             data: {{\"type\":\"message_delta\",\"delta\":{delta}}}\n\ndata: {{\"type\":\"message_stop\"}}\n\n"
        );
        let heard = Heard::all(decode(answer.as_bytes(), &[], vec![])).await;
        let finished = heard.finished.unwrap();
        assert!(finished.starts_with(expected), "{delta}: {finished}");
        assert!(finished.contains("source: \"unknown\""), "{finished}");
    }
}

#[tokio::test]
async fn an_error_inside_the_stream_is_told_with_its_kind() {
    let answer = "data: {\"type\":\"message_start\",\"message\":{}}\n\nevent: error\n\
        data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let heard = Heard::all(decode(answer.as_bytes(), &[], vec![])).await;
    assert_eq!(heard.code(), "provider_overloaded");
    assert_eq!(heard.error.unwrap().request_id.as_deref(), Some("req_1"));
}
