//! Leases, acquisition, take-over.

use std::time::Duration;

use controlplane::chat::content::Part;
use controlplane::chat::machine::RetryState;
use controlplane::store::StoreError;
use shared::ids::ReplicaId;

use crate::scene::{LEASE_MS, Scene, answer, asking, failure};

/// Another replica, whose lease runs. (On SQLite registering forgets the others.)
async fn second_replica(scene: &Scene) -> ReplicaId {
    let id: ReplicaId = scene.ids.id();
    crate::schema::execute(
        scene,
        &format!(
            "INSERT INTO replicas (id, epoch, lease_until_ms, version, started_at_ms) \
             VALUES ('{id}', 1, 9000000000000, '0.1.0', 0)"
        ),
    )
    .await;
    id
}

pub async fn expire(scene: &Scene, replica: ReplicaId) {
    let sql = format!("UPDATE replicas SET lease_until_ms = 1 WHERE id = '{replica}'");
    crate::schema::execute(scene, &sql).await;
}

on_both! {
    async fn runnable_chats_are_acquired_in_order_up_to_the_limit(scene: &Scene) {
        let chats = &scene.store.chats;
        let mut made = vec![];
        for _ in 0..3 {
            made.push(scene.chat().await.chat.id);
            scene.clock.advance(Duration::from_millis(1));
        }
        let taken = chats.acquire(scene.replica, 2).await.unwrap();
        let ids: Vec<_> = taken.iter().map(|acquired| acquired.chat.id).collect();
        assert_eq!(ids, made[..2]);
        for acquired in &taken {
            assert!(acquired.attempt_begun, "a model call is next");
            assert_eq!(acquired.fence.worker_id, scene.replica);
            assert_eq!((acquired.fence.epoch, acquired.fence.attempt), (1, 1));
            chats.commit_step(acquired.chat.id, &acquired.fence, &answer("hi"), &[]).await.unwrap();
        }
        assert_eq!(chats.acquire(scene.replica, 9).await.unwrap().len(), 1);
        assert!(chats.acquire(scene.replica, 9).await.unwrap().is_empty());
    }

    async fn chats_at_rest_in_error_or_archived_are_nobodys(scene: &Scene) {
        let chats = &scene.store.chats;
        let (rests, fence) = scene.owned_chat().await;
        chats.finish_turn(rests.id, &fence).await.unwrap();
        let (failed, fence) = scene.owned_chat().await;
        chats.finish_error(failed.id, &fence, &failure()).await.unwrap();
        let (archived, fence) = scene.owned_chat().await;
        chats.finish_turn(archived.id, &fence).await.unwrap();
        chats.set_archived(archived.id, true).await.unwrap();
        assert!(chats.acquire(scene.replica, 9).await.unwrap().is_empty());
    }

    async fn a_chat_with_open_calls_or_in_a_retry_is_taken_without_a_new_attempt(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let (message, intents) = asking(scene, &["a"]);
        let step = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap();
        chats.abandon(chat.id, &step.fence).await.unwrap();
        let taken = chats.acquire(scene.replica, 1).await.unwrap().remove(0);
        assert!(!taken.attempt_begun);
        assert_eq!((taken.fence.attempt, taken.fence.epoch), (0, 2));

        let (retrying, fence) = scene.owned_chat().await;
        let retry =
            RetryState { attempt: 1, delay_ms: 9, retry_at_ms: 9, error: failure() };
        chats.record_retry(retrying.id, &fence, &retry).await.unwrap();
        chats.abandon(retrying.id, &fence).await.unwrap();
        let taken = chats.acquire(scene.replica, 1).await.unwrap().remove(0);
        assert!(!taken.attempt_begun);
        assert_eq!((taken.chat.retry, taken.fence.attempt), (Some(retry), 1));
    }

    async fn a_chat_of_a_dead_worker_is_taken_over_and_the_dead_one_is_fenced(scene: &Scene) {
        let chats = &scene.store.chats;
        let other = second_replica(scene).await;
        let (chat, old) = scene.owned_chat().await;
        assert!(chats.acquire(other, 9).await.unwrap().is_empty(), "its worker lives");
        expire(scene, scene.replica).await;
        let taken = chats.acquire(other, 9).await.unwrap().remove(0);
        assert_eq!((taken.chat.id, taken.fence.epoch), (chat.id, 2));
        assert_ne!(taken.fence.runner_id, old.runner_id);
        let late = chats.commit_step(chat.id, &old, &answer("late"), &[]).await;
        assert!(matches!(late, Err(StoreError::Fenced)));
        assert!(matches!(chats.abandon(chat.id, &old).await, Err(StoreError::Fenced)));
        assert!(matches!(chats.finish_turn(chat.id, &old).await, Err(StoreError::Fenced)));
        chats.commit_step(chat.id, &taken.fence, &answer("mine"), &[]).await.unwrap();
        assert_eq!(scene.lines(&chat).await, ["user: say hello", "assistant: mine"]);
    }

    async fn a_replica_without_a_lease_gets_nothing(scene: &Scene) {
        scene.chat().await;
        expire(scene, scene.replica).await;
        assert!(scene.store.chats.acquire(scene.replica, 9).await.unwrap().is_empty());
        let stranger = scene.ids.id();
        assert!(scene.store.chats.acquire(stranger, 9).await.unwrap().is_empty());
    }

    async fn an_interrupted_chat_without_a_worker_is_taken_to_finish_the_stop(scene: &Scene) {
        let chats = &scene.store.chats;
        let chat = scene.chat().await.chat;
        chats.interrupt(chat.id).await.unwrap();
        let taken = chats.acquire(scene.replica, 1).await.unwrap().remove(0);
        assert!(!taken.attempt_begun);
        let done = chats.finish_interruption(chat.id, &taken.fence, None).await.unwrap();
        assert!(done.next.is_none());
    }

    async fn an_abandoned_chat_keeps_everything_and_is_taken_again(scene: &Scene) {
        let chats = &scene.store.chats;
        let (chat, fence) = scene.owned_chat().await;
        let step = chats.commit_step(chat.id, &fence, &answer("hi"), &[]).await.unwrap();
        // The fence of before the step still says who owns the chat.
        chats.abandon(chat.id, &fence).await.unwrap();
        assert!(matches!(chats.abandon(chat.id, &step.fence).await, Err(StoreError::Fenced)));
        let taken = chats.acquire(scene.replica, 1).await.unwrap().remove(0);
        assert_eq!(taken.chat.history_version, step.chat.history_version);
        let history = chats.history(chat.id).await.unwrap();
        assert_eq!(history[1].content[0].part, Part::Text { text: "hi".into() });
    }

    async fn a_lease_is_renewed_while_it_runs_and_never_after(scene: &Scene) {
        let replicas = &scene.store.replicas;
        let live = replicas.live().await.unwrap();
        assert_eq!((live.len(), live[0].id, live[0].epoch), (1, scene.replica, 1));
        replicas.renew(scene.replica, LEASE_MS).await.unwrap();
        assert_eq!(replicas.live().await.unwrap()[0].epoch, 2);
        expire(scene, scene.replica).await;
        let late = replicas.renew(scene.replica, LEASE_MS).await;
        assert!(matches!(late, Err(StoreError::Fenced)));
        assert!(replicas.live().await.unwrap().is_empty());
        let next = scene.ids.id();
        replicas.register(next, LEASE_MS, Some("10.0.0.7:7443"), "0.1.0").await.unwrap();
        assert_eq!(replicas.live().await.unwrap()[0].addr.as_deref(), Some("10.0.0.7:7443"));
        replicas.release(next).await.unwrap();
        replicas.release(next).await.unwrap();
        assert!(replicas.live().await.unwrap().is_empty());
    }
}

/// A restart on SQLite: the file has one process at a time, so the one before is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_restart_takes_its_chats_over_at_once() {
    let scene = Scene::on_sqlite().await;
    let (chat, old) = scene.owned_chat().await;
    let next: ReplicaId = scene.ids.id();
    scene.store.replicas.register(next, LEASE_MS, None, "0.1.0").await.unwrap();
    let taken = scene.store.chats.acquire(next, 9).await.unwrap().remove(0);
    assert_eq!((taken.chat.id, taken.fence.epoch), (chat.id, old.epoch + 1));
}
