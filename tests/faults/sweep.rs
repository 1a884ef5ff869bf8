//! The crash sweep: SIGKILL at every fault point of one turn, for each of those who take part.
//!
//! ```text
//! dry run          every point is noted and let go            ─► list of (program, point, n-th)
//! one run a point  held there ─► kill -9 ─► start again ─► the turn ends by itself ─► oracle
//! ```
//!
//! | Killed | The oracle allows |
//! |---|---|
//! | control plane; daemon; both | nothing but the undisturbed turn |
//! | keepers | that a command is said to be lost with its keeper; never that it runs twice |
//!
//! A point of one program holds it while the other is killed: that puts the crash between "the
//! daemon has it" and "the daemon has done it".

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use shared::testing::trials;
use tests::postgres::Postgres;

use crate::stage::{Place, Program, Stage, Victim};
use crate::turn::Kind;

/// Points that a sweep of the control plane must reach at least, and times that each window must
/// be hit.
const POINTS_MIN: usize = 60;
const WINDOW_HITS_MIN: usize = 3;

/// What a sweep came to.
#[derive(Default)]
struct Hits {
    windows: BTreeMap<String, usize>,
    reached: usize,
    /// Results that say that a process was lost with its keeper.
    lost: usize,
}

/// Kills `victim` at each of `places`.
async fn kill_at_each(
    stage: &mut Stage,
    database: &str,
    victim: Victim,
    places: &[Place],
) -> Result<Hits> {
    let mut hits = Hits::default();
    for place in places {
        let what = format!("{database}, {victim:?} killed: {place}");
        let run = stage.crash_at(place, victim, async |_| Ok(())).await;
        let run = run.with_context(|| what.clone())?;
        match victim {
            Victim::Keepers => {
                hits.lost += stage.judge_without_keepers(&what, &run.turn, &run.chat).await?;
            }
            _ => stage.judge(&what, &run.turn, &run.chat).await?,
        }
        if run.reached {
            hits.reached += 1;
            let window = place.point.split(' ').next().unwrap_or_default().to_owned();
            *hits.windows.entry(window).or_default() += 1;
        }
    }
    ensure!(
        stage.model.violations().is_empty(),
        "orphaned tool calls: {:?}",
        stage.model.violations()
    );
    Ok(hits)
}

async fn sweep(database: &str, database_url: Option<String>) -> Result<()> {
    let mut stage = Stage::open(database_url, "auto").await?;
    let places = stage.places().await?;
    let hits = kill_at_each(&mut stage, database, Victim::Server, &places).await?;
    let Hits { windows, reached, .. } = hits;
    println!(
        "P01: control plane killed on {database} at {reached} of {} places, 0 lost, 0 run again, 0 doubled; per window {windows:?}",
        places.len()
    );
    ensure!(reached >= POINTS_MIN, "only {reached} places were reached, {POINTS_MIN} are promised");
    for window in ["w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7"] {
        let hits = windows.get(window).copied().unwrap_or_default();
        ensure!(
            hits >= WINDOW_HITS_MIN,
            "window {window} was hit {hits} times, {WINDOW_HITS_MIN} are promised"
        );
    }
    Ok(())
}

