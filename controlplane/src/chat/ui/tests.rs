//! One test per kind of event: the chunks it becomes, as they go over the wire.

use serde_json::{Value, json};
use shared::ids::{IdSource, MessageId};
use shared::testing::CountingIds;

use super::UiProjection;
use crate::chat::content::{Part, Role};
use crate::chat::event::{
    ActionKind, ActionView, ChatErrorView, ChatEvent, ChatStatus, MessageView, PreviewKind,
    PreviewPart,
};
use crate::time::Timestamp;

fn message(seq: i64, role: Role, content: Vec<Part>) -> ChatEvent {
    let ids = CountingIds::default();
    let ids: &dyn IdSource = &ids;
    for _ in 0..seq {
        let _: MessageId = ids.id();
    }
    ChatEvent::Message {
        message: MessageView {
            id: ids.id(),
            chat_id: ids.id(),
            seq,
            revision: seq,
            role,
            content,
            created_at: Timestamp(0),
            model: None,
            usage: None,
            branch: None,
            label: None,
        },
    }
}

fn text(text: &str) -> Part {
    Part::Text { text: text.to_owned() }
}

fn call(id: &str) -> Part {
    let args = json!({"command": "ls"});
    Part::ToolCall { tool_call_id: id.to_owned(), name: "execute".to_owned(), args }
}

fn result(id: &str, result: Value, is_error: bool) -> Part {
    let (tool_call_id, name) = (id.to_owned(), "execute".to_owned());
    Part::ToolResult { tool_call_id, name, result, is_error, duration_ms: 1 }
}

fn piece(index: u32, kind: PreviewKind, seq: u64, delta: &str) -> PreviewPart {
    PreviewPart {
        history_version: 3,
        attempt: 1,
        seq,
        index,
        kind,
        tool_call_id: None,
        name: None,
        delta: Some(delta.to_owned()),
        value: None,
    }
}

fn part(index: u32, kind: PreviewKind, delta: &str) -> ChatEvent {
    ChatEvent::Part { part: piece(index, kind, 1, delta) }
}

fn status(status: ChatStatus) -> ChatEvent {
    ChatEvent::Status { status }
}

fn error(text: &str) -> ChatErrorView {
    ChatErrorView {
        code: "overloaded".to_owned(),
        message: text.to_owned(),
        retryable: true,
        provider: None,
        status_code: None,
        request_id: None,
    }
}

/// A turn that has just begun, and the chunks of what follows.
fn live(events: &[ChatEvent]) -> Vec<Value> {
    let mut ui = UiProjection::new();
    for event in
        [message(1, Role::User, vec![text("go")]), status(ChatStatus::Running), ChatEvent::Ready]
    {
        ui.apply(&event);
    }
    events.iter().flat_map(|event| ui.apply(event)).collect()
}

fn kinds(chunks: &[Value]) -> Vec<&str> {
    chunks.iter().map(|chunk| chunk["type"].as_str().unwrap()).collect()
}

#[test]
fn text_is_streamed_once_and_completed_by_its_message() {
    let chunks = live(&[
        part(0, PreviewKind::Text, "Hel"),
        part(0, PreviewKind::Text, "lo"),
        message(2, Role::Assistant, vec![text("Hello, you")]),
        ChatEvent::PreviewReset,
        status(ChatStatus::Waiting),
    ]);
    assert_eq!(
        chunks,
        [
            json!({"type": "start-step"}),
            json!({"type": "text-start", "id": "3.1.0"}),
            json!({"type": "text-delta", "id": "3.1.0", "delta": "Hel"}),
            json!({"type": "text-delta", "id": "3.1.0", "delta": "lo"}),
            json!({"type": "text-delta", "id": "3.1.0", "delta": ", you"}),
            json!({"type": "text-end", "id": "3.1.0"}),
            json!({"type": "finish-step"}),
            json!({"type": "finish"}),
        ]
    );
}

