//! Hints beside busy writers. Elsewhere NOTIFY inside of each transaction put all commits in one row,
//! one behind the other; here it is a statement of its own, after the commit.

use std::time::{Duration, Instant};

use controlplane::store::chats::ChatPatch;
use shared::ids::ChatId;
use shared::testing::trials;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::scene::Scene;

const WRITERS: usize = 200;

/// Of each writer in a round.
fn commits_each() -> usize {
    trials(2, 10)
}

fn rounds() -> usize {
    trials(1, 5)
}

/// Every writer commits, and whoever is given is told of each; how long that took.
#[expect(clippy::disallowed_methods, reason = "a figure that nothing hangs on")]
async fn commits(scene: &Scene, chats: &[ChatId], told: Option<&mpsc::Sender<ChatId>>) -> Duration {
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for chat in chats.iter().copied() {
        let (store, told) = (scene.store.clone(), told.cloned());
        writers.spawn(async move {
            for nth in 0..commits_each() {
                let label = Some(format!("label number {nth}"));
                let patch = ChatPatch { label, ..ChatPatch::default() };
                store.chats.patch(chat, &patch).await.unwrap();
                if let Some(told) = &told {
                    // Full: something newer is said anyway, and no writer waits.
                    let _ = told.try_send(chat);
                }
            }
        });
    }
    writers.join_all().await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_writers_commit_all_with_and_without_notifications() {
    let Some(scene) = Scene::on_postgres().await else { return };
    let mut chats = Vec::new();
    for _ in 0..WRITERS {
        chats.push(scene.chat().await.chat.id);
    }
    let mut wakes = scene.store.wakes.listen().await.unwrap().expect("Postgres tells others");
    let (told, mut waiting) = mpsc::channel::<ChatId>(4_096);
    let store = scene.store.clone();
    // As the product: one task, many hints in a text while one is on its way.
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        let (mut batch, mut texts) = (Vec::new(), 0_usize);
        while waiting.recv_many(&mut batch, 200).await > 0 {
            let text: Vec<String> = batch.drain(..).map(|chat| chat.to_string()).collect();
            store.wakes.send(&text.join(",")).await.unwrap();
            texts += 1;
        }
        texts
    });
    let (mut without, mut with) = (Duration::ZERO, Duration::ZERO);
    commits(&scene, &chats, None).await;
    for _ in 0..rounds() {
        without += commits(&scene, &chats, None).await;
        with += commits(&scene, &chats, Some(&told)).await;
    }
    drop(told);
    let texts = sending.join_next().await.unwrap().unwrap();
    for _ in 0..texts {
        assert!(wakes.next().await.unwrap().is_some(), "each text arrives");
    }
    let row = scene.store.chats.head(chats[0]).await.unwrap().unwrap();
    let all = (commits_each() * (1 + 2 * rounds())) as i64;
    assert_eq!(row.snapshot_version - 1, all, "every commit is there");
    let rate = |time: Duration| (WRITERS * commits_each() * rounds()) as f64 / time.as_secs_f64();
    let (without, with) = (rate(without), rate(with));
    println!(
        "200 writers: {without:.0} commits a second without notifications, {with:.0} with them, loss {:.1} %, {texts} texts",
        100.0 * (1.0 - with / without)
    );
}
