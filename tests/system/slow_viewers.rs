//! P06: viewers that do not read cost a bounded amount and hurt nobody.
//!
//! ```text
//! an answer after the other, 1 MiB a second ──► hub ──► one viewer that reads
//!                                            └──► many that never do ──► closed with 4008 and their cursor ──► resume
//! beside it: another chat, whose turns are timed before and during
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use shared::testing::{Distribution, trials};
use tests::api::{Api, Socket};
use tests::fake_llm::{Answer, FakeLlm, Format};
use tests::programs::{Setting, rss_mib};
use tests::stream::ChatStream;
use tests::world::{Chat, Model, World};
use tokio::time::Instant;

/// Memory that P06 allows for each viewer that does not read.
const MIB_PER_VIEWER: f64 = 1.0;

/// One answer, the size of its pieces, and the pause between them.
const PAGE_BYTES: usize = 256 * 1024;
const PIECE_BYTES: usize = 16 * 1024;
const PACE: Duration = Duration::from_millis(15);

/// Pages after which half of those who do not read begin to.
const WAKE_PAGES: usize = 60;

/// What a viewer finds that reads again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// With the code, and the cursor in the reason.
    Closed,
    /// It did not read even then.
    Cut,
}

/// Reads to the end, and resumes where that was.
async fn woken(api: &Api, path: &str, socket: &mut Socket, last: &str) -> Result<End> {
    let Some((code, reason, read)) = socket.until_closed(last).await? else { return Ok(End::Open) };
    ensure!(code == 4008 || code == 1006, "closed with {code} {reason:?}");
    let told = reason.split_whitespace().last();
    let cursor = told.unwrap_or(&read);
    let mut resumed = api.socket(&format!("{path}?cursor={cursor}")).await?;
    resumed.until(|event| event["type"] == "ready").await?;
    Ok(if code == 4008 { End::Closed } else { End::Cut })
}

/// What is asked the `number`th time; no other text holds it.
fn flood(number: usize) -> String {
    format!("flood {number}.")
}

/// Has the chat's message answered anew, and follows the answer to its end. What was answered before
/// is another branch, so that nobody's history grows.
async fn another_page(world: &World, chat: &mut Chat, number: usize) -> Result<()> {
    let is_over = |known: &controlplane::chat::client::ClientState, text: &str| {
        let history = known.history();
        let asked = history.first().map(|message| tests::stream::prose(&message.content));
        history.len() == 2
            && asked.is_some_and(|asked| asked == text)
            && known.status.is_some_and(|status| status.as_str() == "waiting")
    };
    let text = flood(number);
    let first = chat.stream.state.history().first().map(|message| message.id);
    let first = first.context("there is a message")?;
    let body = json!({"content": [{"type": "text", "text": text}]});
    let path = format!("/chats/{}/messages/{first}", chat.id);
    let (status, answer) = world.api().request("PATCH", &path, Some(&body)).await?;
    ensure!(status == 200, "{answer}");
    chat.stream.until("the answer is there", |known| is_over(known, &text)).await?;
    Ok(())
}

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
    let (viewers, seconds) = (trials(4, 50), trials(4, 600));
    let fake = FakeLlm::start().await?;
    // As fast as P06 has it. What a command prints is shown only in part, so the model says it.
    let page = "words and words ".repeat(PAGE_BYTES / 16);
    let page = Answer::text(page).in_pieces_of(PIECE_BYTES).paced(PACE);
    fake.play("test", [page]);
    fake.play("short", [Answer::text("Yes.")]);
    let base = fake.base_url(Format::Chat);
    let world = World::with(Setting::default(), Model::Served(fake, Format::Chat), false).await?;
    let provider = json!({"kind": Format::Chat.provider_kind(), "name": "short", "base_url": base, "api_key": "none"});
    let provider = world.api().post("/providers", &provider).await?;
    let model = json!({"provider_id": provider["id"], "model": "short", "display_name": "short", "context_limit": 200_000});
    let short = world.api().post("/models", &model).await?;

    let mut flooding = world.chat("flood").await?;
    flooding.stream.until("the answer flows", |state| !state.preview.is_empty()).await?;
    flooding.stream.until_rest().await?;
    let mut other = world.chat_with("other", &short["id"]).await?;
    other.stream.until_rest().await?;
    let before = turns(&world, &mut other, trials(10, 50)).await?;

    // What such answers cost by themselves is no viewer's.
    let mut number = 0_usize;
    while number < trials(4, 40) {
        another_page(&world, &mut flooding, number).await?;
        number += 1;
    }
    let pid = world.programs.server_pid()?;
    let rss_before = rss_mib(pid)?;
    let path = format!("/chats/{}/stream", flooding.id);
    let mut stuck = Vec::new();
    for _ in 0..viewers {
        stuck.push(world.api().socket(&path).await?);
    }
    // One reads all the time, and is told everything.
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let (mut rss_most, mut pages, mut ended) = (rss_before, 0_usize, Vec::new());
    let paging = async {
        while Instant::now() < until {
            another_page(&world, &mut flooding, number + pages).await?;
            pages += 1;
            rss_most = rss_most.max(rss_mib(pid)?);
            if pages == WAKE_PAGES {
                // These read on while they are being told why they are left; the others never do.
                let last = flood(number + pages - 1);
                for mut socket in stuck.drain(..viewers / 2) {
                    ended.push(woken(world.api(), &path, &mut socket, &last).await?);
                }
            }
        }
        anyhow::Ok(())
    };
    let timing = turns(&world, &mut other, trials(10, 50));
    let (during, paged) = tokio::join!(timing, paging);
    let during = during.and_then(|during| paged.map(|()| during))?;
    ensure!(pages > 0, "nothing flowed");
    let growth = rss_most - rss_before;

    let known = flooding.stream.until_rest().await?.history().len();
    let last = flood(number + pages - 1);
    for socket in &mut stuck {
        ended.push(woken(world.api(), &path, socket, &last).await?);
    }
    let fresh = {
        let mut fresh = ChatStream::open(world.api(), &flooding.id).await?;
        fresh.until_rest().await?.history().len()
    };
    ensure!(fresh == known, "the reader knows {known} messages, a fresh viewer {fresh}");
    let count = |end: End| ended.iter().filter(|it| **it == end).count();
    let (closed, cut) = (count(End::Closed), count(End::Cut));
    println!(
        "P06: {viewers} viewers that did not read for {seconds} s, in which {pages} answers of 256 KiB came: server grew by {growth:.1} MiB ({rss_before:.1} before), {closed} were closed with 4008, {cut} were cut off as they read nothing for 60 s more, and all came back by their cursor; turns beside it before: {before}; during: {during}"
    );
    // At small size the server's own heap moves by more than these few viewers may cost.
    let allowed = MIB_PER_VIEWER * viewers as f64 + trials(64, 0) as f64;
    ensure!(growth <= allowed, "grew by {growth:.1} MiB, {allowed:.1} are promised");
    // At small size the buffers of the sockets take everything; then only the growth is shown.
    ensure!(closed + cut > 0 || trials(0, 1) == 0, "nobody was too slow: the flood proves nothing");
    Ok(())
}
