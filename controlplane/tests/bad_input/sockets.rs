//! B25 to B32, B34 and B35: WebSockets, mostly by hand, since a library would send nothing wrong.

use std::collections::VecDeque;
use std::io::Cursor;
use std::time::Duration;

use controlplane::http::auth::digest;
use controlplane::store::NewApiKey;
use serde_json::{Value, json};
use shared::ids::{ChatId, IdSource, SystemIds};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Chain};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::rows::Rows;
use super::world::{Answer, World, read_answer};

const PATIENCE: Duration = Duration::from_secs(10);
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A client that frames by hand.
struct Client {
    read: Chain<Cursor<Vec<u8>>, OwnedReadHalf>,
    write: OwnedWriteHalf,
    /// Events that came and were not asked for yet.
    events: VecDeque<Value>,
}

enum Frame {
    Text(Value),
    Close(u16, String),
    Other,
}

impl Client {
    async fn open(world: &World, path: &str) -> Self {
        let (answer, client) = upgrade(world, path, &world.bearer(), UPGRADE).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        client
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        // A mask of zeros leaves the payload as it is.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.bytes(&frame).await;
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.write.write_all(bytes).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, self.frame()).await.ok().flatten()
    }

    async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        self.read.read_exact(&mut head).await.ok()?;
        let length = match head[1] & 0x7f {
            126 => u64::from(self.read.read_u16().await.ok()?),
            127 => self.read.read_u64().await.ok()?,
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).ok()?];
        self.read.read_exact(&mut payload).await.ok()?;
        Some(match head[0] & 0x0f {
            1 => Frame::Text(serde_json::from_slice(&payload).ok()?),
            8 if payload.len() >= 2 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Frame::Close(code, String::from_utf8_lossy(&payload[2..]).into_owned())
            }
            _ => Frame::Other,
        })
    }

    /// The code and reason with which the server closes; 0: it does not.
    async fn closed(&mut self) -> (u16, String) {
        while let Some(frame) = self.next().await {
            if let Frame::Close(code, reason) = frame {
                return (code, reason);
            }
        }
        (0, String::new())
    }

    /// The next event of this type; those before it are passed over.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event["type"] == kind {
                    return event;
                }
            }
            match self.next().await {
                Some(Frame::Text(Value::Array(events))) => self.events.extend(events),
                Some(Frame::Text(_) | Frame::Other) => {}
                Some(Frame::Close(..)) | None => return Value::Null,
            }
        }
    }
}

