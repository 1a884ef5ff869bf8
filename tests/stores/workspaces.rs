//! Workspaces, the identity of their daemons, join tokens.

use std::time::Duration;

use controlplane::store::{NewJoinToken, NewWorkspace, Seen, StoreError};

use crate::scene::NOW_MS;

fn token(scene: &crate::scene::Scene, secret: &str) -> NewJoinToken {
    NewJoinToken {
        workspace_id: scene.workspace,
        secret_hash: secret.into(),
        created_by: Some(scene.owner),
        expires_at_ms: NOW_MS + 60_000,
    }
}

on_both! {
    async fn a_workspace_is_made_found_listed_changed_and_deleted(scene: &Scene) {
        let workspaces = &scene.store.workspaces;
        let labels = [("team".to_owned(), "core".to_owned())];
        let new = NewWorkspace { name: "gpu".into(), labels: labels.clone().into() };
        let made = workspaces.create(&new).await.unwrap();
        assert_eq!(workspaces.workspace(made.id).await.unwrap().as_ref(), Some(&made));
        assert_eq!((made.labels.clone(), made.device_spki.as_ref()), (labels.into(), None));

        let page = workspaces.list(None, 1).await.unwrap();
        assert_eq!(page[0].id, scene.workspace, "oldest first");
        let rest = workspaces.list(Some(page[0].id), 10).await.unwrap();
        assert_eq!(rest, std::slice::from_ref(&made));

        let renamed = workspaces.update(made.id, Some("gpu-2"), None).await.unwrap();
        assert_eq!((renamed.name.as_str(), &renamed.labels), ("gpu-2", &made.labels));
        let bare = workspaces.update(made.id, None, Some(&[].into())).await.unwrap();
        assert_eq!((bare.name.as_str(), bare.labels.len()), ("gpu-2", 0));

        workspaces.delete(made.id).await.unwrap();
        assert!(workspaces.workspace(made.id).await.unwrap().is_none());
        assert!(matches!(workspaces.delete(made.id).await, Err(StoreError::NotFound)));
        let gone = workspaces.update(made.id, Some("x"), None).await;
        assert!(matches!(gone, Err(StoreError::NotFound)));
    }

    async fn a_taken_workspace_name_is_a_conflict(scene: &Scene) {
        let workspaces = &scene.store.workspaces;
        let new = |name: &str| NewWorkspace { name: name.into(), labels: [].into() };
        assert!(matches!(workspaces.create(&new("box")).await, Err(StoreError::Conflict)));
        let other = workspaces.create(&new("other")).await.unwrap();
        let renamed = workspaces.update(other.id, Some("box"), None).await;
        assert!(matches!(renamed, Err(StoreError::Conflict)));
    }

    async fn only_the_key_that_joined_last_is_the_workspaces_daemon(scene: &Scene) {
        let workspaces = &scene.store.workspaces;
        assert!(!workspaces.is_device(scene.workspace, "aa").await.unwrap());
        workspaces.set_device(scene.workspace, Some("aa")).await.unwrap();
        assert!(workspaces.is_device(scene.workspace, "aa").await.unwrap());
        workspaces.set_device(scene.workspace, Some("bb")).await.unwrap();
        assert!(!workspaces.is_device(scene.workspace, "aa").await.unwrap(), "revoked");
        workspaces.set_device(scene.workspace, None).await.unwrap();
        assert!(!workspaces.is_device(scene.workspace, "bb").await.unwrap());
        let nowhere = workspaces.set_device(scene.ids.id(), Some("aa")).await;
        assert!(matches!(nowhere, Err(StoreError::NotFound)));
    }

    async fn what_a_daemon_says_of_itself_is_kept(scene: &Scene) {
        let workspaces = &scene.store.workspaces;
        let seen = Seen {
            instance_id: scene.ids.id(),
            version: "0.1.0".into(),
            os: "linux".into(),
            arch: "x86_64".into(),
            hostname: "b\0x".into(),
            root: "/repo".into(),
        };
        workspaces.connected(scene.workspace, &seen).await.unwrap();
        let row = workspaces.workspace(scene.workspace).await.unwrap().unwrap();
        assert_eq!((row.instance_id, row.last_seen_at_ms), (Some(seen.instance_id), Some(NOW_MS)));
        assert_eq!(row.hostname.as_deref(), Some("b\u{fffd}x"));
        assert_eq!((row.os.as_deref(), row.root.as_deref()), (Some("linux"), Some("/repo")));
        scene.clock.advance(Duration::from_secs(9));
        workspaces.last_seen(scene.workspace).await.unwrap();
        let row = workspaces.workspace(scene.workspace).await.unwrap().unwrap();
        assert_eq!(row.last_seen_at_ms, Some(NOW_MS + 9_000));
    }

    async fn a_join_token_is_used_up_once_even_by_two_at_once(scene: &Scene) {
        let tokens = &scene.store.join_tokens;
        let made = tokens.create(&token(scene, "s")).await.unwrap();
        assert_eq!((made.workspace_id, made.used_at_ms), (scene.workspace, None));
        assert_eq!(tokens.by_secret_hash("s").await.unwrap(), Some(made));
        let (one, two) = tokio::join!(tokens.use_up("s"), tokens.use_up("s"));
        let used: Vec<_> = [one.unwrap(), two.unwrap()].into_iter().flatten().collect();
        assert_eq!(used.len(), 1);
        assert_eq!((used[0].workspace_id, used[0].used_at_ms), (scene.workspace, Some(NOW_MS)));
        assert!(tokens.use_up("s").await.unwrap().is_none());
        assert!(tokens.use_up("unknown").await.unwrap().is_none());
    }

    async fn a_join_token_expires_and_dies_with_its_workspace(scene: &Scene) {
        let tokens = &scene.store.join_tokens;
        tokens.create(&token(scene, "old")).await.unwrap();
        scene.clock.advance(Duration::from_secs(60));
        assert!(tokens.use_up("old").await.unwrap().is_none());
        assert_eq!(tokens.delete_old(NOW_MS + 60_001).await.unwrap(), 1);
        let later = NewJoinToken { expires_at_ms: NOW_MS + 999_999, ..token(scene, "new") };
        tokens.create(&later).await.unwrap();
        scene.store.workspaces.delete(scene.workspace).await.unwrap();
        assert!(tokens.by_secret_hash("new").await.unwrap().is_none());
        assert!(matches!(tokens.create(&later).await, Err(StoreError::Conflict)));
    }

    async fn a_chat_outlives_its_workspace(scene: &Scene) {
        let chat = scene.chat().await.chat;
        scene.store.workspaces.delete(scene.workspace).await.unwrap();
        assert_eq!(scene.head(&chat).await.workspace_id, None);
    }
}
