//! Model calls that fail.

use serde_json::json;

use super::doubles::Act;
use super::*;
use crate::llm::ProviderErrorKind;

#[tokio::test]
async fn a_failed_call_is_tried_again_and_viewers_see_why() {
    let world = World::new().await;
    world.model.answers([vec![Act::Fail(ProviderErrorKind::Overloaded)], vec![Act::Text("yes")]]);
    let chat = world.begin("go").await;
    let client = world.watch(chat, |client| client.retry.is_some()).await;
    let (attempt, error) = client.retry.unwrap();
    assert_eq!((attempt, error.code.as_str()), (1, "provider_overloaded"));
    world.until_rest(chat).await;
    let client = world.watch(chat, |client| client.ready).await;
    assert!(client.retry.is_none());
    assert_eq!(world.story(chat).await, ["user: go", "assistant: yes"]);
}

#[tokio::test]
async fn calls_of_a_stream_that_was_cut_are_never_run() {
    let world = World::new().await;
    world.model.answers([
        vec![Act::Text("I run"), Act::call("a", "act", json!({"what": "never"})), Act::Cut],
        vec![Act::Text("again")],
    ]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert!(world.tools.ledger().is_empty());
    assert_eq!(world.story(chat).await, ["user: go", "assistant: again"]);
}

#[tokio::test]
async fn a_failure_that_asking_again_cannot_help_stops_the_chat_and_a_message_starts_it_again() {
    let world = World::new().await;
    world.model.answers([vec![Act::Fail(ProviderErrorKind::Auth)], vec![Act::Text("yes")]]);
    let chat = world.begin("go").await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    let error = row.last_error.unwrap();
    assert_eq!((error.code.as_str(), error.retryable), ("provider_auth", false));
    world.say(chat, "now", Busy::Queue).await;
    let row = world.until_rest(chat).await;
    assert!(row.last_error.is_none());
}

/// The count is in the row: a restart goes on counting, and a crash loop ends.
#[tokio::test]
async fn attempts_are_counted_across_restarts() {
    let mut world = World::new().await;
    world.model.answers([vec![Act::Gate("never")], vec![Act::Gate("never")]]);
    let chat = world.begin("go").await;
    for attempt in 1..=2 {
        world.model.asked(attempt).await;
        assert!(world.row(chat).await.attempt >= attempt as i64);
        world.crash().await;
        world.restart();
    }
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: go", "assistant: done"]);
}

/// Class: an event that kills its worker is delivered for ever. It is given up, and stays so.
#[tokio::test]
async fn a_message_that_kills_its_server_each_time_is_given_up_and_stays_so_after_restarts() {
    let mut world = World::new().await;
    world.model.improvise(|_| vec![Act::Gate("never")]);
    let chat = world.begin("poison").await;
    let mut deaths = 0;
    let given_up = loop {
        tokio::select! {
            biased;
            row = world.until(chat, "it is given up", |row| row.status == ChatStatus::Error) => break row,
            () = world.model.asked(deaths + 1) => {}
        }
        world.crash().await;
        world.restart();
        deaths += 1;
    };
    assert_eq!(deaths, 25, "as often as it is tried");
    assert_eq!(given_up.last_error.unwrap().code, "attempts_exhausted");
    // It lies aside, whoever starts again, and holds nobody up.
    world.model.improvise(|_| vec![Act::Text("fine")]);
    for _ in 0..3 {
        world.crash().await;
        world.restart();
        let other = world.begin("other").await;
        world.until_rest(other).await;
        assert_eq!(world.row(chat).await.status, ChatStatus::Error);
    }
    assert_eq!(world.model.calls(), deaths + 3, "nobody was asked about it again");
    assert_eq!(world.story(chat).await, ["user: poison"]);
    // Only a person takes it up again.
    world.say(chat, "and now?", Busy::Queue).await;
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await.last().unwrap(), "assistant: fine");
}
