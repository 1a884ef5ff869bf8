//! Viewers: how soon one of a long chat sees where it is, and what a hundred of one chat cost.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tests::api::{Api, Socket};
use tests::programs::{Programs, Setting, cpu_ms};
use tests::stream::ChatStream;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::limits::LimitProgram;
use crate::mock::{Mock, Script};
use crate::product::now;
use crate::sample::{Row, RowSpec, Samples, sized};

/// Messages of the long chat, and of the short one beside it.
const LONG: usize = 10_000;
const SHORT: usize = WINDOW;
/// Messages of a first window, as the web UI asks for it.
const WINDOW: usize = 200;
const VIEWERS: usize = 100;
/// As a fast model speaks.
const PACE: Duration = Duration::from_millis(10);
const TOKENS: usize = 300;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let mut rows = subscribe().await?;
    rows.extend(fan_out().await?);
    Ok(rows)
}

async fn subscribe() -> Result<Vec<Row>> {
    let mut product = Programs::start(Setting::default()).await?;
    let scenario = json!({"turns": [{"steps": [[{"say": "Hello."}]]}]});
    let file = product.home().join("scenario.json");
    std::fs::write(&file, scenario.to_string())?;
    product.model("scripted", file.to_str().context("a plain name")?).await?;
    let mut chats = Vec::new();
    for _ in 0..2 {
        let body = json!({"content": [{"type": "text", "text": "Hello there."}]});
        let made = product.api.post("/chats", &body).await?;
        let chat = made["chat"]["id"].as_str().context("no chat")?.to_owned();
        ChatStream::open(&product.api, &chat).await?.until_rest().await?;
        chats.push(chat);
    }
    product.stop_server()?;
    let database = product.home().join("server/holdfast.db");
    let mut database = SqliteConnectOptions::new().filename(database).connect().await?;
    let [long, short] = [&chats[0], &chats[1]];
    lengthen(&mut database, long, sized(LONG, 200)).await?;
    lengthen(&mut database, short, SHORT).await?;
    product.start_server()?;
    let [mut of_long, mut of_short, mut of_whole] = [(); 3].map(|()| Samples::default());
    let [mut limit, mut limit_whole] = [(); 2].map(|()| Samples::default());
    let window = format!("?tail={WINDOW}");
    for _ in 0..sized(30, 2) {
        let (time, told, bytes) = until_ready(&product.api, long, &window).await?;
        of_long.push(time);
        of_short.push(until_ready(&product.api, short, &window).await?.0);
        limit.push(select_and_send(&mut database, long, told, bytes).await?);
        let (time, told, bytes) = until_ready(&product.api, long, "").await?;
        of_whole.push(time);
        limit_whole.push(select_and_send(&mut database, long, told, bytes).await?);
    }
    Ok(vec![
        RowSpec {
            metric: "first window (200) of a chat of 10,000 messages",
            unit: "ms",
            limit_is: "an indexed select of what was told, its bytes over a socket",
            goal: "at most 5 ms",
        }
        .row(&of_long, limit.p50(), |ours, _| ours.p50() <= 5.0),
        RowSpec {
            metric: "the same beside a chat of 200 messages",
            unit: "ms",
            limit_is: "the first window of a chat of 200 messages",
            goal: "work independent of the length: at most 1.5 x",
        }
        .row(&of_long, of_short.p50(), |ours, short| ours.p50() <= 1.5 * short),
        RowSpec {
            metric: "all of a chat of 10,000 messages",
            unit: "ms",
            limit_is: "an indexed select of what was told, its bytes over a socket",
            goal: "none set",
        }
        .row_without_goal(&of_whole, limit_whole.p50()),
    ])
}