/// The same for those who run in the workspace. Small: each point's first time, and of those one in
/// `step`; whole: every place.
async fn sweep_others(database: &str, database_url: Option<String>, step: usize) -> Result<()> {
    let mut stage = Stage::open(database_url, "auto").await?;
    let all = stage.places().await?;
    let firsts: Vec<Place> = all.iter().filter(|place| place.nth == 1).cloned().collect();
    for (offset, victim) in [Victim::Daemon, Victim::Keepers, Victim::Both].into_iter().enumerate()
    {
        // Each begins elsewhere, so that together they come to more places.
        let some = || firsts.iter().skip(offset).step_by(step).cloned().collect();
        let places: Vec<Place> = if trials(0, 1) == 0 { some() } else { all.clone() };
        let hits = kill_at_each(&mut stage, database, victim, &places).await?;
        let Hits { windows, reached, lost } = hits;
        println!(
            "P01: {victim:?} killed on {database} at {reached} of {} places, 0 run again, 0 doubled, {lost} said to be lost with their keepers; per window {windows:?}",
            places.len()
        );
        ensure!(reached > 0, "no place was reached");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_nothing_is_lost_or_run_twice_wherever_the_control_plane_dies_on_sqlite() -> Result<()>
{
    sweep("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_nothing_is_lost_or_run_twice_wherever_the_control_plane_dies_on_postgres() -> Result<()>
{
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    sweep("Postgres", Some(postgres.database().await?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_nothing_runs_twice_wherever_agentd_or_its_keepers_die_on_sqlite() -> Result<()> {
    sweep_others("SQLite", None, 3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_nothing_runs_twice_wherever_agentd_or_its_keepers_die_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    sweep_others("Postgres", Some(postgres.database().await?), 5).await
}

/// The points around the commit of a decision: what was allowed runs once, what was not yet
/// committed is asked again, and nothing runs unasked.
async fn sweep_decisions(database: &str, database_url: Option<String>) -> Result<()> {
    let mut stage = Stage::open(database_url, "edit").await?;
    let mut places = stage.places().await?;
    places.retain(|place| place.point.starts_with('a') && place.program == Program::Server);
    let hits = kill_at_each(&mut stage, database, Victim::Server, &places).await?;
    let reached = hits.reached;
    println!("decisions on {database}: killed at {reached} of {} places", places.len());
    ensure!(reached >= 4, "two decisions pass a0 and a1 each, {reached} places were reached");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_made_once_wherever_the_control_plane_dies_on_sqlite() -> Result<()> {
    sweep_decisions("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_made_once_wherever_the_control_plane_dies_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    sweep_decisions("Postgres", Some(postgres.database().await?)).await
}

/// The points around the commits by which a family lives: agents begun, their end told to the parent.
async fn sweep_family(database: &str, database_url: Option<String>) -> Result<()> {
    let mut stage = Stage::open(database_url, "auto").await?;
    stage.kind = Kind::Family;
    let all = stage.places().await?;
    let server = |place: &&Place| place.program == Program::Server;
    let of_family = |place: &&Place| place.point.starts_with('f');
    let places: Vec<Place> = if trials(0, 1) == 0 {
        all.iter().filter(server).filter(of_family).cloned().collect()
    } else {
        all.iter().filter(server).cloned().collect()
    };
    let hits = kill_at_each(&mut stage, database, Victim::Server, &places).await?;
    let firsts: Vec<Place> =
        places.iter().filter(of_family).filter(|place| place.nth == 1).cloned().collect();
    let both = kill_at_each(&mut stage, database, Victim::Both, &firsts).await?;
    println!(
        "families on {database}: killed at {} of {} places, both programs at {} of {}, 0 agents lost, 0 begun twice, 0 commands run again",
        hits.reached,
        places.len(),
        both.reached,
        firsts.len()
    );
    ensure!(hits.reached >= 6, "only {} places were reached", hits.reached);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_family_ends_once_wherever_the_programs_die_on_sqlite() -> Result<()> {
    sweep_family("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_family_ends_once_wherever_the_programs_die_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    sweep_family("Postgres", Some(postgres.database().await?)).await
}

/// The points around what people change of a history: an edit and its commit, a summary and its
/// commit, and the writing of spans beside the turn.
const CHANGES: [(Kind, &[&str]); 2] = [
    (Kind::Edited, &["a0 edit", "a1 edited"]),
    (
        Kind::Compacted,
        &["w0 summary call", "w0 compaction", "w0 compaction committed", "trace batch"],
    ),
];

async fn sweep_changes(database: &str, database_url: Option<String>) -> Result<()> {
    let mut stage = Stage::open(database_url, "auto").await?;
    for (kind, points) in CHANGES {
        stage.kind = kind;
        let server = |place: &Place| place.program == Program::Server;
        let named = |place: &Place| points.contains(&place.point.as_str());
        let whole = trials(0, 1) == 1;
        let mut places = stage.places().await?;
        places.retain(|place| server(place) && (whole || named(place) && place.nth == 1));
        for point in points {
            let is_there = places.iter().any(|place| place.point == *point);
            ensure!(is_there, "{database}: the undisturbed turn does not pass {point:?}");
        }
        let hits = kill_at_each(&mut stage, database, Victim::Server, &places).await?;
        println!(
            "P01: {kind:?} history on {database}: control plane killed at {} of {} places, 0 lost, 0 commands run again",
            hits.reached,
            places.len()
        );
        ensure!(hits.reached >= points.len(), "only {} places were reached", hits.reached);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_a_history_is_changed_once_wherever_the_control_plane_dies_on_sqlite() -> Result<()> {
    sweep_changes("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p01_a_history_is_changed_once_wherever_the_control_plane_dies_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    sweep_changes("Postgres", Some(postgres.database().await?)).await
}

/// The control: with the daemon's journal destroyed while a result is only there, the oracle must
/// see that the command ran twice, or that its outcome is unknown. Otherwise the sweep is blind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_a_breach_when_the_journal_is_destroyed() -> Result<()> {
    let mut stage = Stage::open(None, "auto").await?;
    let place = stage
        .places()
        .await?
        .into_iter()
        .find(|place| place.point.starts_with("w5 "))
        .context("the turn passes a point of w5")?;
    let state = stage.programs.home().join("agentd");
    let run = stage
        .crash_at(&place, Victim::Server, async |programs| {
            programs.kill_daemon()?;
            for folder in ["journal", "processes"] {
                std::fs::remove_dir_all(state.join(folder))
                    .with_context(|| format!("no {folder} in the state"))?;
            }
            programs.start_daemon_unwatched()
        })
        .await?;
    ensure!(run.reached, "{place} was not reached");
    let messages = stage.programs.api.messages(&run.chat).await?;
    let breaches = run.turn.breaches(&stage.programs.root(), &messages)?;
    ensure!(!breaches.is_empty(), "the oracle saw nothing although the journal was destroyed");
    println!("the oracle saw: {breaches:?}");
    Ok(())
}
