//! B01 to B10 and B12: bodies, ids and pages.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::rows::Rows;
use super::world::{World, read_answer};

#[tokio::test]
async fn b01_to_b03_and_b07_what_is_not_sound_json_is_refused() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let head = format!("{}Content-Type: application/json\r\n", world.bearer());
    let deep = "[".repeat(10_000);
    let many = format!("[{}0]", "0,".repeat(100_000));
    let keys: Vec<String> = (0..150_000).map(|n| format!("\"{n}\":0")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    let cases: &[(&str, &[u8], &str)] = &[
        ("B01 not JSON", b"name=x", "invalid_json"),
        ("B01 truncated", br#"{"name":"x"#, "invalid_json"),
        ("B01 trailing garbage", br#"{"name":"x"} {"#, "invalid_json"),
        ("B01 nothing", b"", "invalid_json"),
        ("B02 10,000 levels", deep.as_bytes(), "json_too_deep"),
        ("B02 100,000 elements", many.as_bytes(), "too_many_items"),
        ("B02 many keys", keys.as_bytes(), "too_many_items"),
        ("B03 duplicate key", br#"{"name":"a","name":"b"}"#, "invalid_json"),
        ("B03 __proto__", br#"{"name":"a","__proto__":{}}"#, "invalid_json"),
        ("B03 NaN", br#"{"name":NaN}"#, "invalid_json"),
        ("B03 1e999", br#"{"name":"a","labels":1e999}"#, "out_of_range"),
        ("B03 2^64", br#"{"name":"a","labels":18446744073709551616}"#, "out_of_range"),
        ("B07 invalid UTF-8", b"{\"name\":\"\xff\"}", "invalid_utf8"),
        ("B07 overlong", b"{\"name\":\"\xc0\xaf\"}", "invalid_utf8"),
        ("B07 lone surrogate", br#"{"name":"\ud800"}"#, "invalid_utf8"),
        ("B07 NUL", br#"{"name":"a\u0000b"}"#, "invalid_utf8"),
    ];
    for (row, body, code) in cases {
        let started = Instant::now();
        let answer = world.send("POST", "/api/v1/workspaces", &head, body).await;
        rows.problem(row, &answer, 400, code);
        let took = started.elapsed();
        rows.fact(row, took < Duration::from_secs(2), &format!("took {took:?}"));
    }
    let kept = world.get("/workspaces").await.json();
    rows.fact("B07 nothing is stored", kept["items"] == json!([]), &kept.to_string());
    rows.report("B01 B02 B03 B07");
    world.end().await;
}

/// Bodies that are cheap to send and dear to take: how soon they are refused is printed.
#[tokio::test]
async fn b02_a_million_keys_and_a_wall_of_brackets_are_refused_soon() {
    let world = World::with_body_limit("16MiB").await;
    let mut rows = Rows::default();
    let head = format!("{}Content-Type: application/json\r\n", world.bearer());
    let keys: Vec<String> = (0..1_000_000).map(|n| format!("\"{n}\":0")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    let items = format!("[{}0]", "0,".repeat(4_000_000));
    let brackets = "[".repeat(8_000_000);
    let objects = "{\"a\":".repeat(1_000_000);
    for (row, body, code) in [
        ("B02 1,000,000 keys", keys, "too_many_items"),
        ("B02 4,000,000 elements", items, "too_many_items"),
        ("B02 8,000,000 brackets", brackets, "json_too_deep"),
        ("B02 1,000,000 objects in objects", objects, "json_too_deep"),
    ] {
        let started = Instant::now();
        let answer = world.send("POST", "/api/v1/workspaces", &head, body.as_bytes()).await;
        println!("{row}: {} bytes refused in {:?}", body.len(), started.elapsed());
        rows.problem(row, &answer, 400, code);
    }
    rows.report("B02 large");
    world.end().await;
}

#[tokio::test]
async fn b04_bodies_over_the_limit_and_bodies_that_do_not_come_are_ended() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let limit = 2 * 1024 * 1024;
    let head = format!("{}Content-Type: application/json\r\n", world.bearer());

    let over = vec![b' '; limit + 1];
    let answer = world.send("POST", "/api/v1/workspaces", &head, &over).await;
    rows.problem("B04 limit + 1", &answer, 413, "body_too_large");
    rows.fact("B04 says the limit", answer.json()["details"]["limit"] == "2097152", "");
    rows.fact("B04 ends the connection", answer.closes(), &answer.head);

    let host = world.address();
    let start = format!("POST /api/v1/workspaces HTTP/1.1\r\nHost: {host}\r\n{head}");
    let lies = format!("{start}Content-Length: 100\r\n\r\n{{}}");
    rows.problem("B04 length lies", &world.raw(lies.as_bytes()).await, 408, "request_timeout");
    let endless = format!("{start}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n");
    let answer = world.raw(endless.as_bytes()).await;
    rows.problem("B04 chunks without end", &answer, 408, "request_timeout");
    rows.fact("B04 ends the connection", answer.closes(), &answer.head);

    let mut many = format!("{start}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..40 {
        many.extend_from_slice(b"10000\r\n");
        many.extend_from_slice(&[b' '; 0x10000]);
        many.extend_from_slice(b"\r\n");
    }
    rows.problem("B04 chunks over the limit", &world.raw(&many).await, 413, "body_too_large");

    let mut slow = TcpStream::connect(host).await.unwrap();
    slow.write_all(format!("{start}Content-Length: 1000\r\n\r\n").as_bytes()).await.unwrap();
    let trickle = async {
        while slow.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if slow.readable().now_or_never_is_ready().await {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), trickle).await;
    let answer = read_answer(&mut slow).await.unwrap();
    rows.problem("B04 one byte at a time", &answer, 408, "request_timeout");
    let stranger = world.json("POST", "/login", "", &json!({"x": "y".repeat(70_000)})).await;
    rows.problem("B04 strangers have less", &stranger, 413, "body_too_large");
    rows.report("B04");
    world.end().await;
}

/// Whether a future is ready at once.
trait NowOrNever {
    async fn now_or_never_is_ready(self) -> bool;
}

impl<F: Future> NowOrNever for F {
    async fn now_or_never_is_ready(self) -> bool {
        tokio::time::timeout(Duration::from_millis(1), self).await.is_ok()
    }
}

#[tokio::test]
async fn b05_and_b06_encodings_and_types_are_checked_before_the_body() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let body = br#"{"name":"x"}"#;
    let bearer = world.bearer();
    for encoding in ["gzip", "br", "zstd", "gzip, gzip", "unknown"] {
        let head =
            format!("{bearer}Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n");
        let answer = world.send("POST", "/api/v1/workspaces", &head, body).await;
        rows.problem(&format!("B05 {encoding}"), &answer, 415, "unsupported_encoding");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json5", ""] {
        let head = format!("{bearer}Content-Type: {kind}\r\n");
        let answer = world.send("POST", "/api/v1/workspaces", &head, body).await;
        rows.problem(&format!("B06 {kind:?}"), &answer, 415, "unsupported_media_type");
    }
    let kept = world.get("/workspaces").await.json();
    rows.fact("B06 no effect", kept["items"] == json!([]), &kept.to_string());
    rows.report("B05 B06");
    world.end().await;
}

#[tokio::test]
async fn b09_every_error_of_a_body_is_told_with_its_pointer() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let cases = [
        ("B09 unknown field", json!({"name": "a", "nmae": 1}), "unknown_field", "/nmae"),
        ("B09 wrong type", json!({"name": 7}), "invalid_type", "/name"),
        ("B09 null", json!({"name": null}), "invalid_type", "/name"),
        ("B09 missing", json!({}), "missing_field", "/name"),
        ("B09 deep", json!({"name": "a", "labels": {"b": 1}}), "invalid_type", "/labels/b"),
        ("B09 not an object", json!([]), "invalid_type", ""),
        ("B09 empty name", json!({"name": " "}), "invalid_value", "/name"),
    ];
    for (row, body, code, pointer) in cases {
        let answer = world.post("/workspaces", &body).await;
        rows.problem(row, &answer, 400, code);
        rows.fact(
            row,
            answer.json()["errors"][0]["pointer"] == pointer,
            &answer.json().to_string(),
        );
    }
    let answer =
        world.post("/models", &json!({"provider_id": "x", "context_limit": "y", "z": 1})).await;
    let errors = answer.json()["errors"].as_array().map_or(0, Vec::len);
    rows.fact("B09 all at once", errors == 4, &answer.json().to_string());
    rows.report("B09");
    world.end().await;
}

#[tokio::test]
async fn b10_and_b12_ids_and_pages_are_checked_before_any_query() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let huge = format!("chat_{}", "A".repeat(20_000));
    let lower = "chat_01m7vx0cf3ex12nw0ax82qjexq";
    for (row, id) in [
        ("B10 other form", "7"),
        ("B10 lower case", lower),
        ("B10 other kind", "ws_01M7VX0CF3EX12NW0AX82QJEXQ"),
        ("B10 too long", huge.as_str()),
        ("B10 dots", "..%2f..%2fetc"),
        ("B10 unicode digits", "chat_%D9%A1%D9%A2"),
        ("B10 negative", "-1"),
        ("B10 over 128 bits", "chat_8ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
    ] {
        let answer = world.get(&format!("/chats/{id}")).await;
        rows.problem(row, &answer, 400, "invalid_id");
        rows.fact(row, answer.body.len() < 1_500, "the answer repeats the id");
    }
    // A chat, a workspace, a provider: the same answer for each form of nonsense.
    for path in ["workspaces", "providers", "models", "api-keys"] {
        let target = format!("/api/v1/{path}/-1");
        let answer = world.send("DELETE", &target, &world.bearer(), b"").await;
        rows.problem(&format!("B10 {path}"), &answer, 400, "invalid_id");
    }
    for limit in ["0", "-1", "1000000000", "x", "1e3"] {
        let answer = world.get(&format!("/chats?limit={limit}")).await;
        rows.problem(&format!("B12 limit {limit}"), &answer, 400, "invalid_limit");
    }
    for _ in 0..3 {
        let name = format!("w{}", rand_like());
        assert_eq!(world.post("/workspaces", &json!({"name": name})).await.status, 201);
    }
    let foreign = world.get("/workspaces?limit=1").await.json();
    let foreign = foreign["next_cursor"].as_str().unwrap().to_owned();
    let page = world.get(&format!("/workspaces?limit=2&cursor={foreign}")).await;
    rows.fact("B12 its own cursor", page.json()["items"].as_array().map_or(0, Vec::len) == 2, "");
    for cursor in [foreign.as_str(), "garbage", "%FF", ""] {
        let answer = world.get(&format!("/chats?cursor={cursor}")).await;
        rows.problem(&format!("B12 cursor {cursor:?}"), &answer, 400, "invalid_cursor");
    }
    let answer = world.get("/chats?limti=1").await;
    rows.problem("B12 unknown parameter", &answer, 400, "invalid_query");
    rows.report("B10 B12");
    world.end().await;
}

/// A number that is new with each call of this process.
fn rand_like() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
