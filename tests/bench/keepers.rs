//! Keepers: what each costs in memory, and how long a daemon needs to find a hundred of them again.

use anyhow::{Context, Result};
use shared::protocol::process::{ProcessState, ProcessView};
use tests::programs::rss_mib;

use crate::link::Linked;
use crate::sample::{Row, RowSpec, Samples};

/// Keepers that are there at once.
const KEEPERS: usize = 100;
/// Restarts of the daemon, with and without keepers.
const RESTARTS: usize = 10;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let mut linked = Linked::start().await?;
    let mut alone = Samples::default();
    for _ in 0..RESTARTS {
        alone.push(linked.restart(0).await?);
    }
    for _ in 0..KEEPERS {
        linked.start_silent().await?;
    }
    let [mut pss, mut dirty, mut bare] = [(); 3].map(|()| Samples::default());
    for view in linked.processes().await? {
        let keeper = keeper_of(&view)?;
        let memory = Rollup::of(keeper)?;
        pss.push_figure(memory.pss_kib);
        dirty.push_figure(memory.private_dirty_kib);
        bare.push_figure(Rollup::of(view.os_pid.context("it runs")?)?.pss_kib);
    }
    let daemon = rss_mib(linked.daemon_pid())?;
    eprintln!("daemon with {KEEPERS} keepers: {daemon:.1} MiB resident");
    let mut adopted = Samples::default();
    for _ in 0..RESTARTS {
        adopted.push(linked.restart(KEEPERS).await?);
    }
    let ended = linked.end_all().await?;
    anyhow::ensure!(ended == KEEPERS, "{ended} of {KEEPERS} processes lived through the restarts");
    Ok(vec![
        RowSpec {
            metric: "keeper memory, PSS of each of 100",
            unit: "KiB",
            limit_is: "the process that it keeps, a `sleep`",
            goal: "at most 150 KiB",
        }
        .row(&pss, bare.p50(), |ours, _| ours.p50() <= 150.0),
        RowSpec {
            metric: "keeper memory, private and written",
            unit: "KiB",
            limit_is: "the process that it keeps, a `sleep`, PSS",
            goal: "none set",
        }
        .row_without_goal(&dirty, bare.p50()),
        RowSpec {
            metric: "daemon start to all of 100 processes adopted and told",
            unit: "ms",
            limit_is: "the same daemon without processes",
            goal: "at most 1 s",
        }
        .row(&adopted, alone.p50(), |ours, _| ours.p50() <= 1_000.0),
    ])
}

/// The keeper of a process that runs.
fn keeper_of(view: &ProcessView) -> Result<u32> {
    anyhow::ensure!(matches!(view.state, ProcessState::Running), "it runs: {view:?}");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", view.os_pid.context("it runs")?))?;
    let parent = stat.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(1));
    Ok(parent.context("a parent")?.parse()?)
}

/// Memory of one process as the kernel divides it.
struct Rollup {
    pss_kib: f64,
    private_dirty_kib: f64,
}

impl Rollup {
    fn of(pid: u32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let figure = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            Ok(kib.with_context(|| format!("no {name}"))?.parse()?)
        };
        Ok(Self { pss_kib: figure("Pss:")?, private_dirty_kib: figure("Private_Dirty:")? })
    }
}