async fn upgrade(world: &World, path: &str, head: &str, upgrade: &str) -> (Answer, Client) {
    // A small buffer, so that a reader that does not read is felt on the other side soon.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(world.address()).await.unwrap();
    let host = world.address();
    let text = format!("GET /api/v1{path} HTTP/1.1\r\nHost: {host}\r\n{head}{upgrade}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await.unwrap();
    let (read, write) = stream.into_split();
    // The first frames may have come with the answer.
    let read = Cursor::new(answer.body.clone()).chain(read);
    (answer, Client { read, write, events: VecDeque::new() })
}

async fn world_with_chat(scenario: Option<&str>, text: &str) -> (World, String) {
    let world = World::new().await;
    world.scripted_model(scenario).await;
    let said = json!({"content": [{"type": "text", "text": text}]});
    let chat = world.post("/chats", &said).await.json();
    let id = chat["chat"]["id"].as_str().unwrap_or_default().to_owned();
    assert!(!id.is_empty(), "{chat}");
    (world, id)
}

#[tokio::test]
async fn b25_upgrades_are_for_our_own_pages_and_for_keys() {
    let (world, chat) = world_with_chat(None, "hello").await;
    let mut rows = Rows::default();
    let cookie = format!("Cookie: {}\r\n", world.cookie);
    let path = format!("/chats/{chat}/stream");
    for (row, origin) in [
        ("B25 no origin", String::new()),
        ("B25 other origin", "Origin: http://evil.example\r\n".to_owned()),
        ("B25 null", "Origin: null\r\n".to_owned()),
        ("B25 other port", "Origin: http://127.0.0.1:1\r\n".to_owned()),
    ] {
        for path in [path.as_str(), "/events"] {
            let (answer, _) = upgrade(&world, path, &format!("{cookie}{origin}"), UPGRADE).await;
            rows.problem(row, &answer, 403, "origin_not_allowed");
        }
    }
    let own = format!("{cookie}Origin: http://{}\r\n", world.address());
    rows.fact("B25 own page", upgrade(&world, &path, &own, UPGRADE).await.0.status == 101, "");
    let bearer = world.bearer();
    rows.fact("B25 key", upgrade(&world, &path, &bearer, UPGRADE).await.0.status == 101, "");
    let (answer, _) = upgrade(&world, &path, "", UPGRADE).await;
    rows.problem("B25 nobody", &answer, 401, "invalid_credentials");
    let old = UPGRADE.replace("Version: 13", "Version: 8");
    let (answer, _) = upgrade(&world, &path, &bearer, &old).await;
    rows.problem("B25 other version", &answer, 426, "upgrade_required");
    let none = UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", "");
    let (answer, _) = upgrade(&world, &path, &bearer, &none).await;
    rows.problem("B25 no version", &answer, 426, "upgrade_required");
    let (answer, _) = upgrade(&world, &path, &bearer, "").await;
    rows.problem("B25 no upgrade", &answer, 426, "upgrade_required");
    let other = format!("{UPGRADE}Sec-WebSocket-Protocol: graphql-ws\r\n");
    let (answer, _) = upgrade(&world, &path, &bearer, &other).await;
    rows.problem("B25 other subprotocol", &answer, 400, "unsupported_subprotocol");
    rows.fact("B25 a refused upgrade ends the connection", answer.closes(), &answer.head);
    rows.report("B25");
    world.end().await;
}

#[tokio::test]
async fn b26_to_b30_frames_that_are_wrong_close_or_are_answered() {
    let (world, chat) = world_with_chat(None, "hello").await;
    let mut rows = Rows::default();
    let path = format!("/chats/{chat}/stream");
    let reserved: &[u8] = &[0xf1, 0x80, 0, 0, 0, 0];
    let unmasked: &[u8] = &[0x81, 0x02, b'{', b'}'];
    let huge: &[u8] = &[0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
    let control = [[0x89, 0xfe, 0x00, 0xc8, 0, 0, 0, 0].as_slice(), &[b'x'; 200]].concat();
    let compressed: &[u8] = &[0xc1, 0x82, 0, 0, 0, 0, b'{', b'}'];
    for (row, bytes, code) in [
        ("B26 reserved bits", reserved, 1002),
        ("B26 unmasked", unmasked, 1002),
        ("B27 2^63 bytes", huge, 1009),
        ("B27 control frame over 125", &control, 1002),
        ("B29 compressed though never agreed", compressed, 1002),
    ] {
        let mut client = Client::open(&world, &path).await;
        client.bytes(bytes).await;
        let (found, reason) = client.closed().await;
        rows.fact(row, found == code, &format!("closed with {found} {reason}"));
    }
    let mut client = Client::open(&world, &path).await;
    client.send(1, b"\xff\xfe").await;
    let found = client.closed().await;
    rows.fact("B26 invalid UTF-8", found.0 == 1007, &format!("{found:?}"));
    let mut client = Client::open(&world, &path).await;
    client.send(2, b"bytes").await;
    let found = client.closed().await;
    rows.fact("B26 binary", found.0 == 1003, &format!("{found:?}"));
    let mut client = Client::open(&world, &path).await;
    client.send(1, &vec![b'x'; 100_000]).await;
    let found = client.closed().await;
    rows.fact("B27 over the limit", found.0 == 1009, &format!("{found:?}"));

    let mut client = Client::open(&world, &path).await;
    client.bytes(&[0x01, 0x80, 0, 0, 0, 0]).await;
    let fragment = [[0x00, 0x84, 0, 0, 0, 0].as_slice(), b"xxxx"].concat();
    let many = fragment.repeat(20_000);
    client.bytes(&many).await;
    let found = client.closed().await;
    rows.fact("B27 fragments without end", found.0 == 1009, &format!("{found:?}"));

    let mut client = Client::open(&world, &path).await;
    for _ in 0..100 {
        client.send(9, b"x").await;
    }
    client.send(1, br#"{"type":"ping"}"#).await;
    rows.fact("B28 pings are throttled, not fatal", !client.event("ping").await.is_null(), "");

    let mut client = Client::open(&world, &path).await;
    for (row, text, code) in [
        ("B30 unknown type", r#"{"type":"dance"}"#, "unknown_type"),
        ("B30 no type", r#"{"chat":1}"#, "invalid_event"),
        ("B30 other shape", "[]", "invalid_event"),
        ("B30 no JSON", "hello", "invalid_event"),
    ] {
        client.send(1, text.as_bytes()).await;
        let problem = client.event("problem").await;
        rows.fact(row, problem["code"] == code, &problem.to_string());
    }
    client.send(1, br#"{"type":"ping"}"#).await;
    rows.fact("B30 the socket stays", !client.event("ping").await.is_null(), "");
    rows.report("B26 B27 B28 B29 B30");
    world.end().await;
}

#[tokio::test]
async fn b31_and_b32_foreign_chats_and_foreign_cursors() {
    let (world, chat) = world_with_chat(None, "hello").await;
    let mut rows = Rows::default();
    let ids: &dyn IdSource = &SystemIds::new();
    let unknown = format!("/chats/{}/stream", ids.id::<ChatId>());
    let (answer, _) = upgrade(&world, &unknown, &world.bearer(), UPGRADE).await;
    rows.problem("B31 no such chat", &answer, 404, "not_found");
    let (answer, _) = upgrade(&world, "/chats/7/stream", &world.bearer(), UPGRADE).await;
    rows.problem("B31 malformed id", &answer, 400, "invalid_id");
    let path = format!("/chats/{chat}/stream");
    let mut first = Client::open(&world, &path).await;
    let mut second = Client::open(&world, &path).await;
    let ready = first.event("ready").await;
    rows.fact("B31 subscribe twice", !second.event("ready").await.is_null(), "");
    let cursor = ready["cursor"].as_str().unwrap_or_default().to_owned();
    let mut own = Client::open(&world, &format!("{path}?cursor={cursor}")).await;
    let message = own.event("message").await;
    let is_new = message["message"]["seq"] != 1;
    rows.fact("B32 its own cursor goes on after it", is_new, &message.to_string());
    let said = json!({"content": [{"type": "text", "text": "other"}]});
    let other = world.post("/chats", &said).await.json()["chat"]["id"].clone();
    let other = format!("/chats/{}/stream", other.as_str().unwrap_or_default());
    for (row, path, cursor) in [
        ("B32 future", &path, cursor.replacen(|c: char| c.is_ascii_digit(), "999999", 1)),
        ("B32 negative", &path, "-1.0.0.0.1".to_owned()),
        ("B32 garbage", &path, "garbage".to_owned()),
        ("B32 other chat", &other, cursor.clone()),
    ] {
        let mut client = Client::open(&world, &format!("{path}?cursor={cursor}")).await;
        let resync = client.event("resync").await;
        rows.fact(row, resync["reason"] == "cursor_invalid", &resync.to_string());
        let message = client.event("message").await;
        rows.fact(row, !message.is_null(), "no fresh snapshot follows");
    }
    rows.report("B31 B32");
    world.end().await;
}

/// A key of the administrator that is good for so long; the API knows only whole days.
async fn expiring_key(world: &World, for_ms: i64) -> Value {
    let app = &world.server.app;
    let new = NewApiKey {
        user_id: app.store.users.by_username("mira").await.unwrap().unwrap().id,
        name: "soon over".to_owned(),
        token_hash: digest("hf_soon_over"),
        hint: "over".to_owned(),
        scopes: "read".to_owned(),
        expires_at_ms: Some(app.clock.now_ms() + for_ms),
    };
    app.store.api_keys.create(&new).await.unwrap();
    json!({"key": "hf_soon_over"})
}

#[tokio::test]
async fn b34_a_stream_ends_with_the_credential_that_opened_it() {
    let (world, chat) = world_with_chat(None, "hello").await;
    let mut rows = Rows::default();
    let path = format!("/chats/{chat}/stream");
    let key = |made: Value| format!("Authorization: Bearer {}\r\n", made["key"].as_str().unwrap());
    let expiring = expiring_key(&world, 1_500).await;
    let revoked = world.post("/api-keys", &json!({"name": "a"})).await.json();
    let revoked_id = revoked["id"].as_str().unwrap_or_default().to_owned();
    let page = format!("Cookie: {}\r\nOrigin: http://{}\r\n", world.cookie, world.address());
    let mut clients = Vec::new();
    for (row, head) in [
        ("B34 logged out", page),
        ("B34 key revoked", key(revoked)),
        ("B34 key expired", key(expiring)),
    ] {
        for path in [path.as_str(), "/events"] {
            let (answer, mut client) = upgrade(&world, path, &head, UPGRADE).await;
            assert_eq!(answer.status, 101, "{row}: {answer:?}");
            client.event("ready").await;
            clients.push((row, client));
        }
    }
    let mut other = Client::open(&world, &path).await;
    other.event("ready").await;

    let from = tokio::time::Instant::now();
    let head = format!("Cookie: {}\r\nX-Holdfast-CSRF: 1\r\n", world.cookie);
    assert_eq!(world.json("POST", "/logout", &head, &json!({})).await.status, 204);
    let revoke = format!("/api/v1/api-keys/{revoked_id}");
    assert_eq!(world.send("DELETE", &revoke, &world.bearer(), b"").await.status, 204);
    for (row, mut client) in clients {
        let (code, reason) = client.closed().await;
        rows.fact(row, code == 4401, &format!("closed with {code} {reason}"));
    }
    println!("B34: six streams closed {:?} after their credentials ended", from.elapsed());
    other.send(1, br#"{"type":"ping"}"#).await;
    rows.fact("B34 others go on", !other.event("ping").await.is_null(), "it is gone");
    rows.report("B34");
    world.end().await;
}

/// Virtual time: the server is alone with its timers, and the client with its silence.
#[tokio::test]
async fn b28_a_client_that_never_pongs_is_closed_and_one_that_does_is_not() {
    let (world, chat) = world_with_chat(None, "hello").await;
    let mut rows = Rows::default();
    let path = format!("/chats/{chat}/stream");
    let mut silent = Client::open(&world, &path).await;
    let mut alive = Client::open(&world, &path).await;
    silent.event("ready").await;
    alive.event("ready").await;

    tokio::time::pause();
    let from = tokio::time::Instant::now();
    let both = async {
        let pongs = async {
            while let Some(frame) = alive.frame().await {
                match frame {
                    Frame::Other => alive.send(10, b"").await,
                    Frame::Text(_) => {}
                    Frame::Close(code, reason) => return (code, reason),
                }
            }
            (0, String::new())
        };
        tokio::select! {
            closed = unanswered(&mut silent) => Ok(closed),
            closed = pongs => Err(closed),
        }
    };
    let closed = both.await;
    let took = from.elapsed();
    tokio::time::resume();
    let expected = Ok((4408, "ping_timeout".to_owned()));
    rows.fact("B28 no pong", closed == expected, &format!("{closed:?}"));
    let is_due = (59..=85).contains(&took.as_secs());
    rows.fact("B28 after 60 s of silence", is_due, &format!("{took:?}"));
    alive.send(1, br#"{"type":"ping"}"#).await;
    rows.fact("B28 who pongs stays", !alive.event("ping").await.is_null(), "it is gone");
    rows.report("B28");
    world.end().await;
}

/// Reads on without ever answering a ping.
async fn unanswered(client: &mut Client) -> (u16, String) {
    loop {
        match client.frame().await {
            Some(Frame::Close(code, reason)) => return (code, reason),
            Some(_) => {}
            None => return (0, String::new()),
        }
    }
}

#[tokio::test]
async fn b28_a_flood_of_pings_waits_and_nobody_else_feels_it() {
    let (world, chat) = world_with_chat(None, "hello").await;
    let mut rows = Rows::default();
    let path = format!("/chats/{chat}/stream");
    let mut flooding = Client::open(&world, &path).await;
    let pings: Vec<u8> = [0x89, 0x80, 0, 0, 0, 0].repeat(1_000);
    let mut sent = 0_u32;
    let flood = async {
        while sent < 10_000 && flooding.write.write_all(&pings).await.is_ok() {
            sent += 1;
        }
    };
    // As long as others need for a hundred requests and a stream.
    let others = async {
        for _ in 0..100 {
            assert_eq!(world.get("/me").await.status, 200);
        }
        let mut other = Client::open(&world, &path).await;
        !other.event("ready").await.is_null()
    };
    let from = tokio::time::Instant::now();
    let served = tokio::select! {
        served = others => served,
        ((), served) = async { tokio::join!(flood, std::future::pending::<bool>()) } => served,
    };
    println!("B28: {} of 10,000 blocks of 1,000 pings were taken in {:?}", sent, from.elapsed());
    rows.fact("B28 others are served", served, "no stream");
    rows.fact("B28 the flood waits", sent < 10_000, "ten million pings were taken");
    let said = json!({"content": [{"type": "text", "text": "more"}], "busy": "queue"});
    world.post(&format!("/chats/{chat}/messages"), &said).await;
    let told = flooding.event("message").await;
    rows.fact("B28 its own events still come", !told.is_null(), "nothing came");
    rows.report("B28 flood");
    world.end().await;
}

#[tokio::test]
async fn b31_streams_of_one_person_are_limited_and_given_back() {
    let (world, chat) = world_with_chat(None, "hello").await;
    let mut rows = Rows::default();
    let path = format!("/chats/{chat}/stream");
    let mut open = Vec::new();
    let refused = loop {
        let (answer, client) = upgrade(&world, &path, &world.bearer(), UPGRADE).await;
        if answer.status != 101 || open.len() > 10_000 {
            break answer;
        }
        open.push(client);
    };
    rows.problem("B31 one too many", &refused, 429, "too_many_subscriptions");
    let (told, count) = (refused.json(), open.len().to_string());
    let limit = told["details"]["limit"].as_str();
    rows.fact("B31 says the limit", limit == Some(count.as_str()), &told.to_string());
    let events = world.get("/events").await;
    rows.problem("B31 over either transport", &events, 429, "too_many_subscriptions");
    rows.fact("B31 requests still work", world.get("/me").await.status == 200, "");
    let mut last = open.pop().unwrap();
    last.send(8, &1000_u16.to_be_bytes()).await;
    let closed = last.closed().await;
    rows.fact("B31 a client may leave", closed.0 == 1000, &format!("{closed:?}"));
    drop(last);
    // The seat is given back when the server has seen the end.
    let again = async {
        while upgrade(&world, &path, &world.bearer(), UPGRADE).await.0.status != 101 {
            tokio::task::yield_now().await;
        }
    };
    let again = tokio::time::timeout(PATIENCE, again).await;
    rows.fact("B31 the seat is free again", again.is_ok(), "it is not");
    drop(open);
    rows.report("B31 limit");
    world.end().await;
}

/// Says the user's text again and again: far more than any socket buffers.
const FLOOD: &str = r#"{"title": "t", "pace_ms": 20, "piece_chars": 32768, "turns": [{"steps": [[
    {"wait_ms": 500}, {"say": "{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}"},
    {"say": "{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}{{user}}"}, {"wait_ms": 600000}]]}]}"#;

#[tokio::test]
async fn b35_a_reader_that_does_not_read_is_closed_with_its_cursor() {
    let (world, chat) = world_with_chat(Some(FLOOD), &"x".repeat(900_000)).await;
    let mut rows = Rows::default();
    let mut client = Client::open(&world, &format!("/chats/{chat}/stream")).await;
    // Until the snapshot is read; then not a byte more for as long as it takes.
    client.event("ready").await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let (code, reason) = client.closed().await;
    rows.fact("B35 closed", code == 4008, &format!("{code} {reason}"));
    let cursor = reason.strip_prefix("slow_consumer ").unwrap_or_default();
    rows.fact("B35 with its cursor", cursor.contains('.'), &reason);
    let path = format!("/chats/{chat}/stream?cursor={cursor}");
    let mut again = Client::open(&world, &path).await;
    rows.fact("B35 comes back", !again.event("ready").await.is_null(), "");
    rows.report("B35");
    world.end().await;
}
