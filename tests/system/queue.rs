//! Messages that are sent while the agent works wait in the queue and are answered in order.

use anyhow::{Context, Result};
use serde_json::json;
use tests::stream::transcript;
use tests::world::{World, execute};

#[tokio::test]
async fn queued_messages_are_answered_one_after_the_other() -> Result<()> {
    let world = World::new(json!([
        {"match": "work", "steps": [
            [execute("while [ ! -e go-on ]; do sleep 0.02; done")],
            [{"say": "worked"}],
        ]},
        {"match": "second", "steps": [[{"say": "answer to the second"}]]},
        {"match": "third", "steps": [[{"say": "answer to the third"}]]},
        {"match": "dropped", "steps": [[{"say": "answer to nobody"}]]},
    ]))
    .await?;
    let mut chat = world.chat("work").await?;
    chat.stream.until("the command runs", |state| !state.preview.is_empty()).await?;

    for text in ["third", "dropped", "second"] {
        let (status, answer) = chat.send(world.api(), text, "queue").await?;
        assert_eq!(status, 202, "{answer}");
    }
    let queue = &chat.stream.until("three wait", |state| state.queue.len() == 3).await?.queue;
    let ids: Vec<String> = queue.iter().map(|queued| queued.id.to_string()).collect();
    let queue_path = format!("/chats/{}/queue", chat.id);
    let (status, _) =
        world.api().request("DELETE", &format!("{queue_path}/{}", ids[1]), None).await?;
    assert!((200..300).contains(&status), "deleting answered {status}");
    let two = chat.stream.until("two wait", |state| state.queue.len() == 2).await?;
    assert_eq!(two.queue[0].id.to_string(), ids[0]);
    std::fs::write(world.programs.root().join("go-on"), "")?;
    let state = chat.stream.until_rest().await?;

    assert_eq!(
        transcript(state),
        [
            "user: work",
            "call execute",
            "execute answered",
            "assistant: worked",
            "user: third",
            "assistant: answer to the third",
            "user: second",
            "assistant: answer to the second",
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_promoted_message_goes_first() -> Result<()> {
    let world = World::new(json!([
        {"match": "work", "steps": [
            [execute("while [ ! -e go-on ]; do sleep 0.02; done")],
            [{"say": "worked"}],
        ]},
        {"match": "a|b", "steps": [[{"say": "answered"}]]},
    ]))
    .await?;
    let mut chat = world.chat("work").await?;
    chat.stream.until("the command runs", |state| !state.preview.is_empty()).await?;
    chat.send(world.api(), "a", "queue").await?;
    chat.send(world.api(), "b", "queue").await?;
    let queue = &chat.stream.until("two wait", |state| state.queue.len() == 2).await?.queue;
    let last = queue.last().context("two wait")?.id;
    world.api().post(&format!("/chats/{}/queue/{last}/promote", chat.id), &json!({})).await?;
    std::fs::write(world.programs.root().join("go-on"), "")?;
    let state = chat.stream.until_rest().await?;
    let said: Vec<String> =
        transcript(state).into_iter().filter(|line| line.starts_with("user:")).collect();
    assert_eq!(said, ["user: work", "user: b", "user: a"]);
    Ok(())
}