/// Appends messages behind the last one, until there are `count`.
async fn lengthen(database: &mut SqliteConnection, chat: &str, count: usize) -> Result<()> {
    let count = i64::try_from(count)?;
    let append = "WITH RECURSIVE n (at) AS (SELECT 3 UNION ALL SELECT at + 1 FROM n WHERE at < $2)
        INSERT INTO messages (id, chat_id, seq, revision, role, content, removed, created_at_ms,
            parent_id, variant, variants)
        SELECT 'msg_' || substr(first.id, 5, 20) || printf('%06d', at), $1, at,
            last.revision + at, CASE at % 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
            first.content, FALSE, first.created_at_ms,
            CASE at WHEN 3 THEN last.id ELSE 'msg_' || substr(first.id, 5, 20) || printf('%06d', at - 1) END,
            1, 1
        FROM n, messages AS first, messages AS last
        WHERE first.chat_id = $1 AND first.seq = 1 AND last.chat_id = $1 AND last.seq = 2";
    sqlx::query(append).bind(chat).bind(count).execute(&mut *database).await?;
    let follow = "UPDATE chats SET last_seq = $2, \
        leaf_id = (SELECT id FROM messages WHERE chat_id = $1 AND seq = $2), \
        snapshot_version = (SELECT revision FROM messages WHERE chat_id = $1 AND seq = $2), \
        history_version = (SELECT revision FROM messages WHERE chat_id = $1 AND seq = $2) \
        WHERE id = $1";
    let followed = sqlx::query(follow).bind(chat).bind(count).execute(database).await?;
    ensure!(followed.rows_affected() == 1, "the chat is there");
    Ok(())
}

/// From nothing to `ready`: the time, the messages told, and all bytes. `window` is a query, or empty.
async fn until_ready(api: &Api, chat: &str, window: &str) -> Result<(Duration, usize, usize)> {
    let start = now();
    let mut socket = api.socket(&format!("/chats/{chat}/stream{window}")).await?;
    let (mut messages, mut bytes) = (0, 0);
    loop {
        let (text, at) = socket.frame().await?;
        bytes += text.len();
        messages += text.matches("\"type\":\"message\"").count();
        if text.contains("\"type\":\"ready\"") {
            return Ok((at - start, messages, bytes));
        }
    }
}

/// The last `count` messages out of their index, and `bytes` through a socket of loopback.
async fn select_and_send(
    database: &mut SqliteConnection,
    chat: &str,
    count: usize,
    bytes: usize,
) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut from = TcpStream::connect(listener.local_addr()?)?;
    let (mut to, _) = listener.accept()?;
    let start = now();
    let select = "SELECT id, content FROM messages WHERE chat_id = $1 ORDER BY seq DESC LIMIT $2";
    let rows: Vec<(String, String)> =
        sqlx::query_as(select).bind(chat).bind(i64::try_from(count)?).fetch_all(database).await?;
    ensure!(rows.len() == count, "{} of {count} messages", rows.len());
    let writing = std::thread::spawn(move || from.write_all(&vec![b'x'; bytes]));
    to.read_exact(&mut vec![0; bytes])?;
    let took = start.elapsed();
    writing.join().ok().context("it wrote")??;
    Ok(took)
}

/// How late tokens are at each of the viewers, and the CPU of a delivery.
#[derive(Default)]
struct Fan {
    late: Samples,
    cpu_us: Samples,
}

