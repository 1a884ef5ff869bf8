//! A thousand chats at once on one server: what they cost it, and what they cost another chat.
//!
//! Each streams an answer at its model's pace and waits most of the time, as chats do.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::json;
use tests::api::Api;
use tests::programs::{Programs, Setting, cpu_ms, rss_mib};
use tests::stream::ChatStream;

use crate::product::now;
use crate::sample::{Row, RowSpec, Samples, sized};

const CHATS: usize = 1_000;
/// Chats that are begun at the same moment.
const BEGUN_AT_ONCE: usize = 50;
/// Words of each of their answers, and the pause between two.
const WORDS: usize = 200;
const PACE_MS: u64 = 100;
/// Turns of the chat beside them.
const PROBES: usize = 10;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let product = Programs::start(Setting::default()).await?;
    let words = |count: usize| (0..count).map(|word| format!("w{word} ")).collect::<String>();
    let long = sized(WORDS, 20);
    let scenario = json!({"pace_ms": PACE_MS, "turns": [
        {"match": "long", "steps": [[{"say": words(long)}]]},
        {"match": "short", "steps": [[{"say": words(1)}]]},
    ]});
    let file = product.home().join("scenario.json");
    std::fs::write(&file, scenario.to_string())?;
    product.model("scripted", file.to_str().context("a plain name")?).await?;
    let pid = product.server_pid()?;
    let [mut alone, mut beside, mut rss, mut cores, mut over] =
        [(); 5].map(|()| Samples::default());
    for _ in 0..sized(PROBES, 2) {
        alone.push(short_turn(&product.api).await?);
    }
    let rss_at_rest = rss_mib(pid)?;
    let mut chats = Vec::new();
    while chats.len() < sized(CHATS, 20) {
        let begun = (0..BEGUN_AT_ONCE.min(sized(CHATS, 20))).map(|_| begin(&product.api, "long"));
        chats.extend(try_join_all(begun).await?);
    }
    let all_run = now();
    let before = cpu_ms(pid)?;
    for _ in 0..sized(PROBES, 2) {
        beside.push(short_turn(&product.api).await?);
    }
    cores.push_figure((cpu_ms(pid)? - before) / (all_run.elapsed().as_secs_f64() * 1_000.0));
    rss.push_figure(rss_mib(pid)?);
    for chat in &chats {
        ChatStream::open(&product.api, chat).await?.until_rest().await?;
    }
    let pace = Duration::from_millis(PACE_MS * u64::try_from(long)?);
    over.push(all_run.elapsed());
    Ok(vec![
        RowSpec {
            metric: "a short turn beside 1,000 running chats",
            unit: "ms",
            limit_is: "the same turn alone",
            goal: "none set",
        }
        .row_without_goal(&beside, alone.p50()),
        RowSpec {
            metric: "server RSS with 1,000 running chats",
            unit: "MiB",
            limit_is: "the same server at rest",
            goal: "none set",
        }
        .row_without_goal(&rss, rss_at_rest),
        RowSpec {
            metric: "CPU of 1,000 running chats, 10 words a second each",
            unit: "cores",
            limit_is: "one core",
            goal: "none set",
        }
        .row_without_goal(&cores, 1.0),
        RowSpec {
            metric: "1,000 running chats, the last begun to all at rest",
            unit: "ms",
            limit_is: "the pace of their model",
            goal: "none set",
        }
        .row_without_goal(&over, pace.as_secs_f64() * 1_000.0),
    ])
}

async fn begin(api: &Api, text: &str) -> Result<String> {
    let body = json!({"content": [{"type": "text", "text": text}]});
    let made = api.post("/chats", &body).await?;
    Ok(made["chat"]["id"].as_str().with_context(|| format!("no chat in {made}"))?.to_owned())
}

/// A chat of one word, from the request to rest.
async fn short_turn(api: &Api) -> Result<Duration> {
    let start = now();
    let chat = begin(api, "short").await?;
    ChatStream::open(api, &chat).await?.until_rest().await?;
    Ok(start.elapsed())
}
