//! The worker's side: attempts, steps, tool results, interruptions, checkpoints.

use controlplane::chat::content::{Part, Role};
use controlplane::chat::event::ChatStatus;
use controlplane::chat::machine::{
    AssistantMessage, ExecutionState, Refusal, RetryState, ToolAnswer,
};
use controlplane::store::StoreError;
use controlplane::store::chats::{Checkpoint, OperationPhase, WorkerFence};
use serde_json::json;

use crate::scene::{NOW_MS, answer, answered, asking, failure, text};

fn retry() -> RetryState {
    RetryState { attempt: 1, delay_ms: 2_000, retry_at_ms: NOW_MS + 2_000, error: failure() }
}

on_both! {
    async fn an_attempt_is_counted_once_and_clears_the_retry(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let row = chats.record_retry(chat.id, &fence, &retry()).await.unwrap();
        assert_eq!((row.retry.clone(), row.fence()), (Some(retry()), Some(fence)));
        let second = chats.record_attempt(chat.id, &fence).await.unwrap();
        assert_eq!(second, WorkerFence { attempt: 2, ..fence });
        let row = scene.head(&chat).await;
        assert_eq!((row.retry.clone(), row.fence()), (None, Some(second)));
        assert_eq!(row.snapshot_version, 3);
        let again = chats.record_attempt(chat.id, &fence).await;
        assert!(matches!(again, Err(StoreError::Fenced)), "the old fence is used up");
    }

    async fn a_step_without_calls_is_kept_with_its_usage_and_raw_blocks(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let mut message = answer("hello\0");
        message.content[0].raw = controlplane::llm::raw("{\"b\" : 1,\"a\":2}".into());
        message.raw_kind = Some("anthropic".into());
        message.model = Some("claude".into());
        message.usage = Some(Default::default());
        let step = scene.store.chats.commit_step(chat.id, &fence, &message, &[]).await.unwrap();
        assert!(step.operations.is_empty());
        assert_eq!((step.fence.attempt, step.chat.steps_in_turn), (0, 1));
        assert_eq!(step.fence.history_version, step.chat.snapshot_version);
        let stored = scene.store.chats.history(chat.id).await.unwrap().pop().unwrap();
        assert_eq!(stored.content[0].part, Part::Text { text: "hello\0".into() });
        let raw = stored.content[0].raw.as_ref().unwrap().get();
        assert_eq!(raw, "{\"b\" : 1,\"a\":2}", "byte for byte");
        assert_eq!((stored.raw_kind, stored.model), (message.raw_kind, message.model));
        assert_eq!(stored.usage, message.usage);
    }

    async fn intents_are_committed_with_the_step_before_anything_runs(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a", "b"]);
        let step = scene.store.chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        let open = scene.store.chats.open_operations(chat.id).await.unwrap();
        assert_eq!(open.len(), 2);
        for ((row, intent), ordinal) in open.iter().zip(&intents).zip(0..) {
            assert_eq!((row.op_id, row.ordinal), (intent.op_id, ordinal));
            assert_eq!((row.message_id, row.epoch), (step.message.id, 1));
            assert_eq!((row.phase, row.sealed), (OperationPhase::Intended, false));
            assert_eq!((&row.args, &row.args_hash), (&intent.args, &intent.args_hash));
            assert_eq!((row.workspace_id, row.process_id), (intent.workspace_id, intent.process_id));
        }
        assert_eq!(scene.head(&chat).await.unanswered, 2);
    }

    async fn results_are_stored_as_they_come_and_sealed_in_the_order_of_the_calls(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a", "b", "c"]);
        let step = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        let fence = step.fence;
        for intent in [&intents[2], &intents[0]] {
            let stored = chats.store_tool_result(chat.id, &fence, &answered(intent)).await.unwrap();
            assert!(stored.sealed.is_none() && !stored.attempt_begun);
            assert_eq!(stored.fence, fence, "a partial result moves no fence");
            assert!(stored.chat.snapshot_version > stored.chat.history_version);
        }
        let open = chats.open_operations(chat.id).await.unwrap();
        let done: Vec<bool> = open.iter().map(|row| row.phase == OperationPhase::Done).collect();
        assert_eq!(done, [true, false, true]);

        let stored = chats.store_tool_result(chat.id, &fence, &answered(&intents[1])).await.unwrap();
        let sealed = stored.sealed.expect("it was the last");
        assert_eq!((sealed.role, sealed.seq), (Role::Tool, 3));
        assert_eq!((stored.attempt_begun, stored.fence.attempt), (true, 1));
        let expected = "tool: a=\"out of a\", b=\"out of b\", c=\"out of c\"";
        assert_eq!(scene.lines(&chat).await.last().unwrap(), expected);
        assert!(chats.open_operations(chat.id).await.unwrap().is_empty());
        assert_eq!(scene.head(&chat).await.fence(), Some(stored.fence));
        chats.commit_step(chat.id, &stored.fence, &answer("done"), &[]).await.unwrap();
    }

    async fn a_result_is_stored_at_most_once_and_only_for_an_open_call(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a", "b"]);
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        chats.store_tool_result(chat.id, &fence, &answered(&intents[0])).await.unwrap();
        let twice = chats.store_tool_result(chat.id, &fence, &answered(&intents[0])).await;
        assert_eq!(twice.unwrap_err().code(), "tool_result_duplicate");
        let stranger = ToolAnswer { op_id: scene.ids.id(), ..answered(&intents[1]) };
        let unknown = chats.store_tool_result(chat.id, &fence, &stranger).await;
        assert_eq!(unknown.unwrap_err().code(), "tool_result_unexpected");
        assert_eq!(scene.head(&chat).await.unanswered, 1);
    }

    async fn an_operation_is_intended_at_most_once(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        let step = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        let stored =
            chats.store_tool_result(chat.id, &step.fence, &answered(&intents[0])).await.unwrap();
        let before = scene.head(&chat).await.snapshot_version;
        let again = chats.commit_step(chat.id, &stored.fence, &message, &intents).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "the same op id");
        let row = scene.head(&chat).await;
        assert_eq!((row.snapshot_version, row.unanswered), (before, 0), "all of it was taken back");
    }

    async fn nothing_goes_on_while_a_call_is_open(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        let open = |result: Result<_, StoreError>| {
            matches!(result, Err(StoreError::Refused(Refusal::CallsUnanswered { open: 1 })))
        };
        assert!(open(chats.finish_turn(chat.id, &fence).await.map(|_| ())));
        assert!(open(chats.commit_step(chat.id, &fence, &answer("x"), &[]).await.map(|_| ())));
        assert!(matches!(chats.record_attempt(chat.id, &fence).await, Err(StoreError::Fenced)));
        assert!(matches!(
            chats.record_retry(chat.id, &fence, &retry()).await,
            Err(StoreError::Fenced)
        ));
    }

    async fn an_interruption_keeps_what_was_said_and_answers_what_was_asked(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        chats.interrupt(chat.id).await.unwrap();
        assert_eq!(chats.interrupt(chat.id).await.unwrap()[0].state(), ExecutionState::I0);
        let (mut partial, _) = asking(scene, &["p"]);
        partial.content.insert(0, text("I will"));
        let done = chats.finish_interruption(chat.id, &fence, Some(&partial)).await.unwrap();
        assert_eq!((done.chat.state(), done.next), (ExecutionState::W, None));
        assert_eq!(done.messages.len(), 2);
        let expected =
            ["user: say hello", "assistant: I will, call p", "tool: p=\"interrupted\"!"];
        assert_eq!(scene.lines(&chat).await, expected);
    }

    async fn an_interrupted_batch_keeps_real_answers_and_gets_errors_for_the_rest(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a", "b"]);
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        chats.interrupt(chat.id).await.unwrap();
        // The tool ended while the stop was on its way: what it said is true.
        chats.store_tool_result(chat.id, &fence, &answered(&intents[1])).await.unwrap();
        chats.finish_interruption(chat.id, &fence, None).await.unwrap();
        assert_eq!(
            scene.lines(&chat).await.last().unwrap(),
            "tool: a=\"interrupted\"!, b=\"out of b\""
        );
        let send = scene.send(&chat, "again", Default::default()).await;
        assert_eq!(send.chat.state(), ExecutionState::R0);
    }

    async fn the_last_answer_during_an_interruption_seals_but_begins_no_attempt(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        chats.interrupt(chat.id).await.unwrap();
        let stored = chats.store_tool_result(chat.id, &fence, &answered(&intents[0])).await.unwrap();
        assert!(stored.sealed.is_some() && !stored.attempt_begun);
        assert_eq!(stored.chat.status, ChatStatus::Interrupting);
        let stale = chats.finish_interruption(chat.id, &fence, None).await;
        assert!(matches!(stale, Err(StoreError::Fenced)), "the history moved on");
        let done = chats.finish_interruption(chat.id, &stored.fence, None).await.unwrap();
        assert_eq!(done.chat.state(), ExecutionState::W);
    }

    async fn an_error_answers_open_calls_and_frees_the_chat(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        let done = chats.finish_error(chat.id, &fence, &failure()).await.unwrap();
        assert_eq!((done.chat.state(), done.chat.worker_id), (ExecutionState::E0, None));
        assert_eq!(scene.lines(&chat).await.last().unwrap(), "tool: a=\"turn_failed\"!");
        let sent = scene.send(&chat, "again", Default::default()).await;
        assert_eq!((sent.chat.last_error, sent.chat.unanswered), (None, 0));
    }

    async fn an_empty_partial_answer_leaves_no_message(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        scene.store.chats.interrupt(chat.id).await.unwrap();
        let nothing = AssistantMessage::default();
        scene.store.chats.finish_interruption(chat.id, &fence, Some(&nothing)).await.unwrap();
        assert_eq!(scene.lines(&chat).await, ["user: say hello"]);
    }

    async fn answers_stay_unacknowledged_until_the_daemon_was_told(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a", "b"]);
        let fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        assert!(chats.unacknowledged(scene.workspace, 9).await.unwrap().is_empty());
        for intent in &intents {
            let stored = chats.store_tool_result(chat.id, &fence, &answered(intent)).await.unwrap();
            assert!(stored.fence.epoch == fence.epoch);
        }
        let both = chats.unacknowledged(scene.workspace, 9).await.unwrap();
        assert_eq!(both, [intents[0].op_id, intents[1].op_id]);
        assert_eq!(chats.unacknowledged(scene.workspace, 1).await.unwrap(), both[..1]);
        chats.acknowledged(&both[..1]).await.unwrap();
        chats.acknowledged(&both[..1]).await.unwrap();
        assert_eq!(chats.unacknowledged(scene.workspace, 9).await.unwrap(), both[1..]);
        assert!(chats.unacknowledged(scene.ids.id(), 9).await.unwrap().is_empty());
    }

    async fn a_checkpoint_is_kept_for_the_running_episode_only(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        assert_eq!(chats.load_checkpoint(chat.id).await.unwrap(), None);
        chats.save_checkpoint(chat.id, &fence, 3, &json!(["he"])).await.unwrap();
        chats.save_checkpoint(chat.id, &fence, 5, &json!(["hello"])).await.unwrap();
        let kept = chats.load_checkpoint(chat.id).await.unwrap();
        let expected = Checkpoint {
            history_version: fence.history_version,
            attempt: 1,
            seq: 5,
            parts: json!(["hello"]),
        };
        assert_eq!(kept, Some(expected));
        assert_eq!(scene.head(&chat).await.snapshot_version, 1, "no part of the history");
        let stale = WorkerFence { attempt: 9, ..fence };
        let refused = chats.save_checkpoint(chat.id, &stale, 9, &json!([])).await;
        assert!(matches!(refused, Err(StoreError::Fenced)));
    }
}
