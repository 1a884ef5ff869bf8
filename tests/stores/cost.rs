//! What a notification costs in a long chat: the work that is done for it, and no time.
//!
//! Elsewhere a subscriber read the whole history again at every notification. Here one of a chat of
//! 100,000 messages reads one message, in as many steps as in a chat of 100.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use controlplane::store::chats::ChatRow;
use controlplane::store::db::Seam;
use controlplane::store::{DatabaseUrl, Db, Store};
use shared::clock::Clock;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, Row, SqlitePool};

use crate::scene::{Scene, answer};
use crate::schema::execute;

const SHORT: i64 = 100;
const LONG: i64 = 100_000;

/// A chat of so many messages, in which the last commit was one message.
async fn chat_of(scene: &Scene, length: i64) -> (ChatRow, i64) {
    let (chat, fence) = scene.owned_chat().await;
    let (id, now_ms) = (chat.id, chat.created_at_ms);
    let (number, before, no) = match scene.url {
        DatabaseUrl::Sqlite(_) => ("printf('msg_%026d', n)", "printf('msg_%026d', n - 1)", "0"),
        DatabaseUrl::Postgres(_) => (
            "'msg_' || lpad(CAST(n AS TEXT), 26, '0')",
            "'msg_' || lpad(CAST(n - 1 AS TEXT), 26, '0')",
            "FALSE",
        ),
    };
    execute(
        scene,
        &format!(
            "INSERT INTO messages (id, chat_id, seq, revision, role, content, removed, \
             created_at_ms, parent_id) WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT \
             n + 1 FROM numbers WHERE n < {length}) SELECT {number}, '{id}', n, 1, 'user', \
             '[]', {no}, {now_ms}, CASE WHEN n = 2 THEN (SELECT leaf_id FROM chats WHERE \
             id = '{id}') ELSE {before} END FROM numbers"
        ),
    )
    .await;
    let leaf = format!("msg_{length:026}");
    execute(
        scene,
        &format!("UPDATE chats SET last_seq = {length}, leaf_id = '{leaf}' WHERE id = '{id}'"),
    )
    .await;
    let known = scene.head(&chat).await.snapshot_version;
    scene.store.chats.commit_step(id, &fence, &answer("the newest"), &[]).await.unwrap();
    (chat, known)
}

/// What was read of the chat since `known`: all that a viewer does at a notification.
async fn notified(store: &Store, chat: &ChatRow, known: i64) -> usize {
    store.chats.snapshot(chat.id, known).await.unwrap().unwrap().messages.len()
}

/// A store whose database counts the instructions that it executes.
fn counting(scene: &Scene) -> (Store, Arc<AtomicU64>) {
    let DatabaseUrl::Sqlite(file) = &scene.url else { panic!("SQLite counts") };
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let pool: SqlitePool = SqlitePoolOptions::new()
        .max_connections(1)
        .after_connect(move |connection, _| {
            let counted = Arc::clone(&counted);
            Box::pin(async move {
                connection.lock_handle().await?.set_progress_handler(1, move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    true
                });
                Ok(())
            })
        })
        .connect_lazy_with(SqliteConnectOptions::new().filename(file));
    let db = Db::Sqlite { write: pool.clone(), read: pool, lock: None };
    let clock = Arc::clone(&scene.clock) as Arc<dyn Clock>;
    (Store::new(db, clock, Arc::clone(&scene.ids)), steps)
}

#[tokio::test]
async fn one_notification_in_a_chat_of_100_000_messages_reads_one_message_on_sqlite() {
    let mut cost = Vec::new();
    for length in [SHORT, LONG] {
        let scene = Scene::on_sqlite().await;
        let (chat, known) = chat_of(&scene, length).await;
        let (store, steps) = counting(&scene);
        // The first of a connection also reads the schema.
        notified(&store, &chat, known).await;
        let before = steps.load(Ordering::Relaxed);
        assert_eq!(notified(&store, &chat, known).await, 1);
        cost.push(steps.load(Ordering::Relaxed) - before);
        if length == LONG {
            // The control: whoever asks for everything pays for everything.
            let before = steps.load(Ordering::Relaxed);
            assert_eq!(notified(&store, &chat, 0).await as i64, LONG + 1);
            let whole = steps.load(Ordering::Relaxed) - before;
            assert!(whole > LONG.unsigned_abs(), "the whole history took {whole} steps");
        }
        store.close().await;
    }
    println!("a notification: {} instructions of {SHORT} messages, {} of {LONG}", cost[0], cost[1]);
    assert!(cost[0] > 0 && cost[1] <= cost[0] * 2, "{cost:?}");
}

