//! B08 and B21: what is said in chats, and when.

use serde_json::{Value, json};
use shared::ids::{IdSource, QueueId, SystemIds};

use super::rows::Rows;
use super::world::World;

/// A turn that does not end by itself.
const STALLED: &str =
    r#"{"title": "t", "turns": [{"steps": [[{"say": "one"}, {"wait_ms": 600000}]]}]}"#;

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

#[tokio::test]
async fn b08_empty_and_endless_messages_are_refused() {
    let world = World::new().await;
    let mut rows = Rows::default();
    rows.problem("no model yet", &world.post("/chats", &text("hello")).await, 409, "no_model");
    world.scripted_model(None).await;
    for (row, body) in [
        ("B08 no part", json!({"content": []})),
        ("B08 empty text", text("")),
        ("B08 white space", text(" \n\t\u{a0}")),
    ] {
        rows.problem(row, &world.post("/chats", &body).await, 400, "empty_message");
    }
    let long = world.post("/chats", &text(&"x".repeat(1024 * 1024 + 1))).await;
    rows.problem("B08 1 MiB + 1", &long, 413, "message_too_long");
    rows.fact("B08 says the limit", long.json()["details"]["limit"] == "1048576", "");
    let endless = world.post("/chats", &text(&"x".repeat(10 * 1024 * 1024))).await;
    // Over what is read of any body: nobody knows that it is a message.
    rows.problem("B08 10 MiB", &endless, 413, "body_too_large");
    rows.fact("B08 10 MiB says the limit", endless.json()["details"]["limit"] == "2097152", "");
    let chats = world.get("/chats").await.json();
    rows.fact("B08 nothing is stored", chats["items"] == json!([]), &chats.to_string());
    let image = json!({"content": [{"type": "image", "text": "x"}]});
    rows.problem("B08 other part", &world.post("/chats", &image).await, 400, "invalid_value");
    let gone = json!({"content": [{"type": "text", "text": "x"}],
        "workspace_id": "ws_01M7VX0CF3EX12NW0AX82QJEXQ"});
    rows.problem("B11 unknown workspace", &world.post("/chats", &gone).await, 400, "invalid_value");
    rows.report("B08");
    world.end().await;
}

#[tokio::test]
async fn b21_what_does_not_fit_a_running_chat_is_refused_or_idempotent() {
    let world = World::new().await;
    let mut rows = Rows::default();
    world.scripted_model(Some(STALLED)).await;
    let chat = world.post("/chats", &text("hello")).await.json();
    let id = chat["chat"]["id"].as_str().unwrap_or_default().to_owned();
    let act = async |tail: &str| world.post(&format!("/chats/{id}{tail}"), &json!({})).await;

    rows.problem("B21 archive while running", &act("/archive").await, 409, "chat_running");
    let say =
        async |n: usize| world.post(&format!("/chats/{id}/messages"), &text(&n.to_string())).await;
    let mut queued = Vec::new();
    for n in 0..20 {
        let answer = say(n).await;
        rows.fact("B21 queued", answer.status == 202, &answer.json().to_string());
        queued.push(answer.json()["id"].as_str().unwrap_or_default().to_owned());
    }
    rows.problem("B21 queue of 20", &say(20).await, 409, "queue_full");
    let item = |n: usize| format!("/api/v1/chats/{id}/queue/{}", queued[n]);
    let delete = async |path: String| world.send("DELETE", &path, &world.bearer(), b"").await;
    rows.fact("B21 delete", delete(item(0)).await.status == 204, "");
    rows.problem("B21 delete twice", &delete(item(0)).await, 404, "not_found");
    let ids: &dyn IdSource = &SystemIds::new();
    let unknown = format!("/queue/{}/promote", ids.id::<QueueId>());
    rows.problem("B21 promote nothing", &act(&unknown).await, 404, "not_found");

    for n in 1..20 {
        delete(item(n)).await;
    }
    let (first, second) = tokio::join!(act("/interrupt"), act("/interrupt"));
    let fine = |status: u16| status == 200 || status == 409;
    rows.fact("B21 stop", first.status == 200 || second.status == 200, &first.head);
    rows.fact("B21 stop twice", fine(first.status) && fine(second.status), &second.head);
    for _ in 0..200 {
        if world.get(&format!("/chats/{id}")).await.json()["status"] == "waiting" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rows.problem("B21 stop at rest", &act("/interrupt").await, 409, "chat_not_running");
    rows.fact("B21 archive", act("/archive").await.status == 200, "");
    rows.fact("B21 archive twice", act("/archive").await.status == 200, "");
    rows.problem("B21 say in an archived chat", &say(21).await, 409, "chat_archived");
    rows.fact("B21 unarchive", act("/unarchive").await.status == 200, "");
    rows.report("B21");
    world.end().await;
}
