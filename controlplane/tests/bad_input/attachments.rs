//! B106: files that are attached to chats.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::ids::{AttachmentId, ChatId, IdSource, SystemIds};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::access::other_persons_key;
use super::rows::Rows;
use super::world::{Answer, World, read_answer};

const LIMIT: usize = 10 * 1024 * 1024;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x20\0\0\0\x10\x08\x02\0\0\0rest";
/// A turn that does not end by itself.
const STALLED: &str =
    r#"{"title": "t", "turns": [{"steps": [[{"say": "one"}, {"wait_ms": 600000}]]}]}"#;

async fn begin(world: &World) -> String {
    let said = json!({"content": [{"type": "text", "text": "hello"}]});
    world.post("/chats", &said).await.json()["chat"]["id"].as_str().unwrap().to_owned()
}

async fn upload(world: &World, place: &str, name: &str, head: &str, bytes: &[u8]) -> Answer {
    let head = format!("{}{head}", world.bearer());
    world.send("POST", &format!("/api/v1{place}/attachments?name={name}"), &head, bytes).await
}

async fn delete(world: &World, path: &str) -> Answer {
    world.send("DELETE", &format!("/api/v1{path}"), &world.bearer(), b"").await
}

fn id_of(answer: &Answer) -> String {
    answer.json()["attachment_id"].as_str().unwrap_or_default().to_owned()
}

fn naming(id: &str) -> Value {
    json!({"content": [{"type": "file", "attachment_id": id}]})
}

#[tokio::test]
async fn b106_files_that_do_not_fit_are_refused_and_leave_nothing() {
    let world = World::new().await;
    let mut rows = Rows::default();
    world.scripted_model(Some(STALLED)).await;
    let chat = begin(&world).await;
    let place = format!("/chats/{chat}");
    let up = async |name: &str, head: &str, bytes: &[u8]| {
        upload(&world, &place, name, head, bytes).await
    };

    rows.problem("B106 empty", &up("a", "", b"").await, 400, "empty_attachment");
    let over = up("a", "", &vec![b'x'; LIMIT + 1]).await;
    rows.problem("B106 10 MiB + 1", &over, 413, "attachment_too_large");
    rows.fact("B106 says the limit", over.json()["details"]["limit"] == "10485760", "");
    let chunked = chunked(&world, &place, LIMIT + 1).await;
    rows.problem("B106 10 MiB + 1, unannounced", &chunked, 413, "attachment_too_large");
    let wrong = format!("Content-Digest: sha-256=:{}:\r\n", STANDARD.encode([7; 32]));
    rows.problem("B106 other digest", &up("a", &wrong, b"x").await, 400, "digest_mismatch");
    for (row, value) in [
        ("B106 digest of another kind", "md5=:eA==:"),
        ("B106 short digest", "sha-256=:eA==:"),
        ("B106 digest that is none", "x"),
    ] {
        let head = format!("Content-Digest: {value}\r\n");
        rows.problem(row, &up("a", &head, b"x").await, 400, "invalid_header");
    }
    let zipped = up("a", "Content-Encoding: gzip\r\n", b"x").await;
    rows.problem("B106 compressed", &zipped, 415, "unsupported_encoding");
    let nameless = format!("/api/v1{place}/attachments");
    let nameless = world.send("POST", &nameless, &world.bearer(), b"x").await;
    rows.problem("B106 no name", &nameless, 400, "invalid_query");
    rows.problem("B106 NUL in the name", &up("a%00b", "", b"x").await, 400, "invalid_query");
    rows.problem("B106 other parameter", &up("a&x=1", "", b"x").await, 400, "invalid_query");
    rows.problem("B106 truncated", &truncated(&world, &place).await, 400, "truncated_body");
    rows.problem("B106 silent", &silent(&world, &place).await, 408, "request_timeout");
    let none = world.get(&format!("{place}/attachments")).await.json();
    rows.fact("B106 nothing is kept", none["items"] == json!([]), &none.to_string());

    let right = format!("Content-Digest: sha-256=:{}:\r\n", STANDARD.encode(Sha256::digest(b"x")));
    let kept = up("a", &right, b"x").await;
    rows.fact("B106 right digest", kept.status == 201, &kept.head);
    let again = up("a", "Idempotency-Key: k\r\n", b"x").await;
    rows.fact("B106 again", again.status == 200 && id_of(&again) == id_of(&kept), &again.head);
    let whole = up("whole", "", &vec![0; LIMIT]).await;
    rows.fact("B106 10 MiB", whole.status == 201, &whole.head);
    for number in 2..50 {
        let one = up(&number.to_string(), "", b"x").await;
        rows.fact("B106 up to 50", one.status == 201, &one.head);
    }
    let full = up("one+more", "", b"x").await;
    rows.problem("B106 51 files", &full, 409, "too_many_attachments");
    rows.report("B106");
    world.end().await;
}

