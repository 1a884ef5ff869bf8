//! The directory of daemons: epochs rise for ever, and a replica without a lease holds nothing.

use controlplane::store::{LinkRow, StoreError};

use crate::claims::expire;
use crate::scene::LEASE_MS;

on_both! {
    async fn each_claim_has_a_higher_epoch_than_all_before(scene: &Scene) {
        let links = &scene.store.links;
        let first = links.claim(scene.workspace, scene.replica, b"one").await.unwrap();
        let second = links.claim(scene.workspace, scene.replica, b"two").await.unwrap();
        assert!(second > first);
        links.release(scene.workspace, second).await.unwrap();
        let row = links.one(scene.workspace).await.unwrap().unwrap();
        assert_eq!((row.replica, row.epoch), (None, second), "a lost link keeps its epoch");
        links.revoke(scene.workspace).await.unwrap();
        let third = links.claim(scene.workspace, scene.replica, b"three").await.unwrap();
        assert!(third > second + 1, "taking a daemon away uses up an epoch");
        assert_eq!(links.hello(scene.workspace, third).await.unwrap().unwrap(), b"three");
        assert_eq!(links.hello(scene.workspace, second).await.unwrap(), None);
    }

    async fn an_old_link_cannot_release_a_newer_one(scene: &Scene) {
        let links = &scene.store.links;
        let first = links.claim(scene.workspace, scene.replica, b"a").await.unwrap();
        let other = scene.ids.id();
        scene.store.replicas.register(other, LEASE_MS, None, "0.1.0").await.unwrap();
        let holder = match scene.store.kind() {
            // On SQLite the newest replica is the only one.
            "sqlite" => other,
            _ => scene.replica,
        };
        let second = links.claim(scene.workspace, holder, b"b").await.unwrap();
        links.release(scene.workspace, first).await.unwrap();
        let row = links.one(scene.workspace).await.unwrap().unwrap();
        assert_eq!((row.replica, row.epoch), (Some(holder), second));
    }

    async fn who_has_no_lease_claims_nothing_and_holds_nothing(scene: &Scene) {
        let links = &scene.store.links;
        let stranger = links.claim(scene.workspace, scene.ids.id(), b"").await;
        assert!(matches!(stranger, Err(StoreError::Fenced)));
        let nowhere = links.claim(scene.ids.id(), scene.replica, b"").await;
        assert!(matches!(nowhere, Err(StoreError::Fenced)), "there is no such workspace");
        let epoch = links.claim(scene.workspace, scene.replica, b"").await.unwrap();
        expire(scene, scene.replica).await;
        let row = links.all().await.unwrap().remove(0);
        let since_ms = row.since_ms;
        let gone = LinkRow { workspace: scene.workspace, replica: None, epoch, since_ms };
        assert_eq!(row, gone);
        let late = links.claim(scene.workspace, scene.replica, b"").await;
        assert!(matches!(late, Err(StoreError::Fenced)));
        let next = scene.ids.id();
        scene.store.replicas.register(next, LEASE_MS, None, "0.1.0").await.unwrap();
        links.move_to(scene.replica, next).await.unwrap();
        assert_eq!(links.all().await.unwrap()[0].replica, Some(next), "the same process goes on");
    }

    async fn a_chat_waits_from_when_it_has_work_until_it_has_a_worker(scene: &Scene) {
        let begun = scene.chat().await.chat;
        assert_eq!(begun.runnable_since_ms, Some(crate::scene::NOW_MS));
        scene.clock.advance(std::time::Duration::from_secs(5));
        let waiting = scene.store.chats.head(begun.id).await.unwrap().unwrap();
        assert_eq!(waiting.runnable_since_ms, Some(crate::scene::NOW_MS), "time goes on, not it");
        let taken = scene.store.chats.acquire(scene.replica, 1).await.unwrap().remove(0);
        assert_eq!(taken.chat.runnable_since_ms, None);
        scene.store.chats.abandon(begun.id, &taken.fence).await.unwrap();
        let again = scene.store.chats.head(begun.id).await.unwrap().unwrap();
        assert_eq!(again.runnable_since_ms, Some(crate::scene::NOW_MS + 5_000));
    }
}