#[test]
fn thinking_is_a_part_of_its_own() {
    let reasoning = Part::Reasoning { text: "hm".to_owned() };
    let chunks = live(&[
        part(0, PreviewKind::Reasoning, "hm"),
        part(1, PreviewKind::Text, "a"),
        message(2, Role::Assistant, vec![reasoning, text("ab")]),
    ]);
    assert_eq!(
        chunks[1..],
        [
            json!({"type": "reasoning-start", "id": "3.1.0"}),
            json!({"type": "reasoning-delta", "id": "3.1.0", "delta": "hm"}),
            json!({"type": "text-start", "id": "3.1.1"}),
            json!({"type": "text-delta", "id": "3.1.1", "delta": "a"}),
            json!({"type": "reasoning-end", "id": "3.1.0"}),
            json!({"type": "text-delta", "id": "3.1.1", "delta": "b"}),
            json!({"type": "text-end", "id": "3.1.1"}),
        ]
    );
}

#[test]
fn a_call_and_its_answer_are_told_once_each_and_end_the_step() {
    let begun = PreviewPart {
        tool_call_id: Some("c1".to_owned()),
        name: Some("execute".to_owned()),
        ..piece(0, PreviewKind::ToolCall, 1, "{\"com")
    };
    let answered = PreviewPart {
        tool_call_id: Some("c1".to_owned()),
        delta: None,
        value: Some(result("c1", json!({"output": "a"}), false)),
        ..piece(0, PreviewKind::ToolResult, 3, "")
    };
    let shown = PreviewPart {
        tool_call_id: Some("c1".to_owned()),
        ..piece(0, PreviewKind::ToolResult, 2, "a\n")
    };
    let chunks = live(&[
        ChatEvent::Part { part: begun },
        part(0, PreviewKind::ToolCall, "mand\":\"ls\"}"),
        message(2, Role::Assistant, vec![call("c1")]),
        ChatEvent::PreviewReset,
        ChatEvent::Part { part: shown },
        ChatEvent::Part { part: answered },
        message(3, Role::Tool, vec![result("c1", json!({"output": "a"}), false)]),
        ChatEvent::PreviewReset,
        part(0, PreviewKind::Text, "done"),
    ]);
    assert_eq!(
        chunks,
        [
            json!({"type": "start-step"}),
            json!({"type": "tool-input-start", "toolCallId": "c1", "toolName": "execute", "dynamic": true}),
            json!({"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": "{\"com"}),
            json!({"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": "mand\":\"ls\"}"}),
            json!({"type": "tool-input-available", "toolCallId": "c1", "toolName": "execute",
                "input": {"command": "ls"}, "dynamic": true}),
            json!({"type": "data-tool-output", "data": {"toolCallId": "c1", "delta": "a\n"}, "transient": true}),
            json!({"type": "tool-output-available", "toolCallId": "c1", "output": {"output": "a"}, "dynamic": true}),
            json!({"type": "finish-step"}),
            json!({"type": "start-step"}),
            json!({"type": "text-start", "id": "3.1.0"}),
            json!({"type": "text-delta", "id": "3.1.0", "delta": "done"}),
        ]
    );
}

#[test]
fn a_tool_that_went_wrong_says_why() {
    let wrong = json!({"error": {"code": "x", "message": "no such file"}});
    let chunks = live(&[
        message(2, Role::Assistant, vec![call("c1")]),
        message(3, Role::Tool, vec![result("c1", wrong, true)]),
    ]);
    let last = chunks.last().unwrap();
    assert_eq!(
        *last,
        json!({"type": "tool-output-error", "toolCallId": "c1", "dynamic": true, "errorText": "no such file"})
    );
}

#[test]
fn what_was_streamed_of_an_attempt_that_failed_is_closed_and_named() {
    let retry = ChatEvent::Retry {
        attempt: 1,
        delay_ms: 1_000,
        retry_at: Timestamp(0),
        error: error("busy"),
    };
    let chunks = live(&[part(0, PreviewKind::Text, "Hal"), ChatEvent::PreviewReset, retry]);
    assert_eq!(
        chunks[3..5],
        [
            json!({"type": "text-end", "id": "3.1.0"}),
            json!({"type": "data-discarded", "data": {"ids": ["3.1.0"]}, "transient": true}),
        ]
    );
    assert_eq!(chunks[5]["type"], "data-retry");
    assert_eq!(chunks[5]["data"]["error"]["code"], "overloaded");
}

