//! Chats from the user's side, and reading them.

use std::time::Duration;

use controlplane::chat::content::Role;
use controlplane::chat::event::ChatStatus;
use controlplane::chat::machine::{Busy, ExecutionState, Refusal, UserMessage};
use controlplane::store::StoreError;
use controlplane::store::chats::{
    ChatFilter, ChatListCursor, ChatPatch, ChatRow, Delivery, MessageRow, NewChat, PageOf,
    SendMessage, TitleSource,
};

use crate::scene::{NOW_MS, answer, asking, failure, said};

fn ids(rows: &[ChatRow]) -> Vec<shared::ids::ChatId> {
    rows.iter().map(|row| row.id).collect()
}

on_both! {
    async fn a_chat_is_born_running_with_its_message(scene: &Scene) {
        let made = scene.chat().await;
        assert!(made.acquired.is_none());
        let chat = scene.head(&made.chat).await;
        assert_eq!(chat.state(), ExecutionState::R0);
        assert_eq!((chat.snapshot_version, chat.history_version, chat.last_seq), (1, 1, 1));
        assert_eq!((chat.worker_id, chat.epoch, chat.attempt), (None, 0, 0));
        assert_eq!((chat.created_at_ms, chat.title.as_str()), (NOW_MS, "say hello"));
        assert_eq!((made.message.role, made.message.seq), (Role::User, 1));
        assert_eq!(scene.lines(&chat).await, ["user: say hello"]);
    }

    async fn a_claimed_chat_is_born_owned_with_its_first_attempt(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let stored = scene.head(&chat).await;
        assert_eq!(stored.fence(), Some(fence));
        assert_eq!((fence.worker_id, fence.epoch, fence.attempt), (scene.replica, 1, 1));
        assert_eq!(stored.snapshot_version, 1, "one transaction, one version");
    }

    async fn a_chat_without_its_owner_is_a_conflict_and_leaves_nothing(scene: &Scene) {
        let new = NewChat { owner_id: scene.ids.id(), ..scene.new_chat() };
        assert!(matches!(scene.store.chats.create(&new).await, Err(StoreError::Conflict)));
        let all = scene.store.chats.list(new.owner_id, &ChatFilter::default(), None, 9).await;
        assert!(all.unwrap().is_empty());
    }

    async fn a_message_at_rest_begins_a_turn_and_may_be_claimed(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        scene.store.chats.finish_turn(chat.id, &fence).await.unwrap();
        let send =
            SendMessage { message: said("more"), busy: Busy::Queue, claim: Some(scene.replica), key: None };
        let sent = scene.store.chats.send(chat.id, &send).await.unwrap();
        assert!(matches!(sent.delivery, Delivery::Message(ref message) if message.seq == 2));
        let acquired = sent.acquired.expect("it begins a turn");
        assert_eq!((acquired.fence.epoch, acquired.fence.attempt), (2, 1));
        assert_eq!(scene.head(&chat).await.fence(), Some(acquired.fence));

        // During a turn there is nothing to claim.
        let queued = scene.store.chats.send(chat.id, &send).await.unwrap();
        assert!(matches!(queued.delivery, Delivery::Queued(_)));
        assert!(queued.acquired.is_none());
        assert_eq!(scene.head(&chat).await.fence(), Some(acquired.fence), "the fence still fits");
    }

    async fn a_message_brings_its_model_to_the_chat(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let (first, second) = (scene.ids.id(), scene.ids.id());
        for model in [first, second] {
            let message = UserMessage { model_id: Some(model), ..said("with a model") };
            let send = SendMessage { message, busy: Busy::Queue, claim: None, key: None };
            scene.store.chats.send(chat.id, &send).await.unwrap();
        }
        assert_eq!(scene.head(&chat).await.model_id, None, "queued: not yet");
        let done = scene.store.chats.finish_turn(chat.id, &fence).await.unwrap();
        assert_eq!(done.chat.model_id, Some(first));
        let done = scene.store.chats.finish_turn(chat.id, &done.next.unwrap()).await.unwrap();
        assert_eq!(done.chat.model_id, Some(second));
    }

    async fn nobody_can_do_anything_with_a_chat_that_does_not_exist(scene: &Scene) {
        let chats = &scene.store.chats;
        let nobody = scene.ids.id();
        let send = SendMessage { message: said("x"), busy: Busy::Queue, claim: None, key: None };
        assert!(matches!(chats.send(nobody, &send).await, Err(StoreError::NotFound)));
        assert!(matches!(chats.interrupt(nobody).await, Err(StoreError::NotFound)));
        let patched = chats.patch(nobody, &ChatPatch::default()).await;
        assert!(matches!(patched, Err(StoreError::NotFound)));
        assert!(chats.head(nobody).await.unwrap().is_none());
        assert!(chats.snapshot(nobody, 0).await.unwrap().is_none());
        assert!(chats.history(nobody).await.unwrap().is_empty());
    }

    async fn an_archived_chat_takes_no_message_until_it_is_back(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let running = chats.set_archived(chat.id, true).await;
        assert!(matches!(running, Err(StoreError::Refused(Refusal::NotAllowed { .. }))));
        chats.finish_turn(chat.id, &fence).await.unwrap();
        assert_eq!(chats.set_archived(chat.id, true).await.unwrap()[0].state(), ExecutionState::XW);
        let again = chats.set_archived(chat.id, true).await;
        assert!(matches!(again, Err(StoreError::Refused(Refusal::AlreadyArchived))));
        let send = SendMessage { message: said("x"), busy: Busy::Queue, claim: None, key: None };
        let refused = chats.send(chat.id, &send).await.unwrap_err();
        assert_eq!(refused.code(), "chat_archived");
        assert_eq!(chats.set_archived(chat.id, false).await.unwrap()[0].state(), ExecutionState::W);
        chats.send(chat.id, &send).await.unwrap();
    }

    async fn a_refusal_changes_nothing_not_even_the_version(scene: &Scene) {
        let chat = scene.chat().await.chat;
        let before = format!("{:?}", scene.head(&chat).await);
        assert!(scene.store.chats.set_archived(chat.id, true).await.is_err());
        assert_eq!(format!("{:?}", scene.head(&chat).await), before);
    }

    async fn a_title_is_replaced_only_by_one_of_a_better_source(scene: &Scene) {
        let chats = &scene.store.chats;
        let chat = scene.chat().await.chat;
        let title = |text: &str, source| ChatPatch {
            title: Some((text.into(), source)),
            ..ChatPatch::default()
        };
        let row = chats.patch(chat.id, &title("Made", TitleSource::Generated)).await.unwrap();
        assert_eq!(row.title, "Made");
        let row = chats.patch(chat.id, &title("Mine\0", TitleSource::User)).await.unwrap();
        assert_eq!(row.title, "Mine\u{fffd}");
        let row = chats.patch(chat.id, &title("Made again", TitleSource::Generated)).await.unwrap();
        assert_eq!((row.title.as_str(), row.title_source), ("Mine\u{fffd}", TitleSource::User));
        assert_eq!(row.snapshot_version, 4);
    }

    async fn label_model_mode_and_a_missing_workspace_can_be_set(scene: &Scene) {
        let new = NewChat { workspace_id: None, ..scene.new_chat() };
        let chat = scene.store.chats.create(&new).await.unwrap().chat;
        let patch = ChatPatch {
            label: Some("ran tests".into()),
            model_id: Some(scene.ids.id()),
            mode: Some("plan".into()),
            workspace_id: Some(scene.workspace),
            title: None,
            fallback_model_id: None,
        };
        scene.store.chats.patch(chat.id, &patch).await.unwrap();
        let row = scene.head(&chat).await;
        assert_eq!((row.label, row.model_id), (patch.label, patch.model_id));
        assert_eq!((row.mode.as_str(), row.workspace_id), ("plan", Some(scene.workspace)));
        assert_eq!((row.title.as_str(), row.status), ("say hello", ChatStatus::Running));
    }

    async fn a_contradiction_is_reconciled_to_an_error_with_its_queue(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        scene.store.chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        scene.send(&chat, "waits", Busy::Queue).await;
        crate::schema::execute(scene, "UPDATE chats SET archived = TRUE").await;
        let refused = scene.store.chats.interrupt(chat.id).await.unwrap_err();
        assert_eq!(refused.code(), "chat_state_invalid");
        let row = scene.store.chats.reconcile(chat.id, &failure()).await.unwrap();
        assert_eq!((row.state(), row.worker_id), (ExecutionState::E1, None));
        assert_eq!(row.last_error, Some(failure()));
        let expected = ["user: say hello", "assistant: call a", "tool: a=\"reconciled\"!"];
        assert_eq!(scene.lines(&chat).await, expected);
    }

    async fn chats_are_listed_by_their_last_change_in_pages(scene: &Scene) {
        let chats = &scene.store.chats;
        let mut made = vec![];
        for _ in 0..3 {
            made.push(scene.chat().await.chat.id);
        }
        scene.clock.advance(Duration::from_secs(1));
        let new = NewChat { workspace_id: None, ..scene.new_chat() };
        let newest = chats.create(&new).await.unwrap().chat.id;
        let all = ChatFilter::default();

        let first = chats.list(scene.owner, &all, None, 2).await.unwrap();
        assert_eq!(ids(&first), [newest, made[2]], "of one moment the newer id first");
        let after = ChatListCursor { updated_at_ms: first[1].updated_at_ms, id: first[1].id };
        let rest = chats.list(scene.owner, &all, Some(after), 9).await.unwrap();
        assert_eq!(ids(&rest), [made[1], made[0]]);

        let here = ChatFilter { workspace_id: Some(scene.workspace), ..all.clone() };
        assert_eq!(chats.list(scene.owner, &here, None, 9).await.unwrap().len(), 3);
        let archived = ChatFilter { archived: Some(true), ..all };
        assert!(chats.list(scene.owner, &archived, None, 9).await.unwrap().is_empty());
    }

    async fn messages_come_in_pages_from_either_side(scene: &Scene) {
        let (chat, mut fence) = scene.owned_chat().await;
        for number in 2..=5 {
            let step = scene.store.chats.commit_step(chat.id, &fence, &answer("step"), &[]).await;
            let step = step.unwrap();
            assert_eq!(step.message.seq, number);
            fence = step.fence;
        }
        let page = async |of, limit| {
            let page = scene.store.chats.messages_page(chat.id, of, limit).await.unwrap();
            let seqs: Vec<i64> = page.items.iter().map(|message| message.seq).collect();
            (seqs, page.more)
        };
        assert_eq!(page(PageOf::Newest, 2).await, (vec![4, 5], true));
        assert_eq!(page(PageOf::Before(4), 2).await, (vec![2, 3], true));
        assert_eq!(page(PageOf::Before(2), 2).await, (vec![1], false));
        assert_eq!(page(PageOf::After(0), 4).await, (vec![1, 2, 3, 4], true));
        assert_eq!(page(PageOf::After(4), 4).await, (vec![5], false));
        assert_eq!(page(PageOf::After(5), 4).await, (vec![], false));
    }

    async fn a_snapshot_holds_what_changed_since_a_revision(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a", "b"]);
        let step = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        scene.send(&chat, "later", Busy::Queue).await;
        let all = chats.snapshot(chat.id, 0).await.unwrap().unwrap();
        let seqs: Vec<i64> = all.messages.iter().map(|message| message.seq).collect();
        assert_eq!((seqs, all.queue.len(), all.operations.len()), (vec![1, 2], 1, 2));
        assert_eq!(all.chat.snapshot_version, step.chat.snapshot_version + 1);
        let newer = chats.snapshot(chat.id, step.message.revision).await.unwrap().unwrap();
        assert!(newer.messages.is_empty());
        assert_eq!(newer.queue[0].view().content, all.queue[0].view().content);
    }

    async fn a_snapshot_of_the_newest_reads_no_more_than_it_shows(scene: &Scene) {
        let (chat, mut fence) = scene.owned_chat().await;
        for at in 0..30 {
            let step = answer(&format!("step {at}"));
            fence = scene.store.chats.commit_step(chat.id, &fence, &step, &[]).await.unwrap().fence;
        }
        let newest = scene.store.chats.snapshot_of_newest(chat.id, 4).await.unwrap().unwrap();
        let whole = scene.store.chats.snapshot(chat.id, 0).await.unwrap().unwrap();
        let seqs = |rows: &[MessageRow]| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
        assert_eq!(seqs(&newest.messages), seqs(&whole.messages)[27..]);
        assert_eq!(newest.chat.snapshot_version, whole.chat.snapshot_version);
    }
}