async fn fan_out() -> Result<Vec<Row>> {
    let (viewers, tokens) = (sized(VIEWERS, 4), sized(TOKENS, 10));
    let mock = Mock::start(Script { tool_steps: 0, tokens, pace: PACE }).await?;
    let product = crate::product::start().await?;
    product.model("openai_compatible", &mock.base_url).await?;
    let (mut ours, mut limit) = (Fan::default(), Fan::default());
    for _ in 0..sized(3, 1) {
        bare_fan(&mut limit, viewers, tokens).await?;
        fan(&mut ours, &product, &mock, viewers, tokens).await?;
    }
    let limit_p99 = limit.late.p99();
    Ok(vec![
        RowSpec {
            metric: "fan-out to 100 viewers, a token",
            unit: "ms",
            limit_is: "a bare WebSocket server with as many",
            goal: "p99 at most 1.5 x the limit's",
        }
        .row(&ours.late, limit.late.p50(), |ours, _| {
            ours.p99().zip(limit_p99).is_some_and(|(ours, limit)| ours <= 1.5 * limit)
        }),
        RowSpec {
            metric: "fan-out, CPU of a delivery",
            unit: "µs",
            limit_is: "a bare WebSocket server with as many",
            goal: "at most 1.5 x the limit",
        }
        .row(&ours.cpu_us, limit.cpu_us.p50(), |ours, limit| ours.p50() <= 1.5 * limit),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn cpu_of_each(before: f64, after: f64, deliveries: usize) -> f64 {
    (after - before) * 1_000.0 / deliveries as f64
}

async fn fan(
    fan: &mut Fan,
    product: &Programs,
    mock: &Mock,
    viewers: usize,
    tokens: usize,
) -> Result<()> {
    let body = json!({"content": [{"type": "text", "text": "go"}]});
    let made = product.api.post("/chats", &body).await?;
    let chat = made["chat"]["id"].as_str().context("no chat")?.to_owned();
    ChatStream::open(&product.api, &chat).await?.until_rest().await?;
    let mut reading = JoinSet::new();
    for _ in 0..viewers {
        let mut socket = product.api.socket(&format!("/chats/{chat}/stream")).await?;
        // What was said before is not of this turn.
        socket.until(|event| event["type"] == "ready").await?;
        reading.spawn(async move { read(&mut socket, tokens).await });
    }
    mock.take();
    let pid = product.server_pid()?;
    let before = cpu_ms(pid)?;
    let again = json!({"content": [{"type": "text", "text": "go"}], "busy": "queue"});
    product.api.post(&format!("/chats/{chat}/messages"), &again).await?;
    let mut seen = Vec::new();
    while let Some(read) = reading.join_next().await {
        seen.push(read??);
    }
    fan.cpu_us.push_figure(cpu_of_each(before, cpu_ms(pid)?, viewers * tokens));
    let sent = mock.take().tokens_sent;
    for seen in seen {
        for (sent, seen) in sent.iter().zip(seen) {
            fan.late.push(seen.saturating_duration_since(*sent));
        }
    }
    Ok(())
}

/// When each token was first seen.
async fn read(socket: &mut Socket, tokens: usize) -> Result<Vec<Instant>> {
    let mut seen = Vec::new();
    while seen.len() < tokens {
        let (text, at) = socket.frame().await?;
        while text.contains(&format!("t{:06} ", seen.len())) {
            seen.push(at);
        }
    }
    Ok(seen)
}

async fn bare_fan(fan: &mut Fan, viewers: usize, tokens: usize) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--limit", "fan-out"]);
    let (server, address) = LimitProgram::start_told(&mut command)?;
    let api = Api::new(&format!("http://{address}"), "")?;
    let mut reading = JoinSet::new();
    for _ in 0..viewers {
        let mut socket = api.socket("/fan").await?;
        socket.frame().await?;
        reading.spawn(async move {
            let mut late = Vec::new();
            while late.len() < tokens {
                let (text, _) = socket.frame().await?;
                let sent = text.split(' ').nth(1).context("a time")?.parse()?;
                late.push(Duration::from_nanos(wall_ns().saturating_sub(sent)));
            }
            anyhow::Ok(late)
        });
    }
    let before = cpu_ms(server.pid())?;
    api.request("GET", &format!("/go/{tokens}"), None).await?;
    while let Some(read) = reading.join_next().await {
        read??.into_iter().for_each(|late| fan.late.push(late));
    }
    fan.cpu_us.push_figure(cpu_of_each(before, cpu_ms(server.pid())?, viewers * tokens));
    Ok(())
}

/// The wall clock: the one that two processes share.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The limit program: what is said once goes to every socket, and nothing else is done.
#[expect(clippy::disallowed_methods, reason = "a limit program has no lifecycle")]
pub async fn serve_fan() -> Result<()> {
    let (say, _) = broadcast::channel::<String>(1_024);
    let said = say.clone();
    let listen = move |upgrade: WebSocketUpgrade| async move {
        let heard = said.subscribe();
        upgrade.on_upgrade(move |socket| listen(socket, heard))
    };
    let go = move |axum::extract::Path(tokens): axum::extract::Path<usize>| async move {
        tokio::spawn(async move {
            for token in 0..tokens {
                let _ = say.send(format!("t{token:06} {}", wall_ns()));
                tokio::time::sleep(PACE).await;
            }
        });
    };
    let routes =
        axum::Router::new().route("/api/v1/fan", get(listen)).route("/api/v1/go/{tokens}", get(go));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    tokio::spawn(async move {
        use axum::serve::ListenerExt;
        axum::serve(listener.tap_io(|io| drop(io.set_nodelay(true))), routes).await
    });
    let mut byte = [0_u8; 1];
    let _ = tokio::io::AsyncReadExt::read(&mut tokio::io::stdin(), &mut byte).await;
    Ok(())
}

async fn listen(mut socket: WebSocket, mut heard: broadcast::Receiver<String>) {
    if socket.send(Message::Text("here".into())).await.is_err() {
        return;
    }
    while let Ok(text) = heard.recv().await {
        if socket.send(Message::Text(text.into())).await.is_err() {
            return;
        }
    }
}
