//! Crashes of the control plane and of the link, inside a turn.

use serde_json::json;

use super::doubles::Act;
use super::*;

#[tokio::test]
async fn after_a_crash_in_the_model_call_the_turn_goes_on_by_itself() {
    let mut world = World::new().await;
    world.model.answers([vec![Act::Text("lost"), Act::Gate("never")], vec![Act::Text("kept")]]);
    let chat = world.begin("go").await;
    world.watch(chat, |client| !client.preview.is_empty()).await;
    world.crash().await;
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: go", "assistant: kept"]);
}

#[tokio::test]
async fn after_a_crash_finished_tools_are_kept_and_running_ones_are_attached_not_repeated() {
    let mut world = World::new().await;
    world.model.answers([vec![
        Act::call("a", "act", json!({"what": "a"})),
        Act::call("b", "act", json!({"what": "b", "gate": "b"})),
        Act::call("c", "act", json!({"what": "c", "gate": "c"})),
    ]]);
    let chat = world.begin("go").await;
    world.until(chat, "a has answered", |row| row.unanswered == 2).await;
    world.crash().await;
    // `b` ends while nobody is there: its result is only with the daemon.
    world.tools.open("b");
    world.restart();
    world.until(chat, "b is taken over", |row| row.unanswered == 1).await;
    let client = world.watch(chat, |client| client.preview.len() == 3).await;
    assert!(client.preview[&0].value.is_some(), "what was stored is shown again");
    world.tools.open("c");
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], r#"tool: a={"did":"a"} b={"did":"b"} c={"did":"c"}"#);
    assert_eq!(world.tools.ledger(), ["a", "b", "c"], "every effect once");
}

#[tokio::test]
async fn a_link_that_is_lost_after_the_effect_is_asked_again_with_the_same_operation() {
    let world = World::new().await;
    world.model.answers([vec![Act::call("a", "act", json!({"what": "a", "lose": 1}))]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a"]);
    assert_eq!(world.story(chat).await[2], r#"tool: a={"did":"a"}"#);
}

/// Class: partial answer lost on interrupt, the process gone meanwhile.
#[tokio::test]
async fn a_stop_after_a_crash_keeps_what_was_checkpointed() {
    let mut world = World::new().await;
    world.model.answers([vec![Act::Text("what I had"), Act::Gate("never")]]);
    let chat = world.begin("go").await;
    let kept = tokio::time::timeout(PATIENCE, async {
        while world.store.chats.load_checkpoint(chat).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    });
    kept.await.expect("a checkpoint within seconds");
    world.crash().await;
    world.store.chats.interrupt(chat).await.unwrap();
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: go", "assistant: what I had [interrupted]"]);
}

#[tokio::test]
async fn a_stop_after_a_crash_answers_open_calls_and_starts_nothing() {
    let mut world = World::new().await;
    world.model.answers([vec![Act::call("a", "act", json!({"what": "a", "gate": "never"}))]]);
    let chat = world.begin("go").await;
    world.until(chat, "the call", |row| row.unanswered == 1).await;
    world.crash().await;
    world.store.chats.interrupt(chat).await.unwrap();
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], "tool: a!");
    assert_eq!(world.tools.stopped(), 1);
}

/// Class: duplicates between buffer, commit and snapshot.
#[tokio::test]
async fn a_viewer_that_resumes_over_a_crash_equals_a_fresh_one() {
    let mut world = World::new().await;
    world.model.answers([
        vec![Act::Text("lost words"), Act::Gate("never")],
        vec![Act::Text("new"), Act::Gate("end"), Act::Text(" words")],
    ]);
    let chat = world.begin("go").await;
    let mut client = world.watch(chat, |client| !client.preview.is_empty()).await;
    world.crash().await;
    world.restart();
    world.until(chat, "the second attempt", |row| row.attempt == 2).await;
    world.model.open("end");
    world.until_rest(chat).await;
    let mut stream = world.engine.streams.subscribe(chat, client.cursor.map(Ok));
    client.ready = false;
    while !client.ready {
        for envelope in stream.next().await.unwrap() {
            client.apply(&envelope);
        }
    }
    let mut fresh = world.watch(chat, |client| client.ready).await;
    fresh.preview_seq = client.preview_seq;
    assert_eq!(client, fresh);
}

/// Class: one chat's panic takes the others down.
#[tokio::test]
async fn a_panic_stops_its_own_chat_with_an_error_and_no_other() {
    let world = World::new().await;
    world.model.answers([vec![Act::Gate("go"), Act::Text("fine")], vec![Act::Panic]]);
    let other = world.begin("other").await;
    world.model.asked(1).await;
    let chat = world.begin("boom").await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    assert_eq!(row.last_error.unwrap().code, "internal");
    world.model.open("go");
    world.until_rest(other).await;
    assert_eq!(world.story(other).await[1], "assistant: fine");
}
