//! Rows B88 to B92 of the catalogue of bad input, through the real client and a real socket.
//! Each test prints how many of its rows passed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use shared::clock::SystemClock;
use shared::testing::bad_input::BadInput;

use super::server::{Ending, http, serve};
use super::{Heard, body, message, prompt, teller, text};
use crate::chat::content::{Part, Role};
use crate::llm::calls::CallIds;
use crate::llm::openai_chat::ChatStream;
use crate::llm::{LlmClient, Provider, ProviderKind, ProviderSettings, Registry, sse};
use crate::secrets::Secret;

const KEY: &str = "sk-live-5ecret5ecret5ecret";
type Headers = Vec<(&'static str, &'static str)>;

const SSE: (&str, &str) = ("content-type", "text/event-stream");

/// Counts rows and prints the count of a table.
struct Table {
    name: &'static str,
    failures: Vec<String>,
    total: usize,
    report: BadInput,
}

impl Table {
    fn new(name: &'static str) -> Self {
        Self { name, failures: Vec::new(), total: 0, report: BadInput::new() }
    }

    fn row(&mut self, what: &str, good: bool, seen: impl std::fmt::Debug) {
        self.total += 1;
        self.report.check(what, good);
        if !good {
            self.failures.push(format!("{what}: {seen:?}"));
        }
    }

    fn end(self) {
        println!("{}: {}/{} rows passed", self.name, self.total - self.failures.len(), self.total);
        self.report.report(self.name);
        assert!(self.failures.is_empty(), "{}: {:#?}", self.name, self.failures);
    }
}

fn provider(kind: ProviderKind, url: &str) -> Arc<dyn Provider> {
    let registry = Registry::new(LlmClient::new(Arc::new(SystemClock)).unwrap());
    let settings = ProviderSettings {
        kind,
        name: "Test".to_owned(),
        base_url: Some(url.to_owned()),
        key: Some(Secret::new(KEY.to_owned())),
    };
    registry.provider(&settings).unwrap()
}

/// Asks a server of `kind` and listens to the end; an error before the stream is heard as well.
async fn ask(kind: ProviderKind, answer: Vec<u8>, ending: Ending) -> Heard {
    let server = serve(answer, ending).await;
    ask_at(kind, &server.url).await
}