#[tokio::test]
async fn b106_what_is_uploaded_is_served_as_what_it_is_and_never_as_a_page() {
    let world = World::new().await;
    let mut rows = Rows::default();
    world.scripted_model(Some(STALLED)).await;
    let chat = begin(&world).await;
    let place = format!("/chats/{chat}");
    let html = b"<html><script>alert(1)</script>".as_slice();
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".as_slice();
    let pdf = b"%PDF-1.7 /JavaScript".as_slice();
    let text = "text/plain; charset=utf-8";
    for (row, name, claimed, bytes, served, how) in [
        ("B106 html", "a.html", "text/html", html, text, "attachment"),
        ("B106 html named as an image", "a.png", "image/png", html, text, "attachment"),
        ("B106 svg", "a.svg", "image/svg+xml", svg, text, "attachment"),
        ("B106 xml", "a.xml", "text/xml", b"<?xml version='1.0'?><x/>", text, "attachment"),
        ("B106 pdf", "a.pdf", "application/pdf", pdf, "application/pdf", "attachment"),
        ("B106 image named as text", "a.txt", "text/plain", PNG, "image/png", "inline"),
        (
            "B106 half an image",
            "b.png",
            "image/png",
            &PNG[..18],
            "application/octet-stream",
            "attachment",
        ),
        ("B106 path", "..%2F..%2Fetc%2Fpasswd", "text/plain", b"p", text, "attachment"),
        (
            "B106 header in the name",
            "a%0d%0aSet-Cookie:%20x=1",
            "text/plain",
            b"q",
            text,
            "attachment",
        ),
    ] {
        let head = format!("Content-Type: {claimed}\r\n");
        let kept = upload(&world, &place, name, &head, bytes).await;
        rows.fact(row, kept.status == 201, &format!("{} {}", kept.head, kept.json()));
        let got = world.get(&format!("{place}/attachments/{}", id_of(&kept))).await;
        let header = |name: &str| got.header(name).unwrap_or_default();
        rows.fact(row, got.status == 200 && got.body == bytes, &got.head);
        rows.fact(row, header("content-type") == served, &got.head);
        let disposition = header("content-disposition");
        rows.fact(row, disposition.starts_with(&format!("{how};")), &disposition);
        rows.fact(row, !disposition.contains('/') && got.header("set-cookie").is_none(), &got.head);
        rows.fact(row, header("x-content-type-options") == "nosniff", &got.head);
        let policy = header("content-security-policy");
        rows.fact(
            row,
            policy.contains("sandbox;") && policy.contains("default-src 'none'"),
            &policy,
        );
        rows.fact(row, !policy.contains("script-src") && !policy.contains("allow-"), &policy);
        rows.fact(row, header("cache-control").starts_with("private"), &got.head);
    }
    let names = world.get(&format!("{place}/attachments")).await.json();
    let plain =
        |item: &Value| item["name"].as_str().is_some_and(|name| !name.contains(['/', '\r', '\n']));
    let all = names["items"].as_array().cloned().unwrap_or_default();
    rows.fact("B106 plain names", all.len() == 9 && all.iter().all(plain), &names.to_string());
    rows.report("B106");
    world.end().await;
}

