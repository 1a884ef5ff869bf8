//! Many at once: nothing is lost, nothing is doubled, nothing waits for ever.

use std::collections::BTreeSet;

use controlplane::chat::machine::Busy;
use controlplane::store::StoreError;
use controlplane::store::chats::{ChatRow, SendMessage};
use shared::ids::ReplicaId;
use tokio::task::JoinSet;

use crate::scene::{Scene, answer, answered, asking, said};

/// The counters of the row equal what there is.
async fn check_counters(scene: &Scene, chat: &ChatRow) {
    let all = scene.store.chats.snapshot(chat.id, 0).await.unwrap().unwrap();
    let steered = all.queue.iter().filter(|row| row.steer).count();
    assert_eq!(all.chat.queue_length, i64::try_from(all.queue.len()).unwrap());
    assert_eq!(all.chat.steered_length, i64::try_from(steered).unwrap());
    let open = scene.store.chats.open_operations(chat.id).await.unwrap();
    let waiting = open.iter().filter(|row| row.result.is_none()).count();
    assert_eq!(all.chat.unanswered, i64::try_from(waiting).unwrap());
    let seqs: Vec<i64> = all.messages.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, (1..=all.chat.last_seq).collect::<Vec<_>>(), "no gap, no double");
}

on_both! {
    async fn forty_tasks_append_without_a_gap(scene: &Scene) {
        let chat = scene.chat().await.chat;
        crate::schema::execute(scene, "UPDATE chats SET status = 'error'").await;
        let mut tasks = JoinSet::new();
        for number in 0..40 {
            let store = scene.store.clone();
            let id = chat.id;
            tasks.spawn(async move {
                let message = said(&number.to_string());
                let send = SendMessage { message, busy: Busy::Queue, claim: None, key: None };
                store.chats.send(id, &send).await
            });
        }
        let (mut taken, mut full) = (0, 0);
        while let Some(joined) = tasks.join_next().await {
            match joined.unwrap() {
                Ok(_) => taken += 1,
                Err(error) => {
                    assert_eq!(error.code(), "queue_full");
                    full += 1;
                }
            }
        }
        // One begins the turn, twenty wait, the rest are told that the queue is full.
        assert_eq!((taken, full), (21, 19));
        let row = scene.head(&chat).await;
        assert_eq!((row.snapshot_version, row.queue_length, row.last_seq), (22, 20, 2));
        check_counters(scene, &chat).await;
    }

    // sqlx leaves a transaction open when its BEGIN is cut off; the next caller of that connection
    // then waits for a lock that nobody gives back.
    async fn a_caller_that_goes_away_at_any_moment_leaves_no_transaction_open(scene: &Scene) {
        let chat = scene.chat().await.chat;
        for patience in (0..150).map(|step| step * step) {
            let gone = async {
                for _ in 0..patience {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = gone => {}
                read = scene.store.chats.snapshot(chat.id, 0) => drop(read.unwrap()),
            }
            let row = scene.store.chats.interrupt(chat.id).await.unwrap();
            assert_eq!(row[0].status.as_str(), "interrupting");
        }
    }

    async fn a_thousand_requests_that_fail_leave_every_connection_free(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let stale = controlplane::store::chats::WorkerFence { attempt: fence.attempt + 1, ..fence };
        for _ in 0..20 {
            let mut tasks = JoinSet::new();
            for nth in 0..50 {
                let (store, nobody, chat) = (scene.store.clone(), scene.ids.id(), chat.id);
                tasks.spawn(async move {
                    let send = SendMessage {
                        message: said("hello"),
                        busy: Busy::Queue,
                        claim: None,
                        key: None,
                    };
                    match nth % 3 {
                        0 => store.chats.send(nobody, &send).await.is_err(),
                        1 => store.chats.record_attempt(chat, &stale).await.is_err(),
                        _ => store.chats.commit_step(chat, &stale, &answer("no"), &[]).await.is_err(),
                    }
                });
            }
            assert!(tasks.join_all().await.into_iter().all(|failed| failed));
        }
        // More at once than there are connections, and the right fence is still good.
        let reads = (0..64).map(|_| scene.store.chats.head(chat.id));
        futures_util::future::try_join_all(reads).await.unwrap();
        scene.store.chats.commit_step(chat.id, &fence, &answer("yes"), &[]).await.unwrap();
    }

    async fn eight_workers_claim_every_chat_once(scene: &Scene) {
        for _ in 0..60 {
            scene.chat().await;
        }
        let mut replicas = vec![];
        for number in 0..8 {
            let id: ReplicaId = scene.ids.id();
            crate::schema::execute(scene, &format!(
                "INSERT INTO replicas (id, epoch, lease_until_ms, version, started_at_ms) \
                 VALUES ('{id}', 1, 9000000000000, 'worker {number}', 0)"
            )).await;
            replicas.push(id);
        }
        let mut tasks = JoinSet::new();
        for replica in replicas {
            let store = scene.store.clone();
            tasks.spawn(async move {
                let mut mine = vec![];
                // Losing every candidate to others is no proof that nothing is left.
                let mut in_vain = 0;
                while in_vain < 20 {
                    let taken = store.chats.acquire(replica, 10).await.unwrap();
                    in_vain = if taken.is_empty() { in_vain + 1 } else { 0 };
                    mine.extend(taken.into_iter().map(|acquired| acquired.chat.id));
                }
                mine
            });
        }
        let mut all = vec![];
        while let Some(joined) = tasks.join_next().await {
            all.extend(joined.unwrap());
        }
        let distinct: BTreeSet<_> = all.iter().copied().collect();
        assert_eq!((all.len(), distinct.len()), (60, 60));
    }

    async fn sixteen_results_at_once_are_sealed_once_in_order(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let names: Vec<String> = (0..16).map(|number| format!("c{number:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (message, intents) = asking(scene, &names);
        let fence =
            scene.store.chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        let mut tasks = JoinSet::new();
        for intent in intents {
            let store = scene.store.clone();
            let id = chat.id;
            tasks.spawn(async move {
                store.chats.store_tool_result(id, &fence, &answered(&intent)).await.unwrap()
            });
        }
        let mut sealed = 0;
        while let Some(joined) = tasks.join_next().await {
            sealed += usize::from(joined.unwrap().sealed.is_some());
        }
        assert_eq!(sealed, 1);
        let results: Vec<String> =
            names.iter().map(|name| format!("{name}=\"out of {name}\"")).collect();
        assert_eq!(*scene.lines(&chat).await.last().unwrap(), format!("tool: {}", results.join(", ")));
        check_counters(scene, &chat).await;
    }

    async fn of_two_workers_with_one_fence_one_commits(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let (one, two) = (answer("one"), answer("two"));
        let (first, second) = tokio::join!(
            scene.store.chats.commit_step(chat.id, &fence, &one, &[]),
            scene.store.chats.commit_step(chat.id, &fence, &two, &[]),
        );
        let won = [first, second].into_iter().filter(|result| match result {
            Ok(_) => true,
            Err(error) => {
                assert!(matches!(error, StoreError::Fenced), "{error:?}");
                false
            }
        });
        assert_eq!(won.count(), 1);
        assert_eq!(scene.lines(&chat).await.len(), 2);
    }

    async fn users_and_a_worker_at_once_leave_a_valid_chat(scene: &Scene) {
        let (chat, mut fence) = scene.owned_chat().await;
        let mut tasks = JoinSet::new();
        for number in 0..12 {
            let store = scene.store.clone();
            let id = chat.id;
            tasks.spawn(async move {
                let busy = if number % 3 == 0 { Busy::Steer } else { Busy::Queue };
                let message = said(&number.to_string());
                let send = SendMessage { message, busy, claim: None, key: None };
                store.chats.send(id, &send).await.map(|_| ())
            });
        }
        let chats = &scene.store.chats;
        for name in ["a", "b", "c", "d", "e", "f"] {
            let (message, intents) = asking(scene, &[name]);
            fence = chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
            let stored = chats.store_tool_result(chat.id, &fence, &answered(&intents[0])).await;
            fence = stored.unwrap().fence;
        }
        while let Some(joined) = tasks.join_next().await {
            joined.unwrap().unwrap();
        }
        check_counters(scene, &chat).await;
        // Whatever waits is delivered turn by turn, and then the chat rests.
        let mut next = Some(fence);
        while let Some(fence) = next {
            next = chats.finish_turn(chat.id, &fence).await.unwrap().next;
        }
        let lines = scene.lines(&chat).await;
        assert_eq!(lines.iter().filter(|line| line.starts_with("user")).count(), 13);
        assert_eq!(scene.head(&chat).await.queue_length, 0);
        check_counters(scene, &chat).await;
    }
}
