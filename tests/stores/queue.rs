//! The queue: order, steering, promotion, and its limit.

use controlplane::chat::content::Part;
use controlplane::chat::machine::{Busy, ExecutionState};
use controlplane::store::chats::{ChatRow, Delivery, QueuedRow, SendMessage};

use crate::scene::{Scene, answer, answered, asking, failure, said};

async fn queue(scene: &Scene, chat: &ChatRow) -> Vec<String> {
    let snapshot = scene.store.chats.snapshot(chat.id, i64::MAX).await.unwrap().unwrap();
    let text = |row: &QueuedRow| match &row.content[0].part {
        Part::Text { text } => text.clone(),
        other => format!("{other:?}"),
    };
    snapshot.queue.iter().map(text).collect()
}

async fn queued(scene: &Scene, chat: &ChatRow, text: &str, busy: Busy) -> QueuedRow {
    match scene.send(chat, text, busy).await.delivery {
        Delivery::Queued(row) => row,
        Delivery::Message(message) => panic!("{message:?} was not queued"),
    }
}

on_both! {
    async fn messages_wait_in_order_and_steering_ones_stand_first(scene: &Scene) {
        let chat = scene.chat().await.chat;
        for (text, busy) in [
            ("one", Busy::Queue),
            ("two", Busy::Queue),
            ("steer one", Busy::Steer),
            ("three", Busy::Queue),
            ("steer two", Busy::Steer),
        ] {
            queued(scene, &chat, text, busy).await;
        }
        let expected = ["steer one", "steer two", "one", "two", "three"];
        assert_eq!(queue(scene, &chat).await, expected);
        let row = scene.head(&chat).await;
        assert_eq!((row.queue_length, row.steered_length), (5, 2));
        assert_eq!((row.queue_version, row.history_version), (row.snapshot_version, 1));
    }

    async fn the_twenty_first_message_is_refused_and_none_is_lost(scene: &Scene) {
        let chat = scene.chat().await.chat;
        for number in 0..20 {
            queued(scene, &chat, &number.to_string(), Busy::Queue).await;
        }
        let send = SendMessage { message: said("21"), busy: Busy::Queue, claim: None, key: None };
        let refused = scene.store.chats.send(chat.id, &send).await.unwrap_err();
        assert_eq!(refused.code(), "queue_full");
        assert_eq!(queue(scene, &chat).await.len(), 20);
    }

    async fn a_queued_message_is_rewritten_and_taken_back(scene: &Scene) {
        let chats = &scene.store.chats;
        let chat = scene.chat().await.chat;
        let one = queued(scene, &chat, "one", Busy::Queue).await;
        let two = queued(scene, &chat, "two", Busy::Steer).await;
        chats.edit_queued(chat.id, one.id, &said("uno")).await.unwrap();
        assert_eq!(queue(scene, &chat).await, ["two", "uno"]);
        let row = chats.delete_queued(chat.id, two.id).await.unwrap();
        assert_eq!((row.queue_length, row.steered_length), (1, 0));
        let gone = chats.delete_queued(chat.id, two.id).await.unwrap_err();
        assert_eq!(gone.code(), "queued_message_not_found");
        let gone = chats.edit_queued(chat.id, two.id, &said("x")).await.unwrap_err();
        assert_eq!(gone.code(), "queued_message_not_found");
        let other = scene.chat().await.chat;
        let foreign = chats.delete_queued(other.id, one.id).await.unwrap_err();
        assert_eq!(foreign.code(), "queued_message_not_found");
        chats.delete_queued(chat.id, one.id).await.unwrap();
        assert_eq!(scene.head(&chat).await.state(), ExecutionState::R0);
    }

    async fn the_end_of_a_turn_delivers_the_head_and_begins_its_attempt(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        queued(scene, &chat, "one", Busy::Queue).await;
        queued(scene, &chat, "two", Busy::Queue).await;
        let step = chats.commit_step(chat.id, &fence, &answer("hi"), &[]).await.unwrap();
        let done = chats.finish_turn(chat.id, &step.fence).await.unwrap();
        let next = done.next.expect("a new turn began");
        assert_eq!((next.attempt, done.chat.steps_in_turn), (1, 0));
        assert_eq!(done.chat.state(), ExecutionState::R1);
        assert_eq!(scene.lines(&chat).await.last().unwrap(), "user: one");
        let done = chats.finish_turn(chat.id, &next).await.unwrap();
        let done = chats.finish_turn(chat.id, &done.next.unwrap()).await.unwrap();
        assert_eq!((done.chat.state(), done.chat.worker_id), (ExecutionState::W, None));
        assert!(done.next.is_none());
    }

    async fn steering_messages_follow_the_sealed_batch(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        let step = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        queued(scene, &chat, "later", Busy::Queue).await;
        queued(scene, &chat, "steer one", Busy::Steer).await;
        queued(scene, &chat, "steer two", Busy::Steer).await;
        let stored =
            chats.store_tool_result(chat.id, &step.fence, &answered(&intents[0])).await.unwrap();
        assert_eq!(stored.steered.len(), 2);
        assert!(stored.attempt_begun);
        assert_eq!((stored.fence.attempt, stored.chat.steps_in_turn), (1, 1), "the same turn");
        let expected = [
            "user: say hello",
            "assistant: call a",
            "tool: a=\"out of a\"",
            "user: steer one",
            "user: steer two",
        ];
        assert_eq!(scene.lines(&chat).await, expected);
        assert_eq!(queue(scene, &chat).await, ["later"]);
    }

    async fn promoting_during_a_turn_stops_it_and_delivers_that_message_next(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        queued(scene, &chat, "one", Busy::Queue).await;
        let two = queued(scene, &chat, "two", Busy::Queue).await;
        let (row, acquired) =
            chats.promote_queued(chat.id, two.id, Some(scene.replica)).await.unwrap();
        assert_eq!(row.state(), ExecutionState::I1);
        assert!(acquired.is_none());
        assert_eq!(queue(scene, &chat).await, ["two", "one"]);
        let done = chats.finish_interruption(chat.id, &fence, None).await.unwrap();
        assert_eq!(done.next.unwrap().attempt, 1);
        assert_eq!(scene.lines(&chat).await.last().unwrap(), "user: two");
    }

    async fn promoting_after_an_error_begins_a_turn_at_once(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        queued(scene, &chat, "one", Busy::Queue).await;
        let two = queued(scene, &chat, "two", Busy::Queue).await;
        let done = chats.finish_error(chat.id, &fence, &failure()).await.unwrap();
        assert_eq!((done.chat.state(), done.next), (ExecutionState::E1, None));
        assert_eq!(done.chat.last_error, Some(failure()));
        let (row, acquired) =
            chats.promote_queued(chat.id, two.id, Some(scene.replica)).await.unwrap();
        assert_eq!((row.state(), row.last_error), (ExecutionState::R1, None));
        assert_eq!(acquired.unwrap().fence.epoch, 2);
        assert_eq!(scene.lines(&chat).await, ["user: say hello", "user: two"]);
    }

    async fn a_message_after_an_error_goes_behind_those_that_wait(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        queued(scene, &chat, "waits", Busy::Queue).await;
        scene.store.chats.finish_error(chat.id, &fence, &failure()).await.unwrap();
        let sent = scene.send(&chat, "new", Busy::Queue).await;
        assert!(matches!(sent.delivery, Delivery::Queued(_)));
        assert_eq!(sent.chat.state(), ExecutionState::R1);
        assert_eq!(scene.lines(&chat).await, ["user: say hello", "user: waits"]);
        assert_eq!(queue(scene, &chat).await, ["new"]);
    }

    async fn a_steering_message_after_an_error_is_delivered_at_once(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        queued(scene, &chat, "waits", Busy::Queue).await;
        scene.store.chats.finish_error(chat.id, &fence, &failure()).await.unwrap();
        let sent = scene.send(&chat, "now", Busy::Steer).await;
        assert!(matches!(sent.delivery, Delivery::Message(_)));
        assert_eq!(queue(scene, &chat).await, ["waits"]);
        let row = scene.head(&chat).await;
        assert_eq!((row.queue_length, row.steered_length), (1, 0));
    }

    async fn sending_with_interrupt_stops_the_turn_and_is_delivered(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let sent = scene.send(&chat, "stop, this instead", Busy::Interrupt).await;
        assert_eq!(sent.chat.state(), ExecutionState::I1);
        let refused = chats.commit_step(chat.id, &fence, &answer("too late"), &[]).await;
        assert_eq!(refused.unwrap_err().code(), "chat_state_conflict");
        chats.finish_interruption(chat.id, &fence, Some(&answer("partial"))).await.unwrap();
        let expected = ["user: say hello", "assistant: partial", "user: stop, this instead"];
        assert_eq!(scene.lines(&chat).await, expected);
    }
}
