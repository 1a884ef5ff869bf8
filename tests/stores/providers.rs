//! Providers and models.

use controlplane::store::{
    ModelPatch, NewModel, NewProvider, ProviderKind, ProviderPatch, ProviderRow, StoreError,
};
use serde_json::json;
use shared::ids::ProviderId;

use crate::scene::Scene;

async fn provider(scene: &Scene, name: &str) -> ProviderRow {
    let new = NewProvider {
        id: scene.ids.id(),
        kind: ProviderKind::OpenaiCompatible,
        name: name.into(),
        base_url: Some("http://127.0.0.1:8080/v1".into()),
        api_key: Some((vec![0, 159, 146, 150], "6789".into())),
    };
    scene.store.providers.create(&new).await.unwrap()
}

fn model(provider_id: ProviderId, name: &str) -> NewModel {
    NewModel {
        provider_id,
        model: name.into(),
        display_name: name.to_uppercase(),
        context_limit: 200_000,
        max_output_tokens: None,
        price: Some(json!({ "input": 3.0 })),
        options: json!({ "temperature": 0.5 }).as_object().unwrap().clone(),
        enabled: true,
        hidden: false,
        fallback_model_id: None,
    }
}

on_both! {
    async fn a_provider_keeps_its_sealed_key_byte_for_byte(scene: &Scene) {
        let providers = &scene.store.providers;
        let made = provider(scene, "local").await;
        let found = providers.provider(made.id).await.unwrap().unwrap();
        assert_eq!(found.api_key.as_deref(), Some(&[0, 159, 146, 150][..]));
        assert_eq!((found.kind, found.key_hint.as_deref()), (made.kind, Some("6789")));
        assert_eq!(providers.list(10).await.unwrap().len(), 1);

        let patch = ProviderPatch { name: Some("box".into()), ..ProviderPatch::default() };
        let renamed = providers.update(made.id, &patch).await.unwrap();
        assert_eq!((renamed.name.as_str(), renamed.api_key), ("box", made.api_key));
        let patch = ProviderPatch {
            api_key: Some((vec![1], "new".into())),
            base_url: Some("https://x".into()),
            ..ProviderPatch::default()
        };
        let changed = providers.update(made.id, &patch).await.unwrap();
        assert_eq!(changed.api_key.as_deref(), Some(&[1][..]));
        assert_eq!((changed.name.as_str(), changed.base_url.as_deref()), ("box", Some("https://x")));
    }

    async fn a_taken_provider_name_is_a_conflict_and_an_unknown_one_is_not_found(scene: &Scene) {
        let providers = &scene.store.providers;
        let one = provider(scene, "one").await;
        provider(scene, "two").await;
        let patch = ProviderPatch { name: Some("two".into()), ..ProviderPatch::default() };
        assert!(matches!(providers.update(one.id, &patch).await, Err(StoreError::Conflict)));
        let nobody = scene.ids.id();
        let unknown = providers.update(nobody, &ProviderPatch::default()).await;
        assert!(matches!(unknown, Err(StoreError::NotFound)));
        assert!(matches!(providers.delete(nobody).await, Err(StoreError::NotFound)));
    }

    async fn the_first_model_is_the_default_one_until_another_is_chosen(scene: &Scene) {
        let models = &scene.store.models;
        let provider = provider(scene, "local").await.id;
        assert!(models.default_model().await.unwrap().is_none());
        let one = models.create(&model(provider, "one")).await.unwrap();
        let two = models.create(&model(provider, "two")).await.unwrap();
        assert_eq!((one.is_default, two.is_default), (true, false));
        models.set_default(two.id).await.unwrap();
        assert_eq!(models.default_model().await.unwrap().unwrap().id, two.id);
        let nobody = scene.ids.id();
        assert!(matches!(models.set_default(nobody).await, Err(StoreError::NotFound)));
        let defaults = models.list(10).await.unwrap();
        let defaults: Vec<bool> = defaults.iter().map(|model| model.is_default).collect();
        assert_eq!(defaults, [false, true], "an unknown id changed nothing");
        let off = ModelPatch { enabled: Some(false), ..ModelPatch::default() };
        models.update(two.id, &off).await.unwrap();
        assert!(models.default_model().await.unwrap().is_none(), "a disabled one does not answer");
    }

    async fn a_model_is_changed_field_by_field_and_dies_with_its_provider(scene: &Scene) {
        let models = &scene.store.models;
        let provider = provider(scene, "local").await.id;
        let made = models.create(&model(provider, "one")).await.unwrap();
        assert_eq!(models.model(made.id).await.unwrap(), Some(made.clone()));
        let patch = ModelPatch {
            max_output_tokens: Some(8_192),
            hidden: Some(true),
            options: Some(serde_json::Map::new()),
            ..ModelPatch::default()
        };
        let changed = models.update(made.id, &patch).await.unwrap();
        let mut expected = made.clone();
        expected.max_output_tokens = Some(8_192);
        expected.hidden = true;
        expected.options = serde_json::Map::new();
        assert_eq!(changed, expected);

        let again = models.create(&model(provider, "one")).await;
        assert!(matches!(again, Err(StoreError::Conflict)));
        let nowhere = models.create(&model(scene.ids.id(), "x")).await;
        assert!(matches!(nowhere, Err(StoreError::Conflict)));
        scene.store.providers.delete(provider).await.unwrap();
        assert!(models.model(made.id).await.unwrap().is_none());
        assert!(matches!(models.delete(made.id).await, Err(StoreError::NotFound)));
        let gone = models.update(made.id, &patch).await;
        assert!(matches!(gone, Err(StoreError::NotFound)));
    }
}
