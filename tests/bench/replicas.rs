//! How long a chat is without a worker when its server dies, and when it stops.
//!
//! Two servers on one Postgres, no daemon; the chat is in the middle of an answer. The limit of a
//! death is the lease, which has to end first; a stop has none.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use tests::deployment::{Deployment, Owners, Plan};
use tests::stream::ChatStream;

use crate::sample::{Row, RowSpec, Samples};

const TRIALS: usize = 5;
/// The default.
const LEASE_SECONDS: u32 = 10;

/// Every row of the group. None without a Postgres, which is said.
pub async fn rows() -> Result<Vec<Row>> {
    let plan = Plan::quick(LEASE_SECONDS);
    let Some(mut deployment) = Deployment::start(plan).await? else { return Ok(Vec::new()) };
    let long = (0..2_000).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let scenario = json!({"pace_ms": 20, "turns": [{"match": "talk", "steps": [[{"say": long}]]}]});
    deployment.scripted(&scenario).await?;
    let mut owners = deployment.owners().await?;
    let (mut killed, mut stopped) = (Samples::default(), Samples::default());
    for _ in 0..TRIALS {
        killed.push(without(&mut deployment, &mut owners, true).await?);
        stopped.push(without(&mut deployment, &mut owners, false).await?);
    }
    let lease_ms = f64::from(LEASE_SECONDS) * 1_000.0;
    Ok(vec![
        RowSpec {
            metric: "kill -9 of a server to its chat taken over",
            unit: "ms",
            limit_is: "the lease, 10 s",
            goal: "at most the lease + 2 s",
        }
        .row(&killed, lease_ms, |ours, lease_ms| ours.p50() <= lease_ms + 2_000.0),
        RowSpec {
            metric: "stop of a server to its chat taken over",
            unit: "ms",
            limit_is: "the poll of a server that heard nothing, 1 s",
            goal: "none set",
        }
        .row_without_goal(&stopped, 1_000.0),
    ])
}

/// Ends the first server in the middle of an answer; the time until the other has the chat.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn without(
    deployment: &mut Deployment,
    owners: &mut Owners,
    by_kill: bool,
) -> Result<std::time::Duration> {
    let body = json!({"content": [{"type": "text", "text": "talk"}]});
    let made = deployment.servers[0].api.post("/chats", &body).await?;
    let chat = made["chat"]["id"].as_str().context("no chat")?.to_owned();
    let mut stream = ChatStream::open(&deployment.servers[1].api, &chat).await?;
    stream
        .until("the answer is under way", |state| {
            state.preview.values().any(|part| part.text.contains(" 9 "))
        })
        .await?;
    let sql = format!("SELECT CAST(epoch AS TEXT) FROM chats WHERE id = '{chat}'");
    let epoch: i64 = deployment.ask(&sql).await?.context("the chat is there")?.parse()?;
    let begun = Instant::now();
    let stopping = if by_kill {
        deployment.servers[0].kill()?;
        None
    } else {
        Some(deployment.servers[0].stop_in_background()?)
    };
    let taken = owners.taken(&chat, epoch).await? - begun;
    if let Some(stopping) = stopping {
        let _ = stopping.join();
    }
    deployment.restart(0)?;
    Ok(taken)
}