async fn ask_at(kind: ProviderKind, url: &str) -> Heard {
    let asked = prompt(vec![message(Role::User, vec![text("Hello")])]);
    let heard = async {
        match provider(kind, url).stream(asked).await {
            Ok(stream) => Heard::all(stream).await,
            Err(error) => Heard { error: Some(error), ..Heard::default() },
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.expect("an answer within 20 s")
}

fn both() -> [ProviderKind; 2] {
    [ProviderKind::Anthropic, ProviderKind::OpenaiCompatible]
}

#[tokio::test]
async fn b88_answers_that_are_no_stream_of_events() {
    let html =
        format!("<!doctype html><title>Login</title>{KEY} Bearer abc.def {}", "x".repeat(9_000));
    let endless = [b"data: ".as_slice(), "x".repeat(5 << 20).as_bytes()].concat();
    let rows: Vec<(&str, Headers, Vec<u8>)> = vec![
        (
            "B88 an HTML page",
            vec![("content-type", "text/html; charset=utf-8")],
            html.clone().into_bytes(),
        ),
        ("B88 an HTML page called events", vec![SSE], html.into_bytes()),
        ("B88 an empty body", vec![SSE], vec![]),
        ("B88 an empty body without a type", vec![], vec![]),
        ("B88 JSON", vec![("content-type", "application/json")], b"{\"choices\":[]}".to_vec()),
        ("B88 JSON called events", vec![SSE], b"{\"choices\":[]}".to_vec()),
        ("B88 data of 5 MiB without an end", vec![SSE], endless.clone()),
        ("B88 data of 5 MiB as one event", vec![SSE], [endless, b"\n\n".to_vec()].concat()),
        ("B88 no newline", vec![SSE], b"data: {\"choices\":[]}".to_vec()),
        ("B88 comments only", vec![SSE], b": one\n\n: two\n\n".to_vec()),
        ("B88 data that is no JSON", vec![SSE], b"data: hello\n\n".to_vec()),
        ("B88 data that is no object", vec![SSE], b"data: [1]\n\n".to_vec()),
        ("B88 bytes that are no text", vec![SSE], b"data: \xFF\xFE\n\n".to_vec()),
        ("B88 an end without an answer", vec![SSE], b"data: [DONE]\n\n".to_vec()),
    ];
    let mut table = Table::new("B88 streams");
    for kind in both() {
        for (what, headers, body) in &rows {
            let heard = ask(kind, http("200 OK", headers, body), Ending::Close).await;
            let message =
                heard.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
            let told = message.len() <= 1_000
                && !message.contains("5ecret")
                && !message.contains("abc.def");
            table.row(
                &format!("{what} ({kind})"),
                heard.code() == "provider_bad_response" && told && heard.parts.is_empty(),
                (heard.code(), message),
            );
        }
    }
    table.end();
}

#[tokio::test]
async fn b88_a_byte_order_mark_and_mixed_line_ends_are_fine() {
    let lines = [
        "\u{FEFF}data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n",
        ": comment\r\rdata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n",
        "id: 7\r\ndata:{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\n",
    ];
    let mut table = Table::new("B88 line ends");
    for (what, farewell) in [("with [DONE]", "data: [DONE]\r\n\r\n"), ("without [DONE]", "")] {
        let body = format!("{}{farewell}", lines.concat());
        let heard = ask(
            ProviderKind::OpenaiCompatible,
            http("200 OK", &[SSE], body.as_bytes()),
            Ending::Close,
        )
        .await;
        let good =
            heard.streamed.get(&0).is_some_and(|text| text == "ab") && heard.finished.is_some();
        table.row(&format!("B88 BOM, CRLF and CR mixed, {what}"), good, heard.summary());
    }
    table.end();
}

#[tokio::test(start_paused = true)]
async fn b88_silence_ends_by_itself() {
    let open = b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let rows: [(&str, &[u8], u64); 2] =
        [("B88 nothing at all", b"", 600), ("B88 silence after the first piece", open, 120)];
    let mut table = Table::new("B88 silence");
    for (what, bytes, seconds) in rows {
        let silent = body(bytes, &[]).filter(|chunk| {
            let keep = chunk.as_ref().is_ok_and(|chunk| !chunk.is_empty());
            async move { keep }
        });
        let silent = silent.chain(futures_util::stream::pending()).boxed();
        let decoder = ChatStream::new(CallIds::new(&prompt(vec![])), teller(), None);
        let from = tokio::time::Instant::now();
        let heard = Heard::all(sse::decode(silent, decoder, teller(), None)).await;
        let seen = (heard.code(), from.elapsed().as_secs());
        table.row(what, seen == ("provider_stream_silent", seconds), seen);
    }
    let comments = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        Some((Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(b": alive\n\n")), ()))
    });
    let decoder = ChatStream::new(CallIds::new(&prompt(vec![])), teller(), None);
    let heard = Heard::all(sse::decode(comments.boxed(), decoder, teller(), None)).await;
    table.row("B88 comments for ever", heard.code() == "provider_stream_silent", heard.code());
    table.end();
}

