//! How many chats run at once, and in which order the others are taken.

use controlplane::store::chats::{NewChat, RunningLimits};
use controlplane::store::{NewUser, UserRole};
use shared::ids::{ChatId, UserId};

use crate::claims::expire;
use crate::scene::{LEASE_MS, Scene};

async fn another_user(scene: &Scene) -> UserId {
    let user = NewUser {
        username: "bob".into(),
        password_hash: "$argon2id$".into(),
        role: UserRole::Member,
    };
    scene.store.users.create(&user).await.unwrap().id
}

async fn chat_of(scene: &Scene, owner_id: UserId) -> ChatId {
    scene.clock.advance(std::time::Duration::from_millis(1));
    let new = NewChat { owner_id, ..scene.new_chat() };
    scene.store.chats.create(&new).await.unwrap().chat.id
}

async fn place(scene: &Scene, chat: ChatId) -> Option<u32> {
    scene.store.chats.head_in_queue(chat).await.unwrap().unwrap().queue_position
}

on_both! {
    async fn chats_over_the_limit_wait_in_a_fair_order_and_know_their_place(scene: &Scene) {
        let chats = &scene.store.chats;
        chats.limit_running(RunningLimits { deployment: Some(2), user: None });
        let bob = another_user(scene).await;
        let mut ada = vec![];
        for _ in 0..4 {
            ada.push(chat_of(scene, scene.owner).await);
        }
        let late = chat_of(scene, bob).await;
        let taken = chats.acquire(scene.replica, 9).await.unwrap();
        let ids: Vec<_> = taken.iter().map(|it| it.chat.id).collect();
        assert_eq!(ids, [ada[0], late], "who has fewest comes first");
        assert!(chats.acquire(scene.replica, 9).await.unwrap().is_empty(), "both places are taken");
        assert_eq!(place(scene, ada[0]).await, None);
        assert_eq!([place(scene, ada[1]).await, place(scene, ada[3]).await], [Some(1), Some(3)]);
        let snapshot = chats.snapshot(ada[2], 0).await.unwrap().unwrap();
        assert_eq!(snapshot.chat.head().queue_position, Some(2));

        chats.abandon(late, &taken[1].fence).await.unwrap();
        chats.interrupt(late).await.unwrap();
        let taken = chats.acquire(scene.replica, 9).await.unwrap();
        let ids: Vec<_> = taken.iter().map(|it| it.chat.id).collect();
        assert!(ids.contains(&late), "a stop is carried out whatever the limit says");
    }

    async fn one_user_s_limit_holds_for_that_user_only(scene: &Scene) {
        let chats = &scene.store.chats;
        chats.limit_running(RunningLimits { deployment: None, user: Some(1) });
        let bob = another_user(scene).await;
        let (first, second) = (chat_of(scene, scene.owner).await, chat_of(scene, scene.owner).await);
        let other = chat_of(scene, bob).await;
        let taken = chats.acquire(scene.replica, 9).await.unwrap();
        let ids: Vec<_> = taken.iter().map(|it| it.chat.id).collect();
        assert_eq!(ids, [first, other]);
        assert_eq!(place(scene, second).await, Some(1));
    }

    async fn chats_of_a_dead_server_keep_their_turn(scene: &Scene) {
        let chats = &scene.store.chats;
        chats.limit_running(RunningLimits { deployment: Some(1), user: None });
        let running = chat_of(scene, scene.owner).await;
        let waiting = chat_of(scene, scene.owner).await;
        assert_eq!(chats.acquire(scene.replica, 9).await.unwrap()[0].chat.id, running);
        expire(scene, scene.replica).await;
        let next = scene.ids.id();
        scene.store.replicas.register(next, LEASE_MS, None, "0.1.0").await.unwrap();
        let taken = chats.acquire(next, 9).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].chat.id, running, "it had begun before the other");
        assert_eq!(place(scene, waiting).await, Some(1));
    }

    async fn a_chat_is_left_to_the_server_with_its_daemon_until_somebody_must(scene: &Scene) {
        let chats = &scene.store.chats;
        if scene.store.kind() == "sqlite" {
            return; // there is one server
        }
        let far = scene.ids.id();
        scene.store.replicas.register(far, LEASE_MS, None, "0.1.0").await.unwrap();
        scene.store.links.claim(scene.workspace, far, b"").await.unwrap();
        let chat = scene.chat().await.chat;
        assert!(chats.acquire_near(scene.replica, 9).await.unwrap().is_empty());
        let near = chats.acquire_near(far, 9).await.unwrap();
        assert_eq!(near[0].chat.id, chat.id);
        chats.abandon(chat.id, &near[0].fence).await.unwrap();
        assert_eq!(chats.acquire(scene.replica, 9).await.unwrap().len(), 1, "nobody waits for ever");
    }
}

/// Two servers that take at once never take the same last place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_at_once_never_pass_the_limit() {
    let Some(scene) = Scene::on_postgres().await else { return };
    let chats = &scene.store.chats;
    chats.limit_running(RunningLimits { deployment: Some(5), user: None });
    let other = scene.ids.id();
    scene.store.replicas.register(other, LEASE_MS, None, "0.1.0").await.unwrap();
    for _ in 0..20 {
        chat_of(&scene, scene.owner).await;
    }
    let (a, b) = tokio::join!(chats.acquire(scene.replica, 10), chats.acquire(other, 10));
    assert_eq!(a.unwrap().len() + b.unwrap().len(), 5);
}
