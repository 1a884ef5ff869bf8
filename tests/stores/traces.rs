//! Spans and usage, on both databases.

use controlplane::chat::content::Usage;
use controlplane::chat::machine::AssistantMessage;
use controlplane::store::{SpanKind, SpanRow, SpanStatus, TraceWrite, UsageEntry, UsagePurpose};
use serde_json::json;
use shared::ids::ChatId;

use crate::scene::NOW_MS;

fn span(chat: ChatId, key: &str, at_ms: i64) -> SpanRow {
    SpanRow {
        chat_id: chat,
        key: key.to_owned(),
        parent: None,
        kind: SpanKind::Tool,
        name: "execute_tool execute\0".into(),
        status: SpanStatus::Running,
        started_at_ms: at_ms,
        ended_at_ms: None,
        attributes: json!({ "gen_ai.tool.name": "execute" }),
    }
}

fn write(span: SpanRow) -> TraceWrite {
    TraceWrite::Span(Box::new(span))
}

fn keys(spans: &[SpanRow]) -> Vec<&str> {
    spans.iter().map(|span| span.key.as_str()).collect()
}

on_both! {
    async fn a_span_is_written_again_under_its_key_and_read_newest_first(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        let traces = &scene.store.traces;
        let ended = SpanRow { status: SpanStatus::Ok, ended_at_ms: Some(9), ..span(chat, "a", 5) };
        let batch = [write(span(chat, "a", 5)), write(span(chat, "b", 5)), write(span(chat, "c", 4))];
        traces.write(&batch).await.unwrap();
        traces.write(&[write(ended.clone())]).await.unwrap();
        let page = traces.page(chat, None, 2).await.unwrap();
        assert_eq!(keys(&page), ["b", "a"]);
        assert_eq!(page[1], SpanRow { name: "execute_tool execute\u{fffd}".into(), ..ended });
        let page = traces.page(chat, Some((5, "a".into())), 10).await.unwrap();
        assert_eq!(keys(&page), ["c"]);
        assert_eq!(traces.span(chat, "b").await.unwrap().unwrap().key, "b");
        assert!(traces.span(chat, "x").await.unwrap().is_none());
    }

    async fn a_takeover_marks_what_is_open_as_lost_and_no_more(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        let other = scene.chat().await.chat.id;
        let traces = &scene.store.traces;
        let done = SpanRow { status: SpanStatus::Ok, ended_at_ms: Some(6), ..span(chat, "done", 5) };
        let batch = [write(span(chat, "open", 5)), write(done), write(span(other, "open", 5))];
        traces.write(&batch).await.unwrap();
        // In one batch and in order: what comes after the takeover goes on.
        let batch = [TraceWrite::TakenOver { chat, at_ms: 8 }, write(span(chat, "next", 9))];
        traces.write(&batch).await.unwrap();
        let state = |key: &'static str, chat| async move {
            let span = traces.span(chat, key).await.unwrap().unwrap();
            (span.status, span.ended_at_ms)
        };
        assert_eq!(state("open", chat).await, (SpanStatus::Lost, Some(8)));
        assert_eq!(state("done", chat).await, (SpanStatus::Ok, Some(6)));
        assert_eq!(state("next", chat).await, (SpanStatus::Running, None));
        assert_eq!(state("open", other).await, (SpanStatus::Running, None));
    }

    async fn spans_of_a_chat_that_is_gone_are_dropped_and_spoil_no_batch(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        let gone: ChatId = scene.ids.as_ref().id();
        let batch = [write(span(gone, "a", 1)), write(span(chat, "a", 1))];
        scene.store.traces.write(&batch).await.unwrap();
        assert!(scene.store.traces.page(gone, None, 10).await.unwrap().is_empty());
        assert_eq!(scene.store.traces.page(chat, None, 10).await.unwrap().len(), 1);
    }

    async fn what_is_kept_is_bounded_by_age_and_by_chat(scene: &Scene) {
        let chat = scene.chat().await.chat.id;
        let traces = &scene.store.traces;
        let batch: Vec<TraceWrite> =
            (0..40).map(|at| write(span(chat, &format!("o{at:06}"), at))).collect();
        traces.write(&batch).await.unwrap();
        traces.write(&[TraceWrite::Trim { chat, keep: 30 }]).await.unwrap();
        let oldest = traces.page(chat, Some((20, String::new())), 100).await.unwrap();
        assert_eq!(oldest.last().unwrap().started_at_ms, 10, "the newest are kept");
        assert_eq!(traces.delete_old(20).await.unwrap(), 10);
        let head = TraceWrite::Head { hash: "h".into(), body: "{}".into(), at_ms: 30 };
        traces.write(&[head.clone(), head]).await.unwrap();
        assert_eq!(traces.head("h").await.unwrap().as_deref(), Some("{}"));
        traces.delete_old(31).await.unwrap();
        assert_eq!(traces.head("h").await.unwrap(), None);
    }

    async fn usage_is_entered_with_the_step_once_and_summed_by_day(scene: &Scene) {
        let (chat, fence) = scene.owned_chat().await;
        let usage = Usage {
            input: 100,
            cache_read: 900,
            output: 50,
            source: "provider".into(),
            cost_micros: Some(1_234),
            ..Usage::default()
        };
        let message = AssistantMessage {
            model: Some("m".into()),
            usage: Some(usage.clone()),
            ..AssistantMessage::default()
        };
        scene.store.chats.commit_step(chat.id, &fence, &message, &[]).await.unwrap();
        // Fenced off: nothing of it is entered.
        scene.store.chats.commit_step(chat.id, &fence, &message, &[]).await.unwrap_err();
        let unknown = Usage { input: 7, source: "unknown".into(), ..Usage::default() };
        let entry = UsageEntry {
            id: "beside".into(),
            owner: scene.owner,
            chat: chat.id,
            purpose: UsagePurpose::Title,
            model: "m",
            usage: &unknown,
            at_ms: NOW_MS,
        };
        scene.store.usage.add(&entry).await.unwrap();
        scene.store.usage.add(&entry).await.unwrap();
        let day = (NOW_MS, NOW_MS + 1);
        let sums = scene.store.usage.sums(scene.owner, day, 10).await.unwrap();
        assert_eq!(sums.len(), 2);
        let step = &sums[0];
        assert_eq!((step.purpose, step.calls, step.unknown_calls), (UsagePurpose::Step, 1, 0));
        assert_eq!((step.input, step.cache_read, step.output), (100, 900, 50));
        assert_eq!((step.cost_micros, step.priced_calls, step.day), (1_234, 1, NOW_MS / 86_400_000));
        let title = &sums[1];
        assert_eq!((title.calls, title.unknown_calls, title.input), (1, 1, 0));
        assert!(scene.store.usage.sums(scene.owner, (0, 1), 10).await.unwrap().is_empty());
    }
}
