//! Users, set-up, sessions, API keys, idempotency keys, audit, settings.

use std::time::Duration;

use controlplane::store::chats::{ChatFilter, NewChat};
use controlplane::store::{
    KeyClaim, NewApiKey, NewAudit, NewSession, NewUser, SavedAnswer, StoreError, UserRole,
};
use serde_json::json;

use crate::scene::NOW_MS;

fn named(username: &str) -> NewUser {
    NewUser { username: username.into(), password_hash: "phc".into(), role: UserRole::Member }
}

on_both! {
    async fn a_user_is_found_by_id_and_by_exact_name(scene: &Scene) {
        let users = &scene.store.users;
        let made = users.create(&named("bob\0")).await.unwrap();
        assert_eq!(made.username, "bob\u{fffd}", "a NUL is replaced on both databases");
        assert_eq!((made.role, made.created_at_ms), (UserRole::Member, NOW_MS));
        assert_eq!(users.user(made.id).await.unwrap().unwrap().username, made.username);
        assert_eq!(users.by_username("bob\0").await.unwrap().unwrap().id, made.id);
        assert!(users.by_username("BOB\u{fffd}").await.unwrap().is_none());
        assert_eq!(users.count().await.unwrap(), 2);
        assert_eq!(users.list(1).await.unwrap().len(), 1);
        users.set_password(made.id, "new").await.unwrap();
        assert_eq!(users.user(made.id).await.unwrap().unwrap().password_hash, "new");
        let nobody = scene.ids.id();
        assert!(matches!(users.set_password(nobody, "x").await, Err(StoreError::NotFound)));
        assert!(users.user(nobody).await.unwrap().is_none());
    }

    async fn a_taken_user_name_is_a_conflict(scene: &Scene) {
        let taken = scene.store.users.create(&named("ada")).await;
        assert!(matches!(taken, Err(StoreError::Conflict)));
    }

    async fn a_set_up_token_makes_one_administrator_and_only_the_first(scene: &Scene) {
        let tokens = &scene.store.setup_tokens;
        tokens.create("fresh", NOW_MS + 1_000).await.unwrap();
        assert!(tokens.is_valid("fresh").await.unwrap());
        assert!(!tokens.is_valid("other").await.unwrap());
        let unknown = scene.store.users.create_first("other", &named("eve")).await;
        assert!(matches!(unknown, Err(StoreError::NotFound)));
        // Somebody is there already: the token is not used up by the refusal.
        let late = scene.store.users.create_first("fresh", &named("eve")).await;
        assert!(matches!(late, Err(StoreError::Conflict)));
        assert!(tokens.is_valid("fresh").await.unwrap());
        scene.clock.advance(Duration::from_secs(2));
        assert!(!tokens.is_valid("fresh").await.unwrap(), "it has expired");
    }

    async fn a_session_is_found_until_it_expires(scene: &Scene) {
        let sessions = &scene.store.sessions;
        let new = NewSession {
            user_id: scene.owner,
            token_hash: "cookie".into(),
            user_agent: Some("Firefox".into()),
            expires_at_ms: NOW_MS + 10_000,
        };
        let made = sessions.create(&new).await.unwrap();
        let found = sessions.by_token_hash("cookie").await.unwrap().unwrap();
        assert_eq!((found.id, found.user_id), (made.id, scene.owner));
        assert_eq!(found.user_agent.as_deref(), Some("Firefox"));
        sessions.touch(made.id, NOW_MS + 20_000).await.unwrap();
        scene.clock.advance(Duration::from_secs(15));
        assert!(sessions.by_token_hash("cookie").await.unwrap().is_some());
        assert_eq!(sessions.by_id(made.id).await.unwrap().unwrap().user_id, scene.owner);
        scene.clock.advance(Duration::from_secs(5));
        assert!(sessions.by_token_hash("cookie").await.unwrap().is_none());
        assert!(sessions.by_id(made.id).await.unwrap().is_none());
        assert_eq!(sessions.delete_expired().await.unwrap(), 1);
    }

    async fn a_session_ends_alone_or_with_all_of_a_person(scene: &Scene) {
        let sessions = &scene.store.sessions;
        let mut made = vec![];
        for token_hash in ["a", "b", "c"] {
            let new = NewSession {
                user_id: scene.owner,
                token_hash: token_hash.into(),
                user_agent: None,
                expires_at_ms: NOW_MS + 10_000,
            };
            made.push(sessions.create(&new).await.unwrap());
        }
        sessions.delete(made[0].id).await.unwrap();
        sessions.delete(made[0].id).await.unwrap();
        assert!(sessions.by_token_hash("a").await.unwrap().is_none());
        assert_eq!(sessions.delete_of_user(scene.owner).await.unwrap(), 2);
        assert!(sessions.by_token_hash("b").await.unwrap().is_none());
    }

    async fn an_api_key_is_found_listed_and_deleted_by_its_owner_only(scene: &Scene) {
        let keys = &scene.store.api_keys;
        let new = NewApiKey {
            user_id: scene.owner,
            name: "ci".into(),
            token_hash: "secret".into(),
            scopes: "read write".into(),
            hint: "9f2c".into(),
            expires_at_ms: Some(NOW_MS + 120_000),
        };
        let made = keys.create(&new).await.unwrap();
        assert_eq!(made.last_used_at_ms, None);
        let found = keys.by_token_hash("secret").await.unwrap().unwrap();
        assert_eq!((found.id, found.hint.as_str()), (made.id, "9f2c"));
        let listed = keys.list(scene.owner, 10).await.unwrap();
        assert_eq!(listed[0].last_used_at_ms, Some(NOW_MS), "the use was noted");
        let stranger = scene.ids.id();
        assert!(matches!(keys.delete(stranger, made.id).await, Err(StoreError::NotFound)));
        assert_eq!(found.scopes, "read write");
        let again = keys.by_id(made.id).await.unwrap().unwrap();
        assert_eq!((again.user_id, again.scopes.as_str()), (scene.owner, "read write"));
        scene.clock.advance(Duration::from_secs(120));
        let expired = keys.by_token_hash("secret").await.unwrap().unwrap();
        assert_eq!(expired.expires_at_ms, Some(NOW_MS + 120_000), "found, so that one can say so");
        keys.delete(scene.owner, made.id).await.unwrap();
        assert!(keys.by_id(made.id).await.unwrap().is_none());
        assert!(keys.list(scene.owner, 10).await.unwrap().is_empty());
    }

    async fn an_idempotency_key_is_claimed_once_and_answers_repeats(scene: &Scene) {
        let keys = &scene.store.idempotency;
        let claim = |hash: &'static str| keys.claim(scene.owner, "k", hash, scene.replica);
        let first = claim("one").await.unwrap();
        let KeyClaim::Fresh(key) = first else { panic!("{first:?}") };
        assert_eq!(claim("one").await.unwrap(), KeyClaim::InFlight);
        assert_eq!(claim("two").await.unwrap(), KeyClaim::OtherRequest);
        let saved = SavedAnswer { status: 201, body: b"{}\0".to_vec() };
        keys.finish(scene.owner, "k", &saved).await.unwrap();
        assert_eq!(claim("one").await.unwrap(), KeyClaim::Answered(saved));
        keys.release(&key).await.unwrap();
        assert_eq!(claim("two").await.unwrap(), KeyClaim::OtherRequest, "an answer stays");
        assert_eq!(keys.delete_old(NOW_MS + 1).await.unwrap(), 1);
        assert!(matches!(claim("two").await.unwrap(), KeyClaim::Fresh(_)));
    }

    async fn a_claim_is_free_again_when_it_is_released_or_given_up(scene: &Scene) {
        let keys = &scene.store.idempotency;
        let claim = |hash: &'static str| keys.claim(scene.owner, "k", hash, scene.replica);
        let first = claim("one").await.unwrap();
        let KeyClaim::Fresh(key) = first else { panic!("{first:?}") };
        keys.release(&key).await.unwrap();
        assert!(matches!(claim("one").await.unwrap(), KeyClaim::Fresh(_)));
        scene.clock.advance(Duration::from_secs(61));
        assert!(matches!(claim("two").await.unwrap(), KeyClaim::Fresh(_)));
    }

    async fn a_chat_made_before_its_process_died_is_found_and_not_made_again(scene: &Scene) {
        let keys = &scene.store.idempotency;
        let first = keys.claim(scene.owner, "k", "one", scene.replica).await.unwrap();
        let KeyClaim::Fresh(key) = first else { panic!("{first:?}") };
        let new = NewChat { key: Some(key), ..scene.new_chat() };
        let made = scene.store.chats.create(&new).await.unwrap().chat.id.to_string();
        let next = keys.claim(scene.owner, "k", "one", scene.ids.id()).await.unwrap();
        assert_eq!(next, KeyClaim::Made(made));
    }

    async fn a_claim_that_was_taken_over_makes_nothing(scene: &Scene) {
        let keys = &scene.store.idempotency;
        let first = keys.claim(scene.owner, "k", "one", scene.replica).await.unwrap();
        let KeyClaim::Fresh(stale) = first else { panic!("{first:?}") };
        let next = keys.claim(scene.owner, "k", "one", scene.ids.id()).await.unwrap();
        assert!(matches!(next, KeyClaim::Fresh(_)), "the process that repeats it takes it over");
        let new = NewChat { key: Some(stale), ..scene.new_chat() };
        assert!(matches!(scene.store.chats.create(&new).await, Err(StoreError::Fenced)));
        let filter = ChatFilter::default();
        let chats = scene.store.chats.list(scene.owner, &filter, None, 10).await.unwrap();
        assert!(chats.is_empty(), "the transaction was rolled back");
    }

    async fn the_audit_is_listed_newest_first_in_pages(scene: &Scene) {
        let audit = &scene.store.audit;
        for action in ["one", "two", "three"] {
            let new = NewAudit {
                actor_id: Some(scene.owner),
                action: action.into(),
                target: None,
                detail: json!({ "n": action }),
                request_id: Some(scene.ids.id()),
            };
            audit.append(&new).await.unwrap();
        }
        let first = audit.list(None, 2).await.unwrap();
        let actions: Vec<&str> = first.iter().map(|row| row.action.as_str()).collect();
        assert_eq!(actions, ["three", "two"]);
        let rest = audit.list(Some(&first[1].id), 2).await.unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].action.as_str(), &rest[0].detail), ("one", &json!({ "n": "one" })));
    }

    async fn a_setting_is_set_replaced_kept_and_forgotten(scene: &Scene) {
        let settings = &scene.store.settings;
        assert_eq!(settings.value("ca").await.unwrap(), None);
        assert_eq!(settings.set_once("ca", b"\0one").await.unwrap(), b"\0one");
        assert_eq!(settings.set_once("ca", b"two").await.unwrap(), b"\0one");
        settings.set("ca", b"three").await.unwrap();
        assert_eq!(settings.value("ca").await.unwrap().as_deref(), Some(&b"three"[..]));
        settings.delete("ca").await.unwrap();
        settings.delete("ca").await.unwrap();
        assert_eq!(settings.value("ca").await.unwrap(), None);
    }

    async fn the_store_answers_a_ping(scene: &Scene) {
        scene.store.ping().await.unwrap();
    }
}

/// A fresh store has nobody, so the token works; of two that come at once, one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_set_ups_at_once_one_wins() {
    let scene = crate::scene::Scene::on_sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let url = controlplane::store::DatabaseUrl::Sqlite(folder.path().join("fresh.db"));
    let clock = std::sync::Arc::clone(&scene.clock);
    let store = controlplane::store::Store::open(&url, clock, scene.ids.clone()).await.unwrap();
    assert_eq!(store.users.count().await.unwrap(), 0);
    store.setup_tokens.create("link", NOW_MS + 1_000).await.unwrap();
    let (eve, bob) = (named("eve"), named("bob"));
    let (one, two) = tokio::join!(
        store.users.create_first("link", &eve),
        store.users.create_first("link", &bob),
    );
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    assert_eq!(store.users.count().await.unwrap(), 1);
    assert!(!store.setup_tokens.is_valid("link").await.unwrap());
    store.close().await;
}
