//! Turns that go well.

use serde_json::json;

use super::doubles::Act;
use super::*;
use crate::chat::family::Budget;

#[tokio::test]
async fn a_message_is_answered_and_the_chat_rests() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("Hello"), Act::Text(" there")]]);
    let chat = world.begin("hi  you").await;
    let row = world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: hi  you", "assistant: Hello  there"]);
    assert_eq!(row.title, "hi you");
    assert!(row.worker_id.is_none() && row.attempt == 0);
    let client = world.watch(chat, |client| client.ready).await;
    assert_eq!(client.history().len(), 2);
    assert!(client.preview.is_empty());
}

#[tokio::test]
async fn the_model_is_called_after_one_commit() {
    let world = World::new().await;
    // The worker has its lease.
    let first = world.begin("warm up").await;
    world.until_rest(first).await;
    world.model.answers([vec![Act::Gate("never")]]);
    let chat = world.begin("hi").await;
    world.model.asked(2).await;
    let row = world.row(chat).await;
    assert_eq!((row.snapshot_version, row.attempt), (1, 1), "claim and attempt are in the create");
    assert!(row.worker_id.is_some());
}

#[tokio::test]
async fn tools_of_a_step_run_together_and_each_answer_is_stored_when_it_is_there() {
    let world = World::new().await;
    world.model.answers([vec![
        Act::call("slow", "act", json!({"what": "slow", "gate": "slow", "live": "working"})),
        Act::call("fast", "act", json!({"what": "fast"})),
        Act::call("read", "look", json!({"what": "read"})),
    ]]);
    let chat = world.begin("go").await;
    // The fast ones are shown and stored while the slow one runs, with its output.
    let client = world
        .watch(chat, |client| {
            let shown = |index| client.preview.get(&index);
            shown(0).is_some_and(|part| part.text == "working")
                && shown(1).is_some_and(|part| part.value.is_some())
                && shown(2).is_some_and(|part| part.value.is_some())
        })
        .await;
    assert_eq!(client.preview[&0].name.as_deref(), Some("act"));
    let row = world.until(chat, "two answers", |row| row.unanswered == 1).await;
    assert_eq!(row.status, ChatStatus::Running);
    world.tools.open("slow");
    world.until_rest(chat).await;
    assert_eq!(
        world.story(chat).await,
        [
            "user: go",
            "assistant: +slow +fast +read",
            r#"tool: slow={"did":"slow"} fast={"did":"fast"} read={"did":"read"}"#,
            "assistant: done",
        ]
    );
    assert_eq!(world.tools.ledger(), ["fast", "slow"]);
    assert_eq!(world.tools.acknowledged(), 2, "reads leave nothing with the daemon");
}

#[tokio::test]
async fn an_unknown_tool_and_a_panicking_one_are_error_results() {
    let world = World::new().await;
    world.model.answers([vec![
        Act::call("a", "no_such_tool", json!({})),
        Act::call("b", "act", json!({"what": "boom", "panic": true})),
        Act::call("c", "act", json!({"what": "fine"})),
    ]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], r#"tool: a! b! c={"did":"fine"}"#);
}

#[tokio::test]
async fn a_queued_message_is_answered_in_a_turn_of_its_own() {
    let world = World::new().await;
    world.model.answers([vec![Act::Gate("go"), Act::Text("one")], vec![Act::Text("two")]]);
    let chat = world.begin("first").await;
    let sent = world.say(chat, "second", Busy::Queue).await;
    assert!(matches!(sent, Delivery::Queued(_)));
    world.model.open("go");
    world.until_rest(chat).await;
    assert_eq!(
        world.story(chat).await,
        ["user: first", "assistant: one", "user: second", "assistant: two"]
    );
}

#[tokio::test]
async fn a_steering_message_is_delivered_behind_the_tool_batch() {
    let world = World::new().await;
    world.model.answers([vec![Act::call("a", "act", json!({"what": "x", "gate": "go"}))]]);
    let chat = world.begin("go").await;
    world.until(chat, "the call", |row| row.unanswered == 1).await;
    world.say(chat, "other way", Busy::Steer).await;
    world.tools.open("go");
    world.until_rest(chat).await;
    assert_eq!(
        world.story(chat).await,
        [
            "user: go",
            "assistant: +a",
            r#"tool: a={"did":"x"}"#,
            "user: other way",
            "assistant: done"
        ]
    );
}

#[tokio::test]
async fn a_turn_that_never_ends_is_stopped_after_its_steps() {
    let world = World::new().await;
    let call = |at: i32| vec![Act::call("a", "look", json!({"what": at.to_string()}))];
    world.model.answers((0..60).map(call));
    let budget = Budget { steps: Some(20), ..Budget::default() };
    let chat = world.begin_with("go", budget).await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    assert_eq!(row.last_error.unwrap().code, "step_limit");
    assert_eq!(world.model.calls(), 20);
    // And goes on when asked to.
    world.say(chat, "go on", Busy::Queue).await;
    world.until(chat, "more", |row| row.steps_in_turn > 0).await;
}

#[tokio::test]
async fn the_prompt_keeps_system_and_tools_stable_over_a_chat() {
    let world = World::new().await;
    world.model.answers([vec![Act::call("a", "look", json!({"what": "x"}))]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let first = world.model.last_prompt();
    world.say(chat, "more", Busy::Queue).await;
    world.until_rest(chat).await;
    let second = world.model.last_prompt();
    assert_eq!(first.system, second.system);
    assert_eq!(first.cache_key, second.cache_key);
    let names = |prompt: &crate::llm::Prompt| -> Vec<String> {
        prompt.tools.iter().map(|tool| tool.name.clone()).collect()
    };
    assert_eq!(names(&first), names(&second));
    assert_eq!(second.messages.len(), first.messages.len() + 2);
}

#[tokio::test]
async fn a_chat_of_somebody_else_is_not_found() {
    let world = World::new().await;
    let chat = world.begin("mine").await;
    let stranger =
        NewUser { username: "eve".into(), password_hash: String::new(), role: UserRole::Member };
    let stranger = world.store.users.create(&stranger).await.unwrap().id;
    let chats = &world.engine.chats;
    let errors = [
        chats.head(stranger, chat).await.err(),
        chats.interrupt(stranger, chat).await.err(),
        chats.subscribe(stranger, chat, None).await.err(),
        chats.snapshot(stranger, chat, 0).await.err(),
    ];
    for error in errors {
        assert!(matches!(error, Some(crate::store::StoreError::NotFound)), "{error:?}");
    }
}
