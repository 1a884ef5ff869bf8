//! Who owns a chat, and the end of the program.

use serde_json::json;

use super::doubles::Act;
use super::*;

/// Class: shutdown marks a turn as failed, or leaves it to the lease.
#[tokio::test]
async fn a_soft_stop_gives_the_chat_back_at_once_and_the_next_start_goes_on() {
    let mut world = World::new().await;
    world.model.answers([vec![Act::call("a", "act", json!({"what": "a", "gate": "go"}))]]);
    let chat = world.begin("go").await;
    world.until(chat, "the call", |row| row.unanswered == 1).await;
    world.engine.lifecycle.clone().shut_down(PATIENCE).await;
    let row = world.row(chat).await;
    assert!(row.worker_id.is_none() && row.status == ChatStatus::Running, "{row:?}");
    assert!(world.store.replicas.live().await.unwrap().is_empty(), "the lease is released");
    world.tools.open("go");
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a"]);
}

#[tokio::test]
async fn a_soft_stop_lets_an_answer_that_is_nearly_there_end() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("near"), Act::Gate("end"), Act::Text("ly")]]);
    let chat = world.begin("go").await;
    world.watch(chat, |client| !client.preview.is_empty()).await;
    world.engine.lifecycle.stop();
    world.model.open("end");
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[1], "assistant: near ly");
    world.engine.lifecycle.clone().shut_down(PATIENCE).await;
}

/// A message that comes while no worker serves is committed, and found by the next.
#[tokio::test]
async fn a_message_without_a_worker_waits_for_one() {
    let mut world = World::new().await;
    world.engine.lifecycle.clone().shut_down(PATIENCE).await;
    let created = {
        let lifecycle = Lifecycle::new();
        let Engine { chats, .. } = engine(&world.store, &world.model, &world.tools, &lifecycle);
        let begin = BeginChat {
            owner: world.user,
            workspace_id: None,
            model_id: None,
            mode: "auto".into(),
            title: None,
            content: vec![Part::Text { text: "hi".into() }],
            effort: None,
            client_tools: Vec::new(),
            budget: None,
            key: None,
        };
        chats.create(begin).await.unwrap().0
    };
    assert!(created.worker_id.is_none(), "nobody claims what nobody would drive");
    world.restart();
    world.until_rest(created.id).await;
}

/// A worker whose lease was taken from it changes nothing more, and comes back under a new id.
#[tokio::test]
async fn a_worker_that_lost_its_lease_is_fenced_and_begins_anew() {
    let world = World::new().await;
    world.model.answers([vec![Act::Gate("go"), Act::Text("stale")], vec![Act::Text("fresh")]]);
    let chat = world.begin("go").await;
    world.model.asked(1).await;
    let before = world.row(chat).await;
    let owner = before.worker_id.unwrap();
    // As after a pause of the machine: the row of the lease is gone.
    world.store.replicas.release(owner).await.unwrap();
    let after =
        world.until(chat, "the take-over", |row| row.worker_id.is_some_and(|id| id != owner)).await;
    assert!(after.epoch > before.epoch);
    world.model.open("go");
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: go", "assistant: fresh"]);
}

/// Class: missed wake, the chat stays idle with work.
#[tokio::test]
async fn work_without_any_hint_is_found_by_the_poll() {
    let world = World::new().await;
    let warm = world.begin("warm up").await;
    world.until_rest(warm).await;
    let chat = {
        // Committed behind the engine's back: no hint at all.
        let message = super::super::machine::UserMessage {
            content: vec![Part::Text { text: "hi".into() }.into()],
            model_id: None,
            effort: None,
        };
        let new = crate::store::chats::NewChat {
            owner_id: world.user,
            workspace_id: None,
            parent_id: None,
            mode: "auto".into(),
            title: String::new(),
            title_source: crate::store::chats::TitleSource::FirstWords,
            message,
            client_tools: Vec::new(),
            budget: None,
            claim: None,
            key: None,
        };
        world.store.chats.create(&new).await.unwrap().chat.id
    };
    world.until_rest(chat).await;
}
