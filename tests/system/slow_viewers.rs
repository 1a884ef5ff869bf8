//! P06: viewers that do not read cost a bounded amount and hurt nobody.
//!
//! ```text
//! a command that floods ──► hub ──► one viewer that reads
//!                              └──► many that never do ──► closed with 4008 and their cursor ──► resume
//! beside it: another chat, whose turns are timed before and during
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use shared::testing::{Distribution, trials};
use tests::fake_llm::{Answer, FakeLlm, Format};
use tests::programs::{Setting, rss_mib};
use tests::stream::ChatStream;
use tests::world::{Chat, Model, World};
use tokio::time::Instant;

/// Memory that P06 allows for each viewer that does not read.
const MIB_PER_VIEWER: f64 = 1.0;

/// Times of short turns of another chat, whose viewer reads.
async fn turns(world: &World, chat: &mut Chat, count: usize) -> Result<Distribution> {
    let mut times = Vec::new();
    for number in 0..count {
        let start = Instant::now();
        let (status, answer) = chat.send(world.api(), &format!("again {number}"), "queue").await?;
        ensure!(status == 201, "{answer}");
        let answers = chat.stream.state.history().len() + 2;
        let has_answer = move |known: &controlplane::chat::client::ClientState| {
            known.history().len() >= answers
                && known.status.is_some_and(|status| status.as_str() == "waiting")
        };
        chat.stream.until("the turn ends", has_answer).await?;
        times.push(start.elapsed());
    }
    Ok(times.into_iter().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p06_viewers_that_do_not_read_cost_little_and_hurt_nobody() -> Result<()> {
    let (viewers, seconds) = (trials(10, 50), trials(8, 600));
    let fake = FakeLlm::start().await?;
    // About a megabyte a second in lines, as a build prints; the gate ends it.
    let flood =
        "until [ -e stop ]; do head -c 65536 /dev/zero | tr '\\0' x | fold -w 99; sleep 0.06; done";
    fake.play(
        "test",
        [
            Answer::call("execute", &json!({"command": flood, "timeout_s": 3600})),
            Answer::text("It stopped."),
        ],
    );
    fake.play("short", [Answer::text("Yes.")]);
    let base = fake.base_url(Format::Chat);
    let world = World::with(Setting::default(), Model::Served(fake, Format::Chat), false).await?;
    let provider = json!({"kind": Format::Chat.provider_kind(), "name": "short", "base_url": base, "api_key": "none"});
    let provider = world.api().post("/providers", &provider).await?;
    let model = json!({"provider_id": provider["id"], "model": "short", "display_name": "short", "context_limit": 200_000});
    let short = world.api().post("/models", &model).await?;

    let mut flooding = world.chat("flood").await?;
    flooding.stream.until("output flows", |state| !state.preview.is_empty()).await?;
    let mut other = world.chat_with("other", &short["id"]).await?;
    other.stream.until_rest().await?;
    let before = turns(&world, &mut other, trials(10, 50)).await?;

    let pid = world.programs.server_pid()?;
    let rss_before = rss_mib(pid)?;
    let path = format!("/chats/{}/stream", flooding.id);
    let mut stuck = Vec::new();
    for _ in 0..viewers {
        stuck.push(world.api().socket(&path).await?);
    }
    // One reads all the time, and is told everything.
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let (mut rss_most, mut events) = (rss_before, 0_u64);
    let during = turns(&world, &mut other, trials(10, 50)).await?;
    while let Ok(event) = tokio::time::timeout_at(until, flooding.stream.step()).await {
        event.context("the viewer that reads is told on")?;
        events += 1;
        if events.is_multiple_of(50) {
            rss_most = rss_most.max(rss_mib(pid)?);
        }
    }
    ensure!(events > 0, "nothing flowed");
    let growth = rss_most - rss_before;

    std::fs::write(world.programs.root().join("stop"), "")?;
    let known = flooding.stream.until_rest().await?.history().len();
    // Each of the others is told why and where to go on, and misses nothing.
    let mut closed = 0;
    for socket in &mut stuck {
        let Some((code, reason)) = socket.until_closed().await? else { continue };
        ensure!(code == 4008, "closed with {code} {reason:?}");
        let cursor = reason.split_whitespace().last().context("the reason ends with the cursor")?;
        let mut resumed = world.api().socket(&format!("{path}?cursor={cursor}")).await?;
        resumed.until(|event| event["type"] == "ready").await?;
        closed += 1;
    }
    let fresh = {
        let mut fresh = ChatStream::open(world.api(), &flooding.id).await?;
        fresh.until_rest().await?.history().len()
    };
    ensure!(fresh == known, "the reader knows {known} messages, a fresh viewer {fresh}");
    println!(
        "P06: {viewers} viewers that did not read for {seconds} s: server grew by {growth:.1} MiB ({rss_before:.1} before), {closed} were closed with 4008 and came back by their cursor; turns beside it before: {before}; during: {during}"
    );
    let allowed = MIB_PER_VIEWER * viewers as f64;
    ensure!(growth <= allowed, "grew by {growth:.1} MiB, {allowed:.1} are promised");
    // At small size the buffers of the sockets take everything; then only the growth is shown.
    ensure!(closed > 0 || trials(0, 1) == 0, "nobody was too slow: the flood proves nothing");
    Ok(())
}