/// Class: heartbeats of 10,000 chats. There is one row for a replica, whatever it owns.
#[tokio::test]
async fn a_lease_is_renewed_at_the_same_cost_with_10_000_chats_as_with_one() {
    let scene = Scene::on_sqlite().await;
    let (chat, _) = scene.owned_chat().await;
    let (store, steps) = counting(&scene);
    let renewal = async || {
        let before = steps.load(Ordering::Relaxed);
        store.replicas.renew(scene.replica, crate::scene::LEASE_MS).await.unwrap();
        steps.load(Ordering::Relaxed) - before
    };
    renewal().await;
    let one = renewal().await;
    let Seam::Sqlite(pool) = scene.store.db().writer() else { panic!("SQLite counts") };
    let columns = sqlx::query("SELECT name FROM pragma_table_info('chats')");
    let columns = columns.fetch_all(pool).await.unwrap();
    let names: Vec<String> = columns.iter().map(|row| row.get(0)).collect();
    let copied: Vec<&str> = names
        .iter()
        .map(|name| if name == "id" { "printf('chat_%026d', n)" } else { name.as_str() })
        .collect();
    let (names, copied) = (names.join(", "), copied.join(", "));
    execute(
        &scene,
        &format!(
            "INSERT INTO chats ({names}) WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL \
             SELECT n + 1 FROM numbers WHERE n < 10000) SELECT {copied} FROM numbers JOIN chats \
             ON chats.id = '{}'",
            chat.id
        ),
    )
    .await;
    let owned = sqlx::query("SELECT COUNT(*) FROM chats WHERE worker_id = $1");
    let owned = owned.bind(scene.replica.to_string()).fetch_one(pool).await.unwrap();
    assert_eq!(owned.get::<i64, _>(0), 10_001);
    let many = renewal().await;
    println!("a renewal: {one} instructions with one chat, {many} with 10,001");
    assert!(one > 0 && many <= one * 2, "{one} and {many}");
    store.close().await;
}

/// Rows of messages that were read, by whatever way, by everybody who has left.
async fn rows_read(scene: &Scene) -> i64 {
    const READ: &str = "SELECT CAST(seq_tup_read + idx_tup_fetch AS BIGINT) FROM \
         pg_stat_user_tables WHERE relname = 'messages'";
    const OTHERS: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = \
         current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let DatabaseUrl::Postgres(url) = &scene.url else { panic!("Postgres counts") };
    let options: PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    // A session tells its figures at the latest when it ends.
    let alone = async {
        while sqlx::query(OTHERS).fetch_one(&mut connection).await.unwrap().get::<i64, _>(0) > 0 {}
    };
    tokio::time::timeout(Duration::from_secs(30), alone).await.expect("the others leave");
    let read = sqlx::query(READ).fetch_one(&mut connection).await.unwrap().get(0);
    connection.close().await.unwrap();
    read
}

#[tokio::test]
async fn one_notification_in_a_chat_of_100_000_messages_reads_one_message_on_postgres() {
    let Some(scene) = Scene::on_postgres().await else { return };
    let (chat, known) = chat_of(&scene, LONG).await;
    execute(&scene, "ANALYZE messages").await;
    scene.store.close().await;
    let open = || async {
        let clock = Arc::clone(&scene.clock) as Arc<dyn Clock>;
        Store::open(&scene.url, clock, Arc::clone(&scene.ids)).await.unwrap()
    };
    let mut costs = Vec::new();
    for (since, due) in [(known, 1), (0, LONG + 1)] {
        let before = rows_read(&scene).await;
        let store = open().await;
        assert_eq!(notified(&store, &chat, since).await as i64, due);
        store.close().await;
        costs.push(rows_read(&scene).await - before);
    }
    println!(
        "a notification of {LONG} messages: {} rows were read, {} for all",
        costs[0], costs[1]
    );
    assert!((1..=10).contains(&costs[0]), "{costs:?}");
    assert!(costs[1] > LONG, "the control must see the whole history: {costs:?}");
}
