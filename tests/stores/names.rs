//! What is to be named, on both databases: noted with the end of a turn, taken once, compared when it
//! is written.

use controlplane::chat::content::Usage;
use controlplane::chat::machine::Busy;
use controlplane::store::chats::{ChatPatch, NameDue, Names, TitleSource, WorkerFence};
use shared::ids::ChatId;

use crate::scene::{Scene, answer};

/// A turn that has nothing left to do but to end.
async fn said_and_answered(scene: &Scene) -> (ChatId, WorkerFence) {
    let (chat, fence) = scene.owned_chat().await;
    let step = scene.store.chats.commit_step(chat.id, &fence, &answer("hello"), &[]).await.unwrap();
    (chat.id, step.fence)
}

fn names(title: &str, label: &str) -> Names {
    Names { title: Some(title.to_owned()), label: Some(label.to_owned()) }
}

on_both! {
    async fn the_end_of_a_turn_notes_what_is_due_and_one_of_many_takes_it(scene: &Scene) {
        let store = &scene.store.chats;
        let (chat, fence) = said_and_answered(scene).await;
        let history_version = store.head(chat).await.unwrap().unwrap().history_version;
        store.finish_turn_to_name(chat, &fence, 1).await.unwrap();
        let due = store.names_due(10).await.unwrap();
        let expected =
            NameDue { chat_id: chat, made_from: 1, history_version, title: true, label: true };
        assert_eq!(due, [expected]);
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (store, due) = (store.clone(), due[0]);
            takers.spawn(async move { store.take_name_due(&due).await.unwrap() });
        }
        let taken = takers.join_all().await.into_iter().filter(|taken| *taken).count();
        assert_eq!(taken, 1);
        assert!(store.names_due(10).await.unwrap().is_empty());
    }

    async fn an_older_note_never_replaces_a_newer_one(scene: &Scene) {
        let store = &scene.store.chats;
        let (chat, fence) = said_and_answered(scene).await;
        store.finish_turn_to_name(chat, &fence, 1).await.unwrap();
        let due = store.names_due(10).await.unwrap();
        let late = NameDue { history_version: 1, label: false, ..due[0] };
        store.title_due(&late).await.unwrap();
        assert_eq!(store.names_due(10).await.unwrap(), due);
        assert!(!store.take_name_due(&late).await.unwrap());
    }

    async fn names_are_written_for_the_state_they_were_made_from(scene: &Scene) {
        let store = &scene.store.chats;
        let (chat, fence) = said_and_answered(scene).await;
        store.finish_turn_to_name(chat, &fence, 1).await.unwrap();
        let due = store.names_due(10).await.unwrap()[0];
        let before = store.head(chat).await.unwrap().unwrap();
        let usage = Usage { output: 3, source: "provider".into(), ..Usage::default() };
        let named = names("A greeting", "said hello");
        let used = Some(("small-1", &usage));
        let row = store.named(&due, &before.title, &named, used).await.unwrap();
        assert_eq!((row.title.as_str(), row.title_source), ("A greeting", TitleSource::Generated));
        assert_eq!(row.label.as_deref(), Some("said hello"));
        assert_eq!(row.snapshot_version, before.snapshot_version + 1, "one change, one version");
        assert_eq!(row.history_version, before.history_version, "the history is the same");
        assert_eq!(row.total_tokens, before.total_tokens + 3);
        let seen = store.snapshot(chat, before.snapshot_version).await.unwrap().unwrap();
        let labels: Vec<_> = seen.messages.iter().map(|row| row.label.as_deref()).collect();
        assert_eq!(labels, [Some("said hello")], "who knows the history gets the labelled message");

        // The title is a model's now, and then a person's: neither is replaced.
        let row = store.named(&due, &before.title, &names("Other", "other words"), None).await.unwrap();
        assert_eq!(row.title, "A greeting");
        let patch = ChatPatch {
            title: Some(("Mine".to_owned(), TitleSource::User)),
            ..ChatPatch::default()
        };
        store.patch(chat, &patch).await.unwrap();
        let row = store.named(&due, "Mine", &names("Other", "other words"), None).await.unwrap();
        assert_eq!(row.title, "Mine");

        // A newer turn has begun: its label is its own.
        scene.send(&row, "more", Busy::Queue).await;
        let row = store.named(&due, "Mine", &names("Other", "too late"), None).await.unwrap();
        assert_eq!(row.label.as_deref(), Some("other words"));
        let history = store.history(chat).await.unwrap();
        assert_eq!(history[0].label.as_deref(), Some("too late"), "the old turn's message has it");
    }
}