#[tokio::test]
async fn b106_ids_that_are_not_the_chats_are_refused_alike() {
    let world = World::new().await;
    let mut rows = Rows::default();
    world.scripted_model(Some(STALLED)).await;
    let (chat, other) = (begin(&world).await, begin(&world).await);
    let here = format!("/chats/{chat}");
    let file = id_of(&upload(&world, &here, "a", "", b"a").await);
    let waiting = id_of(&upload(&world, "", "b", "", b"b").await);
    let ids: &dyn IdSource = &SystemIds::new();
    let (unknown, nowhere) = (ids.id::<AttachmentId>().to_string(), ids.id::<ChatId>().to_string());
    let say = async |chat: &str, id: &str| {
        world.post(&format!("/chats/{chat}/messages"), &naming(id)).await
    };

    for (row, id) in [("unknown", &unknown), ("of another chat", &file)] {
        rows.problem(&format!("B106 {row}"), &say(&other, id).await, 404, "attachment_not_found");
        let new = world.post("/chats", &naming(id)).await;
        rows.problem(&format!("B106 {row}, new chat"), &new, 404, "attachment_not_found");
        let got = world.get(&format!("/chats/{other}/attachments/{id}")).await;
        rows.problem(&format!("B106 {row}, read"), &got, 404, "not_found");
    }
    for bad in ["", "att_1", "../x", &chat] {
        rows.problem("B106 malformed", &say(&chat, bad).await, 400, "invalid_id");
    }
    let no_id = json!({"content": [{"type": "file"}]});
    let no_id = world.post(&format!("{here}/messages"), &no_id).await;
    rows.problem("B106 no id", &no_id, 400, "missing_field");
    let invented = json!({"content": [{"type": "file", "attachment_id": file, "name": "x"}]});
    let invented = world.post(&format!("{here}/messages"), &invented).await;
    rows.problem("B106 more than the id", &invented, 400, "unknown_field");

    let theirs = format!("Authorization: Bearer {}\r\n", other_persons_key(&world).await);
    for (method, tail) in [("GET", ""), ("DELETE", "")] {
        let foreign = format!("/api/v1{here}/attachments/{file}{tail}");
        let missing = format!("/api/v1/chats/{nowhere}/attachments/{file}{tail}");
        let foreign = world.send(method, &foreign, &theirs, b"").await;
        let missing = world.send(method, &missing, &theirs, b"").await;
        rows.problem(&format!("B106 foreign {method}"), &foreign, 404, "not_found");
        rows.fact("B106 same answer", foreign.json()["detail"] == missing.json()["detail"], "");
    }
    let foreign =
        world.send("POST", &format!("/api/v1{here}/attachments?name=x"), &theirs, b"x").await;
    rows.problem("B106 foreign upload", &foreign, 404, "not_found");
    let foreign =
        world.send("DELETE", &format!("/api/v1/attachments/{waiting}"), &theirs, b"").await;
    rows.problem("B106 foreign removal", &foreign, 404, "not_found");
    let nobody = world.send("GET", &format!("/api/v1{here}/attachments/{file}"), "", b"").await;
    rows.problem("B106 nobody", &nobody, 401, "invalid_credentials");

    let removed = delete(&world, &format!("{here}/attachments/{file}")).await;
    rows.fact("B106 removed", removed.status == 204, &removed.head);
    rows.problem("B106 removed meanwhile", &say(&chat, &file).await, 404, "attachment_not_found");
    let begun = world.post("/chats", &naming(&waiting)).await;
    rows.fact("B106 a file alone begins a chat", begun.status == 201, &begun.head);
    rows.fact("B106 and names it", begun.json()["chat"]["title"] == "b", &begun.json().to_string());
    let sent = begun.json()["chat"]["id"].as_str().unwrap_or_default().to_owned();
    let used = delete(&world, &format!("/chats/{sent}/attachments/{waiting}")).await;
    rows.problem("B106 sent", &used, 409, "in_use");
    let twice = say(&chat, &waiting).await;
    rows.problem("B106 of two chats", &twice, 404, "attachment_not_found");
    rows.report("B106");
    world.end().await;
}

/// `length` bytes in chunks, without a word on how many there are.
async fn chunked(world: &World, place: &str, length: usize) -> Answer {
    let mut bytes = head(world, place, "Transfer-Encoding: chunked");
    for chunk in vec![b'x'; length].chunks(64 * 1024) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    world.raw(&bytes).await
}

/// Says a hundred bytes, sends ten, and closes its side.
async fn truncated(world: &World, place: &str) -> Answer {
    let mut stream = ten_of_a_hundred(world, place).await;
    stream.shutdown().await.unwrap();
    read_answer(&mut stream).await.unwrap()
}

/// The same, and then nothing.
async fn silent(world: &World, place: &str) -> Answer {
    read_answer(&mut ten_of_a_hundred(world, place).await).await.unwrap()
}

async fn ten_of_a_hundred(world: &World, place: &str) -> TcpStream {
    let mut bytes = head(world, place, "Content-Length: 100");
    bytes.extend([b'x'; 10]);
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream
}

fn head(world: &World, place: &str, framing: &str) -> Vec<u8> {
    let (host, bearer) = (world.address(), world.bearer());
    format!("POST /api/v1{place}/attachments?name=a HTTP/1.1\r\nHost: {host}\r\n{bearer}{framing}\r\n\r\n")
        .into_bytes()
}
