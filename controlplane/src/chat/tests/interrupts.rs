//! Stopping.

use serde_json::json;

use super::doubles::Act;
use super::*;

/// Class: partial answer lost on interrupt.
#[tokio::test]
async fn a_stop_keeps_the_partial_answer_once() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("half an"), Act::Gate("never")]]);
    let chat = world.begin("go").await;
    world.watch(chat, |client| client.preview.get(&0).is_some_and(|it| it.text == "half an")).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    // A second press is no error, whenever it comes.
    let _ = world.engine.chats.interrupt(world.user, chat).await;
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: go", "assistant: half an [interrupted]"]);
    let client = world.watch(chat, |client| client.ready).await;
    assert!(client.preview.is_empty());
}

#[tokio::test]
async fn a_call_in_a_partial_answer_gets_an_error_and_never_runs() {
    let world = World::new().await;
    let call = Act::call("a", "act", json!({"what": "never"}));
    world.model.answers([vec![Act::Text("I run"), call, Act::Gate("never")]]);
    let chat = world.begin("go").await;
    world.watch(chat, |client| client.preview.len() == 2).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(
        world.story(chat).await,
        ["user: go", "assistant: I run +a [interrupted]", "tool: a!"]
    );
    // The next request is valid, which the model checks.
    world.say(chat, "and now?", Busy::Queue).await;
    world.until_rest(chat).await;
    assert!(world.tools.ledger().is_empty());
}

#[tokio::test]
async fn a_stop_before_the_first_word_leaves_no_empty_answer() {
    let world = World::new().await;
    world.model.answers([vec![Act::Gate("never")]]);
    let chat = world.begin("go").await;
    world.model.asked(1).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: go"]);
}

#[tokio::test]
async fn a_stop_ends_running_tools_and_keeps_what_they_say() {
    let world = World::new().await;
    world.model.answers([vec![
        Act::call("a", "act", json!({"what": "a", "gate": "stop"})),
        Act::call("b", "act", json!({"what": "b", "gate": "never"})),
        Act::call("c", "act", json!({"what": "c"})),
    ]]);
    let chat = world.begin("go").await;
    world.until(chat, "c has answered", |row| row.unanswered == 2).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    // `a` answered by itself when it was stopped; `b` did not.
    assert_eq!(world.story(chat).await[2], r#"tool: a={"did":"a"} b! c={"did":"c"}"#);
    assert_eq!(world.tools.stopped(), 2, "what had answered is not stopped");
    assert_eq!(world.model.calls(), 1, "the model is not asked again");
}

/// Class: queued message lost; wrong order on interrupt.
#[tokio::test]
async fn a_message_that_interrupts_is_answered_next() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("I was"), Act::Gate("never")], vec![Act::Text("yes")]]);
    let chat = world.begin("first").await;
    world.watch(chat, |client| !client.preview.is_empty()).await;
    world.say(chat, "stop, this", Busy::Interrupt).await;
    world.until(chat, "the second answer", |row| row.status == ChatStatus::Waiting).await;
    assert_eq!(
        world.story(chat).await,
        ["user: first", "assistant: I was [interrupted]", "user: stop, this", "assistant: yes"]
    );
}

/// Class: interrupt races with completion. Whoever commits first wins; nothing is lost or doubled.
#[tokio::test]
async fn a_stop_at_the_moment_of_success_neither_loses_nor_doubles() {
    let world = World::new().await;
    for round in 0..20 {
        world.model.answers([vec![Act::Gate("open"), Act::Text("whole answer")]]);
        world.model.open("open");
        let chat = world.begin("go").await;
        // Lands at a different place of the turn each time.
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        let _ = world.engine.chats.interrupt(world.user, chat).await;
        world.until_rest(chat).await;
        let story = world.story(chat).await;
        let answers = story.iter().filter(|line| line.starts_with("assistant")).count();
        assert!(answers <= 1, "{story:?}");
        if let Some(answer) = story.get(1) {
            assert!(answer.starts_with("assistant: whole answer"), "{story:?}");
        }
    }
}

/// Class: stale status interrupts the new run.
#[tokio::test]
async fn a_stop_of_one_turn_does_not_stop_the_next() {
    let world = World::new().await;
    world.model.answers([vec![Act::Gate("never")], vec![Act::Gate("go"), Act::Text("second")]]);
    let chat = world.begin("first").await;
    world.model.asked(1).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    world.say(chat, "again", Busy::Queue).await;
    world.engine.hints.chat_asked(chat);
    world.model.open("go");
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await.last().unwrap(), "assistant: second");
}

#[tokio::test]
async fn a_stop_ends_the_pause_before_a_retry() {
    let world = World::new().await;
    let overloaded = crate::llm::ProviderErrorKind::Overloaded;
    world.model.answers((0..20).map(|_| vec![Act::Fail(overloaded)]));
    let chat = world.begin("go").await;
    world.until(chat, "a retry", |row| row.retry.is_some()).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    let row = world.until_rest(chat).await;
    assert!(row.retry.is_none());
    assert_eq!(world.story(chat).await, ["user: go"]);
}
