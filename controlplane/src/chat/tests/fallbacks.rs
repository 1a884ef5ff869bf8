//! Another model where the chosen one cannot answer.

use shared::ids::{IdSource, ModelId, SystemIds};

use super::doubles::Act;
use super::*;
use crate::llm::ProviderErrorKind;
use crate::store::chats::ChatPatch;

impl World {
    fn stand_in(&self) -> ModelId {
        let ids: &dyn IdSource = &SystemIds::new();
        let id = ids.id();
        self.model.falls_back_to(id);
        id
    }

    fn asked(&self) -> Vec<String> {
        self.model.prompts().into_iter().map(|prompt| prompt.model).collect()
    }
}

fn call() -> Act {
    Act::call("a", "act", serde_json::json!({"what": "a"}))
}

#[tokio::test]
async fn an_overloaded_model_is_stood_in_for_until_the_turn_is_over() {
    let world = World::new().await;
    world.stand_in();
    world.model.answers([
        vec![Act::Fail(ProviderErrorKind::Overloaded)],
        vec![Act::Text("I try"), call()],
        vec![Act::Text("done")],
        vec![Act::Text("hello again")],
    ]);
    let chat = world.begin("go").await;
    let row = world.until_rest(chat).await;
    assert_eq!(world.asked(), ["scripted-1", "fallback-1", "fallback-1"]);
    assert_eq!(row.fallback.unwrap().error.code, "provider_overloaded");
    let story = world.story(chat).await;
    assert_eq!(
        story,
        [
            "user: go",
            "assistant: I try +a [fallback]",
            "tool: a={\"did\":\"a\"}",
            "assistant: done"
        ],
        "said once, on the first answer"
    );
    let history = world.history(chat).await;
    assert_eq!(history[1].model.as_deref(), Some("fallback-1"));
    // The next turn begins with the chosen model.
    world.say(chat, "and now", Busy::Queue).await;
    let row = world.until_rest(chat).await;
    assert!(row.fallback.is_none());
    assert_eq!(world.asked()[3..], ["scripted-1"]);
}

#[tokio::test]
async fn viewers_see_who_stands_in_also_those_who_come_late() {
    let world = World::new().await;
    world.stand_in();
    world.model.answers([
        vec![Act::Fail(ProviderErrorKind::Quota)],
        vec![Act::Text("one moment"), Act::Gate("later"), Act::Text("done")],
        vec![Act::Gate("second"), Act::Text("hello again")],
    ]);
    let chat = world.begin("go").await;
    let expected = ("scripted-1", "fallback-1", "provider_quota");
    let expected = Some((expected.0.into(), expected.1.into(), expected.2.into()));
    let early = world.watch(chat, |client| client.fallback.is_some()).await;
    assert_eq!(early.fallback, expected);
    world.model.asked(2).await;
    let late = world.watch(chat, |client| client.ready).await;
    assert_eq!((late.fallback, late.retry), (expected, None));
    world.model.open("later");
    world.until_rest(chat).await;
    world.say(chat, "and now", Busy::Queue).await;
    let next = world.watch(chat, |client| client.history().len() == 3 && client.ready).await;
    assert_eq!(next.fallback, None, "the next turn has the chosen model");
    world.model.open("second");
    world.until_rest(chat).await;
}

#[tokio::test]
async fn a_model_that_is_gone_is_stood_in_for() {
    let world = World::new().await;
    world.stand_in();
    world.model.gone();
    let chat = world.begin("go").await;
    let row = world.until_rest(chat).await;
    assert_eq!(row.fallback.unwrap().error.code, "model_not_found");
    assert_eq!(world.asked(), ["fallback-1"]);
}

/// The chat's own choice goes before the settings of its model, and one that fails too ends the turn.
#[tokio::test]
async fn whoever_stands_in_is_not_stood_in_for() {
    let world = World::new().await;
    world.model.answers([
        vec![Act::Text("hello")],
        vec![Act::Fail(ProviderErrorKind::Auth)],
        vec![Act::Fail(ProviderErrorKind::Auth)],
    ]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let id = world.stand_in();
    let patch = ChatPatch { fallback_model_id: Some(Some(id)), ..ChatPatch::default() };
    world.engine.chats.patch(world.user, chat, patch).await.unwrap();
    world.say(chat, "again", Busy::Queue).await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    assert_eq!(world.asked(), ["scripted-1", "scripted-1", "fallback-1"]);
    assert_eq!(row.last_error.unwrap().code, "provider_auth");
}

#[tokio::test]
async fn a_server_that_takes_over_asks_whom_the_turn_fell_back_to() {
    let mut world = World::new().await;
    world.stand_in();
    world.model.answers([
        vec![Act::Fail(ProviderErrorKind::Overloaded)],
        vec![Act::Gate("never")],
        vec![Act::Text("done")],
    ]);
    let chat = world.begin("go").await;
    world.model.asked(2).await;
    world.crash().await;
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.asked(), ["scripted-1", "fallback-1", "fallback-1"]);
    assert_eq!(world.story(chat).await, ["user: go", "assistant: done [fallback]"]);
}

#[tokio::test]
async fn without_a_fallback_the_turn_ends_as_ever() {
    let world = World::new().await;
    world.model.answers([vec![Act::Fail(ProviderErrorKind::Auth)]]);
    let chat = world.begin("go").await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    assert!(row.fallback.is_none());
    assert_eq!(world.asked(), ["scripted-1"]);
}
