//! Titles and labels that a model writes: beside the turns, once, and never over something newer.

use super::doubles::Act;
use super::*;
use crate::llm::ProviderErrorKind;
use crate::store::chats::{ChatPatch, TitleSource};
use crate::store::{SpanKind, SpanStatus};

const BOTH: &str = "title: A friendly greeting\nlabel: said hello";

impl World {
    async fn rename(&self, chat: ChatId, title: &str) {
        let title = Some((title.to_owned(), TitleSource::User));
        let patch = ChatPatch { title, ..ChatPatch::default() };
        self.engine.chats.patch(self.user, chat, patch).await.unwrap();
    }

    async fn until_labelled(&self, chat: ChatId, label: &str) -> ChatRow {
        self.until(chat, label, |row| row.label.as_deref() == Some(label)).await
    }

    /// Waits until nothing is due and nobody is asked: the next turn's names are there.
    async fn labels(&self, chat: ChatId) -> Vec<Option<String>> {
        let user = |row: &&MessageRow| row.role == Role::User;
        self.history(chat).await.iter().filter(user).map(|row| row.label.clone()).collect()
    }
}

#[tokio::test]
async fn a_chat_gets_a_title_and_its_turn_a_label_and_viewers_see_both() {
    let world = World::new().await;
    world.model.names([vec![Act::Text(BOTH)]]);
    let chat = world.begin("hello there, my dear friend").await;
    let client = world
        .watch(chat, |client| client.head.as_ref().is_some_and(|head| head.label.is_some()))
        .await;
    let head = client.head.as_ref().unwrap();
    assert_eq!(
        (head.title.as_str(), head.label.as_deref()),
        ("A friendly greeting", Some("said hello"))
    );
    assert_eq!(client.history()[0].label.as_deref(), Some("said hello"), "in the transcript too");
    let row = world.row(chat).await;
    assert_eq!(row.title_source, TitleSource::Generated);
    assert_eq!(row.total_tokens, 2, "one token of the answer, one of the names");
    let asked = world.model.asked_names(1).await;
    assert!(
        asked[0].contains("hello there, my dear friend") && asked[0].contains("done"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn without_a_model_for_names_nothing_is_noted_and_nobody_is_asked() {
    let world = World::new().await;
    let chat = world.begin("hello").await;
    world.until_rest(chat).await;
    assert!(world.store.chats.names_due(10).await.unwrap().is_empty());
    assert_eq!(world.row(chat).await.title_source, TitleSource::FirstWords);
}

#[tokio::test]
async fn what_a_person_wrote_stays_for_ever() {
    let world = World::new().await;
    world.model.names([
        vec![Act::Gate("names"), Act::Text(BOTH)],
        vec![Act::Text("title: Mine now\nlabel: went on")],
    ]);
    let chat = world.begin("hello").await;
    world.until_rest(chat).await;
    world.model.asked_names(1).await;
    world.rename(chat, "My own").await;
    world.model.open("names");
    assert_eq!(world.until_labelled(chat, "said hello").await.title, "My own");
    world.say(chat, "go on", Busy::Queue).await;
    assert_eq!(world.until_labelled(chat, "went on").await.title, "My own");
    let asked = world.model.asked_names(2).await;
    assert!(!asked[1].contains("title:"), "a title is not asked for any more: {asked:?}");
}

#[tokio::test]
async fn a_label_of_an_older_turn_never_replaces_that_of_a_newer_one() {
    let world = World::new().await;
    world
        .model
        .names([vec![Act::Gate("first"), Act::Text(BOTH)], vec![Act::Text("label: went on")]]);
    let chat = world.begin("hello").await;
    world.until_rest(chat).await;
    world.model.asked_names(1).await;
    world.say(chat, "go on", Busy::Queue).await;
    world.until_labelled(chat, "went on").await;
    world.model.open("first");
    let named = |row: &ChatRow| row.title_source == TitleSource::Generated;
    let row = world.until(chat, "the first turn's names", named).await;
    assert_eq!(
        (row.title.as_str(), row.label.as_deref()),
        ("A friendly greeting", Some("went on"))
    );
    let labels = ["said hello", "went on"].map(|label| Some(label.to_owned()));
    assert_eq!(world.labels(chat).await, labels, "in the transcript each turn has its own");
}

#[tokio::test]
async fn a_failure_costs_the_name_and_nothing_else_and_is_traced() {
    let world = World::new().await;
    world.model.names([
        vec![Act::Fail(ProviderErrorKind::Auth)],
        vec![Act::Text("I would rather not.\nSorry.")],
        vec![Act::Text("label: went on")],
    ]);
    let chat = world.begin("hello").await;
    world.until_rest(chat).await;
    world.model.asked_names(1).await;
    world.say(chat, "again", Busy::Queue).await;
    world.until_rest(chat).await;
    world.model.asked_names(2).await;
    world.say(chat, "and again", Busy::Queue).await;
    let row = world.until_labelled(chat, "went on").await;
    assert_eq!((row.title.as_str(), row.status), ("hello", ChatStatus::Waiting));
    let lifecycle = world.engine.lifecycle.clone();
    lifecycle.stop();
    lifecycle.shut_down(PATIENCE).await;
    let mut spans = world.store.traces.page(chat, None, 2_000).await.unwrap();
    spans.retain(|span| span.kind == SpanKind::Naming);
    spans.sort_by(|a, b| a.key[1..].parse::<i64>().unwrap().cmp(&b.key[1..].parse().unwrap()));
    let codes: Vec<Option<&str>> =
        spans.iter().map(|span| span.attributes["error.type"].as_str()).collect();
    assert_eq!(codes[..2], [Some("provider_auth"), Some("bad_answer")], "{spans:#?}");
    assert!(spans[..2].iter().all(|span| span.status == SpanStatus::Error));
    assert!(
        spans.iter().all(|span| span.parent.as_deref().is_some_and(|key| key.starts_with('t')))
    );
}

/// The turn is over for everybody while its names are still being asked for.
#[tokio::test]
async fn a_model_that_never_answers_for_names_delays_no_turn() {
    let world = World::new().await;
    world.model.names((0..3).map(|_| vec![Act::Gate("never")]));
    let chat = world.begin("hello").await;
    for text in ["again", "and again"] {
        world.until_rest(chat).await;
        world.say(chat, text, Busy::Queue).await;
    }
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await.len(), 6);
}

#[tokio::test]
async fn a_long_first_turn_has_its_title_before_its_end() {
    let world = World::new().await;
    let args = serde_json::json!({"what": "a", "gate": "tool"});
    world.model.answers([vec![Act::call("a", "act", args)], vec![Act::Text("done")]]);
    world
        .model
        .names([vec![Act::Text("title: A long task")], vec![Act::Text("label: ran a tool")]]);
    let chat = world.begin("hello").await;
    let row = world.until(chat, "a title", |row| row.title == "A long task").await;
    assert_eq!(row.status, ChatStatus::Running);
    world.tools.open("tool");
    let row = world.until_labelled(chat, "ran a tool").await;
    assert_eq!((row.title.as_str(), row.status), ("A long task", ChatStatus::Waiting));
    let asked = world.model.asked_names(2).await;
    assert!(asked[0].contains("title:") && !asked[0].contains("label:"), "{asked:?}");
    assert!(!asked[1].contains("title:") && asked[1].contains("label:"), "{asked:?}");
}

#[tokio::test]
async fn a_crash_while_a_model_is_asked_does_not_ask_again_for_the_same_turn() {
    let mut world = World::new().await;
    world.model.names([vec![Act::Gate("never")], vec![Act::Text("label: went on")]]);
    let chat = world.begin("hello").await;
    world.until_rest(chat).await;
    world.model.asked_names(1).await;
    world.crash().await;
    world.restart();
    world.say(chat, "go on", Busy::Queue).await;
    world.until_labelled(chat, "went on").await;
    let asked = world.model.asked_names(2).await;
    assert_eq!(asked.len(), 2, "one question for each turn: {asked:?}");
    assert_eq!(world.labels(chat).await, [None, Some("went on".to_owned())]);
}

#[tokio::test]
async fn what_was_due_when_the_server_died_is_named_by_the_next_one() {
    let mut world = World::new().await;
    world.crash().await;
    world.engine = start_without_names(&world.store, &world.model, &world.tools);
    world.model.names([vec![Act::Text(BOTH)]]);
    let chat = world.begin("hello").await;
    world.until_rest(chat).await;
    assert_eq!(world.store.chats.names_due(10).await.unwrap().len(), 1);
    world.crash().await;
    world.restart();
    assert_eq!(world.until_labelled(chat, "said hello").await.title, "A friendly greeting");
    assert!(world.store.chats.names_due(10).await.unwrap().is_empty());
}
