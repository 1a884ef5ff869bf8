//! Processes: start to result against a bare spawn, and output against a bare reader.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::programs::Programs;

use crate::limits::{self, FLOOD_BYTES, mib};
use crate::product::{now, start};
use crate::sample::{Row, RowSpec, Samples};

const RUNS: usize = 300;
const FLOODS: usize = 3;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let product = start().await?;
    let mut bare = limits::bare_spawn("/bin/true", &[], RUNS / 3)?;
    let mut ours = Samples::default();
    for run in 0..RUNS {
        let start = now();
        run_to_end(&product, &json!({"argv": ["/bin/true"]})).await?;
        if run >= 10 {
            ours.push(start.elapsed());
        }
        if run == RUNS / 2 {
            bare = limits::bare_spawn("/bin/true", &[], RUNS / 3)?;
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
            metric: "process start to result, over HTTP",
            unit: "ms",
            limit_is: "a bare spawn with pipes",
            goal: "at most 2.2 x the limit over the daemon's link",
        }
        .row(&ours, bare.p50(), |ours, limit| ours.p50() <= 2.2 * limit),
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