#[test]
fn approvals_are_asked_for_and_the_stream_waits_elsewhere() {
    let ids = CountingIds::default();
    let action = |kind| ActionView {
        id: (&ids as &dyn IdSource).id(),
        kind,
        tool_call_id: "c1".to_owned(),
        tool: "execute".to_owned(),
        args: json!({}),
        args_hash: String::new(),
        subject: None,
        risks: Vec::new(),
        created_at: Timestamp(0),
        deadline_at: None,
    };
    let (approval, question) = (action(ActionKind::Approval), action(ActionKind::Question));
    let asked = ChatEvent::ActionRequired { actions: vec![approval.clone(), question.clone()] };
    let chunks = live(&[
        message(2, Role::Assistant, vec![call("c1")]),
        asked.clone(),
        asked,
        status(ChatStatus::RequiresAction),
        part(0, PreviewKind::Text, "too late"),
    ]);
    assert_eq!(
        chunks[2..],
        [
            json!({"type": "tool-approval-request", "approvalId": approval.id, "toolCallId": "c1"}),
            json!({"type": "data-action", "id": question.id, "data": question}),
            json!({"type": "finish-step"}),
            json!({"type": "finish"}),
        ]
    );
}

#[test]
fn each_end_of_a_turn_is_told_apart() {
    let failed = ChatEvent::Error { error: Some(error("The key is wrong.")) };
    assert_eq!(
        live(&[failed, status(ChatStatus::Error)]),
        [json!({"type": "error", "errorText": "The key is wrong."})]
    );
    assert_eq!(
        live(&[status(ChatStatus::Interrupting), status(ChatStatus::Waiting)]),
        [json!({"type": "abort", "reason": "interrupted"})]
    );
    let resync = ChatEvent::Resync { reason: "resync_required".to_owned() };
    assert_eq!(live(&[resync]), [json!({"type": "abort", "reason": "resync"})]);
}

#[test]
fn remarks_are_transient_and_the_rest_is_not_of_the_turn() {
    let fallback = ChatEvent::Fallback {
        selected_model: "a".to_owned(),
        answered_by: "b".to_owned(),
        reason: "overloaded".to_owned(),
    };
    let chunks = live(&[
        fallback,
        part(0, PreviewKind::Compaction, "so far"),
        ChatEvent::Queue { items: Vec::new() },
        ChatEvent::Ping,
    ]);
    assert_eq!(kinds(&chunks), ["data-fallback", "data-compaction"]);
    assert!(chunks.iter().all(|chunk| chunk["transient"] == true), "{chunks:?}");
}

#[test]
fn who_comes_late_gets_the_turn_and_nothing_before_it() {
    let mut ui = UiProjection::new();
    let chunks: Vec<Value> = [
        message(1, Role::User, vec![text("first")]),
        message(2, Role::Assistant, vec![text("an earlier answer")]),
        message(3, Role::User, vec![text("go")]),
        message(4, Role::Assistant, vec![text("I look."), call("c1")]),
        message(5, Role::Tool, vec![result("c1", json!({"output": "a"}), false)]),
        status(ChatStatus::Running),
        ChatEvent::PreviewReset,
        part(0, PreviewKind::Text, "It is"),
        ChatEvent::Ready,
    ]
    .iter()
    .flat_map(|event| ui.apply(event))
    .collect();
    assert!(chunks[0]["messageId"].as_str().unwrap().starts_with("turn_msg_"), "{chunks:?}");
    assert_eq!(
        kinds(&chunks),
        [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "text-end",
            "tool-input-available",
            "tool-output-available",
            "finish-step",
            "start-step",
            "text-start",
            "text-delta",
        ]
    );
    assert!(!chunks.iter().any(|chunk| chunk.to_string().contains("earlier")), "{chunks:?}");
    assert!(!ui.is_over());
    ui.apply(&status(ChatStatus::Waiting));
    assert!(ui.is_over());
}
