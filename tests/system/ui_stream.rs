//! A chat kit follows a turn over the AI SDK's protocol, and says something wrong in every way.

use anyhow::{Context, Result};
use controlplane::chat::event::ChatStatus;
use serde_json::{Value, json};
use tests::stream::ChatStream;
use tests::world::{World, execute};

#[tokio::test]
async fn a_chat_kit_gets_the_turn_and_what_it_waits_for() -> Result<()> {
    let steps = json!([[{"say": "I ask."}, execute("true")], [{"say": "done"}]]);
    let world = World::new(json!([{"steps": steps}])).await?;
    let body = json!({
        "workspace_id": world.programs.workspace_id,
        "content": [{"type": "text", "text": "go"}],
        "mode": "ask",
    });
    let made = world.api().post("/chats", &body).await?;
    let id = made["chat"]["id"].as_str().with_context(|| format!("no chat in {made}"))?;
    let mut viewer = ChatStream::open(world.api(), id).await?;
    let waits = |status| status == Some(ChatStatus::RequiresAction);
    viewer.until("it waits for a person", |state| waits(state.status)).await?;

    let path = format!("/chats/{id}/ui-stream");
    let (body, version) = world.api().bytes(&path, "x-vercel-ai-ui-message-stream").await?;
    assert_eq!(version, "v1");
    let body = String::from_utf8(body)?;
    let frames: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, chunks) = frames.split_last().context("an empty stream")?;
    assert_eq!(*last, "[DONE]");
    let chunks: Vec<Value> =
        chunks.iter().map(|it| serde_json::from_str(it)).collect::<Result<_, _>>()?;
    let kinds: Vec<&str> = chunks.iter().filter_map(|chunk| chunk["type"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "text-end",
            "tool-input-available",
            "tool-approval-request",
            "finish-step",
            "finish",
        ]
    );
    assert_eq!(chunks[6]["toolCallId"], chunks[5]["toolCallId"]);

    let text = |text: &str| json!([{"role": "user", "parts": [{"type": "text", "text": text}]}]);
    let picture = json!([{"role": "user", "parts": [{"type": "file", "url": "data:,x"}]}]);
    for (body, expected) in [
        (json!({}), (400, "missing_field")),
        (json!({"messages": []}), (400, "invalid_value")),
        (json!({"messages": [{"role": "assistant", "parts": []}]}), (400, "invalid_value")),
        (json!({"messages": [{"role": "user"}]}), (400, "invalid_value")),
        (json!({"messages": picture}), (400, "invalid_value")),
        (json!({"messages": text(" ")}), (400, "empty_message")),
        (json!({"messages": text("x"), "trigger": "regenerate-message"}), (400, "invalid_value")),
        (json!({"messages": text("x"), "more": 1}), (400, "unknown_field")),
    ] {
        let path = format!("/chats/{id}/ui-messages");
        let (status, answer) = world.api().request("POST", &path, Some(&body)).await?;
        let found = (status, answer["code"].as_str().unwrap_or_default());
        assert_eq!(found, expected, "{body}");
    }
    Ok(())
}
