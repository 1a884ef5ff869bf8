//! Processes: start to result against a bare spawn, and output against a bare reader.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::programs::Programs;

use crate::limits::{self, FLOOD_BYTES, LimitProgram, QuicServer, mib};
use crate::link::Linked;
use crate::product::{now, start};
use crate::sample::{Row, RowSpec, Samples};

/// Processes that count; a few more warm up.
const RUNS: usize = 500;
const WARM_UP: usize = 10;
/// Ours and the limit take turns, so many of each.
const ROUND: usize = 10;
const FLOODS: usize = 3;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let product = start().await?;
    let linked = Linked::start().await?;
    for _ in 0..WARM_UP {
        run_to_end(&product, &json!({"argv": ["/bin/true"]})).await?;
        linked.run_to_end("/bin/true").await?;
    }
    let quic = QuicServer::start()?;
    let _echo = LimitProgram::start(&mut quic.daemon()?)?;
    let [mut bare, mut over_link, mut over_http] = [(); 3].map(|()| Samples::default());
    let [mut asked, mut echoed] = [(); 2].map(|()| Samples::default());
    for _ in 0..RUNS / ROUND {
        limits::bare_spawn(&mut bare, "/bin/true", &[], ROUND)?;
        for _ in 0..ROUND {
            let start = now();
            linked.run_to_end("/bin/true").await?;
            over_link.push(start.elapsed());
        }
        for _ in 0..ROUND {
            let start = now();
            run_to_end(&product, &json!({"argv": ["/bin/true"]})).await?;
            over_http.push(start.elapsed());
        }
        for _ in 0..ROUND {
            let start = now();
            linked.ask().await?;
            asked.push(start.elapsed());
            let start = now();
            quic.echo().await?;
            echoed.push(start.elapsed());
        }
    }
    let own = std::env::current_exe()?;
    let flood = json!({"argv": [own.to_str().context("the path is text")?, "--limit", "flood"]});
    let mut captured = Samples::default();
    let mut dropped = Samples::default();
    for _ in 0..FLOODS {
        dropped.push_figure(limits::bare_reader_mib_s()?);
        let start = now();
        let end = run_to_end(&product, &flood).await?;
        anyhow::ensure!(end["output_total"] == FLOOD_BYTES, "the output is not whole: {end}");
        captured.push_figure(mib(FLOOD_BYTES as u64) / start.elapsed().as_secs_f64());
    }
    Ok(vec![
        RowSpec {
            metric: "process start to result, over the link",
            unit: "ms",
            limit_is: "a bare spawn with pipes",
            goal: "at most 2.2 x the limit, start and end durable",
        }
        .row(&over_link, bare.p50(), |ours, limit| ours.p50() <= 2.2 * limit),
        RowSpec {
            metric: "the same over HTTP",
            unit: "ms",
            limit_is: "a bare spawn with pipes",
            goal: "none set; peers 3.2 to 244 ms",
        }
        .row_without_goal(&over_http, bare.p50()),
        RowSpec {
            metric: "question over the link",
            unit: "ms",
            limit_is: "bare QUIC, a stream for each",
            goal: "at most 1.5 x the limit",
        }
        .row(&asked, echoed.p50(), |ours, limit| ours.p50() <= 1.5 * limit),
        RowSpec {
            metric: "output throughput",
            unit: "MiB/s",
            limit_is: "a reader that drops",
            goal: "at least 0.85 x the limit",
        }
        .row(&captured, dropped.p50(), |ours, limit| ours.p50() >= 0.85 * limit),
    ])
}

/// Starts a process and follows it to its end; its final view.
async fn run_to_end(product: &Programs, request: &Value) -> Result<Value> {
    let path = format!("/workspaces/{}/processes", product.workspace_id);
    let process = product.api.post(&path, request).await?;
    let id = process["id"].as_str().with_context(|| format!("no process id in {process}"))?;
    product.api.wait_process(&product.workspace_id, id).await
}
