//! Somebody holds the row of a chat for seconds: whoever has something to commit about it waits, the
//! wake comes after the commit, and nothing is lost. On Postgres; SQLite has one writer.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use tests::postgres::Postgres;
use tests::programs::Setting;
use tests::stream::transcript;
use tests::world::{Model, World, execute};

/// How long the title's transaction goes on after somebody waits for it.
const HELD: &str = "SELECT pg_sleep(5)";

/// A title's update that is not committed yet.
async fn hold(url: &str, chat: &str) -> Result<PgConnection> {
    let mut holder = PgConnection::connect(url).await?;
    sqlx::query("BEGIN").execute(&mut holder).await?;
    let titled = sqlx::query("UPDATE chats SET title = 'held' WHERE id = $1")
        .bind(chat)
        .execute(&mut holder)
        .await?;
    assert_eq!(titled.rows_affected(), 1, "the chat is there");
    Ok(holder)
}

/// Commits it five seconds after somebody has begun to wait for it.
async fn release(url: &str, mut holder: PgConnection) -> Result<()> {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = \
         current_database() AND wait_event_type = 'Lock'";
    let mut watcher = PgConnection::connect(url).await?;
    let somebody_waits = async {
        while sqlx::query(WAITING).fetch_one(&mut watcher).await?.get::<i64, _>(0) == 0 {}
        anyhow::Ok(())
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), somebody_waits).await;
    waited.context("nobody waits for the row")??;
    sqlx::query(HELD).execute(&mut holder).await?;
    sqlx::query("COMMIT").execute(&mut holder).await?;
    Ok(())
}

/// Class: a wake came before its commit, which waited for the lock of a title's update: the chat stayed
/// idle with work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_a_title_update_locks_for_5_s_costs_no_wake() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    let url = postgres.database().await?;
    let turns = json!([
        {"match": "first", "steps": [[{"say": "one"}]]},
        {"match": "second", "steps": [[{"say": "two"}]]},
        {"match": "third", "steps": [
            [execute("while [ ! -e go-on ]; do sleep 0.02; done")],
            [{"say": "three"}],
        ]},
    ]);
    let setting = Setting { database_url: Some(url.clone()), ..Setting::default() };
    let world = World::with(setting, Model::Scripted(turns), false).await?;
    let mut chat = world.chat("first").await?;
    chat.stream.until_rest().await?;

    // A person's message waits for the row.
    let holder = hold(&url, &chat.id).await?;
    let (sent, released) =
        tokio::join!(chat.send(world.api(), "second", "queue"), release(&url, holder));
    released?;
    let (status, answer) = sent?;
    assert_eq!(status, 201, "{answer}");
    let says = |state: &controlplane::chat::client::ClientState, text: &str| {
        transcript(state).last().is_some_and(|last| last == text)
    };
    chat.stream.until("the second answer", |state| says(state, "assistant: two")).await?;

    // The worker's commit of a result waits for it.
    chat.send(world.api(), "third", "queue").await?;
    let runs = |state: &controlplane::chat::client::ClientState| !state.preview.is_empty();
    chat.stream.until("the command runs", runs).await?;
    let holder = hold(&url, &chat.id).await?;
    std::fs::write(world.programs.root().join("go-on"), "")?;
    release(&url, holder).await?;
    let state = chat.stream.until("the third answer", |state| says(state, "assistant: three"));
    assert_eq!(
        transcript(state.await?),
        [
            "user: first",
            "assistant: one",
            "user: second",
            "assistant: two",
            "user: third",
            "call execute",
            "execute answered",
            "assistant: three",
        ]
    );
    Ok(())
}