#[tokio::test]
async fn b89_calls_that_cannot_run_reach_the_history_as_calls() {
    let known = message(
        Role::Assistant,
        vec![Part::ToolCall {
            tool_call_id: "call_old".to_owned(),
            name: "execute".to_owned(),
            args: json!({}),
        }],
    );
    let call = |id: &str, name: &str, arguments: &str| {
        json!({ "choices": [{ "delta": { "tool_calls": [
            { "id": id, "type": "function", "function": { "name": name, "arguments": arguments } } ] } }] })
    };
    let heard = async |chunks: Vec<Value>| {
        let mut answer: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        answer.push_str("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n");
        let decoder = ChatStream::new(CallIds::new(&prompt(vec![known.clone()])), teller(), None);
        let cuts: Vec<usize> = (0..answer.len()).step_by(16 * 1024).collect();
        Heard::all(sse::decode(body(answer.as_bytes(), &cuts), decoder, teller(), None)).await
    };
    let mut table = Table::new("B89 calls");

    let bad = heard(vec![call("a", "execute", "{\"command\": ")]).await.calls();
    table.row("B89 arguments that are no JSON", bad[0].2 == json!("{\"command\": "), &bad);

    let unknown = heard(vec![call("a", "fly", "{}")]).await.calls();
    table.row("B89 an unknown tool", unknown[0].1 == "fly", &unknown);

    let name = heard(vec![call("a", "../../etc/passwd", "{}")]).await.calls();
    table.row("B89 a name with ../", name[0].1 == "______etc_passwd", &name);

    let repeated = heard(vec![call("call_old", "execute", "{}")]).await.calls();
    table.row("B89 an id of an earlier call", repeated[0].0 != "call_old", &repeated);

    let twice = heard(vec![call("a", "execute", "{\"n\":1}"), call("a", "execute", "{\"n\":2}")])
        .await
        .calls();
    table.row("B89 the same id twice", twice.len() == 2 && twice[0].0 != twice[1].0, &twice);

    let missing = heard(vec![call("", "execute", "{}"), call("", "execute", "{}")]).await.calls();
    let good =
        missing.len() == 2 && missing[0].0 != missing[1].0 && missing[0].0.starts_with("call_");
    table.row("B89 no id", good, &missing);
    let again = heard(vec![call("", "execute", "{}"), call("", "execute", "{}")]).await.calls();
    table.row("B89 no id, asked again: the same ids", again == missing, &again);

    let many: Vec<Value> = (0..1_000).map(|n| call(&format!("c{n}"), "execute", "{}")).collect();
    let many = heard(many).await.calls();
    table.row("B89 1,000 calls", many.len() == 1_000, many.len());

    let piece = "x".repeat(1 << 20);
    let mut huge = vec![call("a", "execute", "{\"command\":\"")];
    huge.extend((0..10).map(|_| {
        json!({ "choices": [{ "delta": { "tool_calls": [{ "function": { "arguments": piece } }] } }] })
    }));
    huge.push(json!({ "choices": [{ "delta": { "tool_calls": [{ "function": { "arguments": "\"}" } }] } }] }));
    let huge = heard(huge).await.calls();
    let text = huge[0].2.as_str().unwrap_or_default();
    table.row(
        "B89 arguments of 10 MB",
        text.contains("over the limit") && text.len() < 1_000,
        text.len(),
    );
    table.end();
}

#[tokio::test]
async fn b90_counts_that_cannot_be_true_are_unknown() {
    let rows = [
        ("missing", json!(null), "unknown"),
        ("negative", json!({ "prompt_tokens": -5, "completion_tokens": 1 }), "unknown"),
        ("overflow", json!({ "prompt_tokens": 1e30, "completion_tokens": 1 }), "unknown"),
        ("text", json!({ "prompt_tokens": "7", "completion_tokens": 1 }), "unknown"),
        (
            "more cached than sent",
            json!({ "prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": { "cached_tokens": 6 } }),
            "unknown",
        ),
        ("half", json!({ "prompt_tokens": 5 }), "unknown"),
        ("as floats", json!({ "prompt_tokens": 5.0, "completion_tokens": 2.0 }), "provider"),
        ("good", json!({ "prompt_tokens": 5, "completion_tokens": 2 }), "provider"),
    ];
    let mut table = Table::new("B90 usage");
    for (what, usage, source) in rows {
        let answer = format!(
            "data: {}\n\ndata: [DONE]\n\n",
            json!({ "model": "another-model", "usage": usage, "choices": [{ "delta": { "content": "x" }, "finish_reason": "dreaming" }] })
        );
        let decoder = ChatStream::new(CallIds::new(&prompt(vec![])), teller(), None);
        let heard =
            Heard::all(sse::decode(body(answer.as_bytes(), &[]), decoder, teller(), None)).await;
        let finished = heard.finished.clone().unwrap_or_default();
        let zero = source == "provider"
            || finished.contains("input: 0, cache_read: 0, cache_write: 0, output: 0");
        let good = finished.contains(&format!("source: \"{source}\"")) && zero;
        table.row(&format!("B90 usage {what}"), good, &finished);
        table.row(
            &format!("B90 usage {what}: unknown reason and other model are told"),
            finished.starts_with("Other(\"dreaming\")")
                && heard.model.as_deref() == Some("another-model"),
            heard.model,
        );
    }
    table.end();
}

