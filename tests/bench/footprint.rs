//! Memory at rest, time to ready, sizes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::limits::mib;
use tests::programs::{bin_dir, rss_mib};

use crate::product::{now, start};
use crate::sample::{Row, RowSpec, Samples};

/// Idle time before memory is read: buffers of the start are given back.
const SETTLE: Duration = Duration::from_secs(3);
/// Starts per program.
const STARTS: usize = 10;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let (idle_ready, idle_rss) = limit_program("idle")?;
    let (http_ready, http_rss) = limit_program("http")?;
    let mut product = start().await?;
    let mut daemon_ready = Samples::default();
    for _ in 0..STARTS {
        product.stop_daemon().await?;
        product.start_daemon().await?;
        daemon_ready.push(product.daemon_ready);
    }
    let mut server_ready = Samples::default();
    for _ in 0..STARTS {
        product.stop_server()?;
        product.start_server()?;
        server_ready.push(product.server_ready);
    }
    product.stop_daemon().await?;
    product.start_daemon().await?;
    tokio::time::sleep(SETTLE).await;
    let daemon_rss = one(product.daemon_rss_mib()?);
    let server_rss = one(product.server_rss_mib()?);
    let size =
        |name: &str| -> Result<Samples> { Ok(one(mib(bin_dir()?.join(name).metadata()?.len()))) };
    let own_size = mib(std::env::current_exe()?.metadata()?.len());

    Ok(vec![
        RowSpec {
            metric: "daemon idle RSS",
            unit: "MiB",
            limit_is: "an idle tokio program",
            goal: "at most 8 MiB",
        }
        .row(&daemon_rss, idle_rss, |ours, _| ours.p50() <= 8.0),
        RowSpec {
            metric: "server idle RSS",
            unit: "MiB",
            limit_is: "a bare HTTP server",
            goal: "at most 30 MiB with the database open",
        }
        .row(&server_rss, http_rss, |ours, _| ours.p50() <= 30.0),
        RowSpec {
            metric: "daemon start to connected",
            unit: "ms",
            limit_is: "an idle tokio program, start to first line",
            goal: "at most 10 ms",
        }
        .row(&daemon_ready, idle_ready.p50(), |ours, _| ours.p50() <= 10.0),
        RowSpec {
            metric: "server start to ready",
            unit: "ms",
            limit_is: "a bare HTTP server, start to first line",
            goal: "at most 50 ms with migrations checked",
        }
        .row(&server_ready, http_ready.p50(), |ours, _| ours.p50() <= 50.0),
        RowSpec {
            metric: "daemon binary",
            unit: "MiB",
            limit_is: "this benchmark's own binary, for scale",
            goal: "at most 8 MiB",
        }
        .row(&size("agentd")?, own_size, |ours, _| ours.p50() <= 8.0),
        RowSpec {
            metric: "server binary",
            unit: "MiB",
            limit_is: "this benchmark's own binary, for scale",
            goal: "at most 30 MiB with the web UI",
        }
        .row(&size("controlplane")?, own_size, |ours, _| ours.p50() <= 30.0),
    ])
}

fn one(figure: f64) -> Samples {
    let mut samples = Samples::default();
    samples.push_figure(figure);
    samples
}

/// Start to first line, and resident memory, of one of our limit programs.
fn limit_program(which: &str) -> Result<(Samples, f64)> {
    let mut ready = Samples::default();
    let mut rss = 0.0;
    for _ in 0..STARTS {
        let start = now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--limit", which])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        ready.push(start.elapsed());
        rss = rss_mib(child.id())?;
        drop(child.stdin.take());
        child.wait()?;
    }
    Ok((ready, rss))
}
