//! Memory and CPU at rest, time to ready, sizes.

use std::time::Duration;

use anyhow::Result;
use tests::programs::{bin_dir, cpu_ms, rss_mib};

use crate::limits::{LimitProgram, QuicServer, http_server, mib};
use crate::product::start;
use crate::sample::{Row, RowSpec, Samples};

/// Idle time before memory is read: buffers of the start are given back.
const SETTLE: Duration = Duration::from_secs(3);
/// How long CPU at rest is watched: four keep-alives of a link.
const REST: Duration = Duration::from_secs(20);
/// Starts per program.
const STARTS: usize = 20;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let quic = QuicServer::start()?;
    let mut product = start().await?;
    let (mut bare_daemon, mut bare_server) = (Samples::default(), Samples::default());
    let (mut daemon_ready, mut server_ready) = (Samples::default(), Samples::default());
    product.stop_daemon().await?;
    for _ in 0..STARTS {
        bare_server.push(LimitProgram::start(&mut http_server()?)?.1);
        product.stop_server()?;
        product.start_server()?;
        server_ready.push(product.server_ready);
    }
    product.start_daemon().await?;
    for _ in 0..STARTS {
        bare_daemon.push(LimitProgram::start(&mut quic.daemon()?)?.1);
        product.stop_daemon().await?;
        product.start_daemon().await?;
        daemon_ready.push(product.daemon_ready);
    }
    let (daemon, _) = LimitProgram::start(&mut quic.daemon()?)?;
    let (server, _) = LimitProgram::start(&mut http_server()?)?;
    tokio::time::sleep(SETTLE).await;

    let ours = [product.daemon_pid()?, product.server_pid()?];
    let bare = [daemon.pid(), server.pid()];
    let [daemon_rss, server_rss] = ours.map(rss_mib);
    let [bare_daemon_rss, bare_server_rss] = bare.map(rss_mib);
    let before = [ours.map(cpu_ms), bare.map(cpu_ms)];
    tokio::time::sleep(REST).await;
    let after = [ours.map(cpu_ms), bare.map(cpu_ms)];
    let mut a_minute = [[0.0; 2]; 2];
    for (a_minute, (before, after)) in a_minute
        .iter_mut()
        .flatten()
        .zip(before.into_iter().flatten().zip(after.into_iter().flatten()))
    {
        *a_minute = (after? - before?) * 60.0 / REST.as_secs_f64();
    }
    let [[daemon_cpu, server_cpu], [bare_daemon_cpu, bare_server_cpu]] = a_minute;
    let size = |name: &str| -> Result<f64> { Ok(mib(bin_dir()?.join(name).metadata()?.len())) };

    Ok(vec![
        RowSpec {
            metric: "daemon idle RSS",
            unit: "MiB",
            limit_is: "a bare QUIC client that is connected",
            goal: "at most 8 MiB",
        }
        .row(&one(daemon_rss?), bare_daemon_rss?, |ours, _| ours.p50() <= 8.0),
        RowSpec {
            metric: "server idle RSS",
            unit: "MiB",
            limit_is: "a bare HTTP server",
            goal: "at most 30 MiB with the database open",
        }
        .row(&one(server_rss?), bare_server_rss?, |ours, _| ours.p50() <= 30.0),
        RowSpec {
            metric: "daemon idle CPU, connected",
            unit: "ms a minute",
            limit_is: "a bare QUIC client that is connected",
            goal: "at most 10 ms (a tick) a minute",
        }
        .row(&one(daemon_cpu), bare_daemon_cpu, |ours, _| ours.p50() <= 10.0),
        RowSpec {
            metric: "server idle CPU, one daemon connected",
            unit: "ms a minute",
            limit_is: "a bare HTTP server",
            goal: "none set; peers 0 to 360 ms",
        }
        .row_without_goal(&one(server_cpu), bare_server_cpu),
        RowSpec {
            metric: "daemon start to connected",
            unit: "ms",
            limit_is: "a bare QUIC client, start to connected",
            goal: "at most 10 ms",
        }
        .row(&daemon_ready, bare_daemon.p50(), |ours, _| ours.p50() <= 10.0),
        RowSpec {
            metric: "server start to ready",
            unit: "ms",
            limit_is: "a bare HTTP server, start to first line",
            goal: "at most 50 ms with migrations checked",
        }
        .row(&server_ready, bare_server.p50(), |ours, _| ours.p50() <= 50.0),
        RowSpec {
            metric: "daemon binary",
            unit: "MiB",
            limit_is: "a bare QUIC client",
            goal: "at most 8 MiB",
        }
        .row(&one(size("agentd")?), size("minimal-daemon")?, |ours, _| ours.p50() <= 8.0),
        RowSpec {
            metric: "server binary",
            unit: "MiB",
            limit_is: "a bare QUIC client, for scale",
            goal: "none set; peers 177 to 281 MiB",
        }
        .row_without_goal(&one(size("controlplane")?), size("minimal-daemon")?),
    ])
}

fn one(figure: f64) -> Samples {
    let mut samples = Samples::default();
    samples.push_figure(figure);
    samples
}