#[tokio::test]
async fn b91_statuses_are_classified_and_pauses_are_sane() {
    let error = |kind: &str, text: &str| {
        json!({ "type": "error", "error": { "type": kind, "message": text } }).to_string()
    };
    let rows: Vec<(&str, String, &str, bool)> = vec![
        (
            "401 Unauthorized",
            error("authentication_error", "invalid x-api-key"),
            "provider_auth",
            false,
        ),
        ("401 Unauthorized", format!("Incorrect API key provided: {KEY}"), "provider_auth", false),
        ("402 Payment Required", String::new(), "provider_quota", false),
        ("403 Forbidden", error("permission_error", "no"), "provider_auth", false),
        ("404 Not Found", error("not_found_error", "model: nope"), "provider_config", false),
        (
            "400 Bad Request",
            error("invalid_request_error", "temperature"),
            "provider_config",
            false,
        ),
        (
            "400 Bad Request",
            error("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
            "context_exceeded",
            false,
        ),
        (
            "400 Bad Request",
            json!({ "error": { "code": "context_length_exceeded", "message": "x" } }).to_string(),
            "context_exceeded",
            false,
        ),
        (
            "400 Bad Request",
            error("invalid_request_error", "Your credit balance is too low"),
            "provider_quota",
            false,
        ),
        ("413 Payload Too Large", String::new(), "context_exceeded", false),
        (
            "422 Unprocessable Entity",
            json!({ "detail": [{ "msg": "field required" }] }).to_string(),
            "provider_config",
            false,
        ),
        (
            "429 Too Many Requests",
            error("rate_limit_error", "slow down"),
            "provider_rate_limited",
            true,
        ),
        (
            "429 Too Many Requests",
            json!({ "error": { "code": "insufficient_quota", "message": "pay" } }).to_string(),
            "provider_quota",
            false,
        ),
        ("408 Request Timeout", String::new(), "provider_timeout", true),
        ("409 Conflict", String::new(), "provider_error", true),
        ("500 Internal Server Error", "<html>oops</html>".to_owned(), "provider_error", true),
        ("502 Bad Gateway", String::new(), "provider_error", true),
        (
            "503 Service Unavailable",
            json!({ "error": { "message": "Loading model" } }).to_string(),
            "provider_overloaded",
            true,
        ),
        ("504 Gateway Timeout", String::new(), "provider_timeout", true),
        ("529 Overloaded", error("overloaded_error", "Overloaded"), "provider_overloaded", true),
        (
            "500 Odd",
            json!([{ "error": { "message": "in a list" } }]).to_string(),
            "provider_error",
            true,
        ),
    ];
    let mut table = Table::new("B91 statuses");
    for kind in both() {
        for (status, body, code, retryable) in &rows {
            let headers = [("content-type", "application/json"), ("request-id", "req_77")];
            let heard = ask(kind, http(status, &headers, body.as_bytes()), Ending::Close).await;
            let error = heard.error.as_ref().expect("a bad status is an error");
            let good = heard.code() == *code
                && error.kind.is_retryable() == *retryable
                && error.status == status[..3].parse().ok()
                && error.request_id.as_deref() == Some("req_77")
                && !error.message.contains("5ecret")
                && error.message.chars().count() <= 500;
            table.row(&format!("B91 {status} {body} ({kind})"), good, error);
        }
    }
    let rows = [
        (("retry-after", "-1"), None),
        (("retry-after", "0"), None),
        (("retry-after", "soon"), None),
        (("retry-after", "NaN"), None),
        (("retry-after", "7"), Some(7_000)),
        (("retry-after", "1000000000"), Some(60_000)),
        (("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), None),
        (("retry-after", "Fri, 31 Dec 2199 23:59:59 GMT"), Some(60_000)),
        (("retry-after-ms", "1500"), Some(1_500)),
        (("retry-after-ms", "1e99"), Some(60_000)),
    ];
    for (header, expected) in rows {
        let heard =
            ask(ProviderKind::Anthropic, http("429 Slow", &[header], b"{}"), Ending::Close).await;
        let pause = heard.error.and_then(|error| error.retry_after).map(|pause| pause.as_millis());
        table.row(&format!("B91 {header:?}"), pause == expected, pause);
    }
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let heard = ask(
            ProviderKind::OpenaiCompatible,
            http(status, &[("location", "http://127.0.0.1:1/steal")], b""),
            Ending::Close,
        )
        .await;
        let refused = heard
            .error
            .as_ref()
            .is_some_and(|error| error.message.contains("Redirects are refused"));
        table.row(
            &format!("B91 {status}"),
            heard.code() == "provider_config" && refused,
            heard.error,
        );
    }
    table.end();
}

#[tokio::test]
async fn b92_broken_connections_are_told_apart() {
    let start = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let call = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"execute\",\"arguments\":\"{\\\"command\\\":\\\"ls\\\"}\"}}]}}]}\n\n";
    let stop = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let answer = |body: &str| http("200 OK", &[SSE], body.as_bytes());
    let kind = ProviderKind::OpenaiCompatible;
    let mut table = Table::new("B92 connections");

    let heard = ask_at(kind, "http://127.0.0.1:1").await;
    table.row("B92 connection refused", heard.code() == "provider_unreachable", &heard.error);
    let heard = ask_at(kind, "http://no-such-host.invalid").await;
    table.row("B92 no such name", heard.code() == "provider_unreachable", &heard.error);
    let server = serve(b"plain text, no TLS\r\n\r\n".to_vec(), Ending::Close).await;
    let heard = ask_at(kind, &server.url.replace("http://", "https://")).await;
    table.row(
        "B92 no TLS where https was asked",
        heard.code() == "provider_unreachable",
        &heard.error,
    );

    let heard = ask(kind, Vec::new(), Ending::Reset).await;
    table.row("B92 reset before the answer", heard.code() == "provider_timeout", &heard.error);
    for ending in [Ending::Close, Ending::Reset] {
        let heard = ask(kind, answer(start), ending).await;
        let good = heard.code() == "provider_timeout" && heard.parts.is_empty();
        table.row(&format!("B92 {ending:?} in the middle"), good, heard.summary());
        let heard = ask(kind, answer(&format!("{start}{call}")), ending).await;
        let good = heard.code() == "provider_timeout" && heard.calls().is_empty();
        table.row(
            &format!("B92 {ending:?} after a call, before the reason to stop"),
            good,
            heard.summary(),
        );
        let heard = ask(kind, answer(&format!("{start}{call}{stop}")), ending).await;
        let good = heard.error.is_none() && heard.calls().len() == 1;
        table.row(
            &format!("B92 {ending:?} after the last byte that matters"),
            good,
            heard.summary(),
        );
    }
    let heard = ask(kind, answer(&format!("{start}{stop}data: [DONE]\n\n")), Ending::Hang).await;
    table.row("B92 open after the end", heard.error.is_none(), heard.summary());
    table.end();
}
