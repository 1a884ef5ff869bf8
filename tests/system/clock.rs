//! P13: a wall clock that jumps changes displayed times and nothing else.
//!
//! ```text
//! text ── an attempt that is put off ── a command that works ── text ── at rest
//!    ▲              ▲                        ▲                    ▲
//!    └── the clock jumps here, by an hour, a day, ten years, or half a second back, again and again
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use controlplane::chat::client::ClientState;
use serde_json::json;
use tests::api::PATIENCE;
use tests::fake_llm::{Answer, FakeLlm, Format};
use tests::postgres::Postgres;
use tests::programs::Setting;
use tests::stream::transcript;
use tests::wall::Wall;
use tests::world::{Model, World, ledger_command};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Where the clock stands in each quarter of a turn, in milliseconds beside the truth.
const JUMPS: [(&str, [i64; 4]); 5] = [
    ("an hour ahead and back", [HOUR, HOUR, 0, 0]),
    ("an hour behind", [0, -HOUR, -HOUR, -HOUR]),
    ("ten years ahead", [0, 3650 * DAY, 3650 * DAY, 3650 * DAY]),
    ("a day behind, then right", [-DAY, -DAY, 0, 0]),
    ("half a second back, each time", [-500, -1_000, -1_500, -2_000]),
];

/// Whether a viewer sees that the turn has come so far.
type Reached = fn(&ClientState) -> bool;

async fn jumps(database: &str, database_url: Option<String>) -> Result<()> {
    let Some(wall) = Wall::start()? else {
        eprintln!("SKIPPED: there is no cc to compile the clock with");
        return Ok(());
    };
    let fake = FakeLlm::start().await?;
    let mut server_env = wall.env()?;
    server_env.push(("HOLDFAST_REPLICA__LEASE".into(), "3s".into()));
    // A new server is noticed at once: the figure is of the lease, not of the link.
    let mut daemon_env = wall.env()?;
    daemon_env.push(("HOLDFAST_KEEP_ALIVE_MS".into(), "200".into()));
    let setting = Setting { database_url, server_env, daemon_env, ..Setting::default() };
    let word = |number: usize| format!("jump{number}");
    let model = Model::Served(fake, Format::Chat);
    let mut world = World::with(setting, model, false).await?;
    let (mut inversions, mut said_at) = (0, Vec::new());
    for (number, (what, places)) in JUMPS.into_iter().enumerate() {
        let what = format!("{database}, {what}");
        let command = json!({"command": ledger_command(&word(number), 1_500)?});
        let call = Answer::text("I begin.").and_call("execute", &command);
        let refused = Answer::status(429, "slow down").with_header("retry-after", "1");
        let fake = world.fake.as_ref().context("a model is served")?;
        fake.play_attempts("test", [vec![refused, call], vec![Answer::text("Done.")]]);
        let asked = fake.requests().len();
        wall.set(places[0])?;
        let mut chat = world.chat(&format!("turn {number}")).await?;
        let stages: [(&str, Reached); 3] = [
            ("the attempt is put off", |state| state.retry.is_some()),
            ("the command runs", |state| !state.preview.is_empty()),
            ("the end is said", |state| state.history().iter().any(|m| m.role.as_str() == "tool")),
        ];
        for ((stage, is_there), shift) in stages.into_iter().zip(&places[1..]) {
            chat.stream.until(stage, is_there).await.with_context(|| what.clone())?;
            wall.set(*shift)?;
        }
        let state = chat.stream.until_rest().await.with_context(|| what.clone())?;
        let told = transcript(state);
        let told = told.get(1..).unwrap_or_default();
        let whole = ["assistant: I begin.", "call execute", "execute answered", "assistant: Done."];
        ensure!(told == whole, "{what}: {told:?}");
        let fake = world.fake.as_ref().context("a model is served")?;
        // A lease that was stolen would have asked again.
        let asked = fake.requests().len() - asked;
        ensure!(asked == 3, "{what}: the model was asked {asked} times, 3 are due");
        let stored = world.api().messages(&chat.id).await?;
        let seqs: Vec<i64> = stored.iter().filter_map(|message| message["seq"].as_i64()).collect();
        ensure!(seqs.len() == stored.len(), "{what}: a message without its place");
        inversions += seqs.windows(2).filter(|pair| pair[0] >= pair[1]).count();
        said_at.push(stored[0]["created_at"].to_string());
        wall.set(0)?;
    }
    // The control: the displayed time is the wall's. The fourth turn was a day before all others.
    ensure!(
        said_at[3] < said_at[0] && said_at[3] < said_at[1],
        "the clock did not move: {said_at:?}"
    );
    let ledger = world.ledger();
    let runs: Vec<usize> = (0..JUMPS.len())
        .map(|number| ledger.iter().filter(|line| **line == word(number)).count())
        .collect();
    ensure!(runs == [1; JUMPS.len()], "{database}: the commands ran {runs:?} times");
    ensure!(inversions == 0, "{database}: {inversions} messages stand in the wrong order");
    let recovered = immortal(&mut world, &wall, database).await?;
    println!(
        "P13: {database}: {} jumps: 0 leases stolen, 0 commands run twice, 0 inversions; with the clock an hour back a dead one's chat went on after {:.1} s of a lease of 3 s",
        JUMPS.len(),
        recovered.as_secs_f64()
    );
    Ok(())
}

/// A lease whose owner is dead ends by itself, also when the clock was set back meanwhile.
async fn immortal(world: &mut World, wall: &Wall, database: &str) -> Result<Duration> {
    let fake = world.fake.as_ref().context("a model is served")?;
    let call = Answer::call("execute", &json!({"command": ledger_command("dead", 500)?}));
    fake.play("test", [call, Answer::text("Done.")]);
    let mut chat = world.chat("a dead one's turn").await?;
    chat.stream.until("the command runs", |state| !state.preview.is_empty()).await?;
    world.programs.kill_server()?;
    wall.set(-HOUR)?;
    let start = tokio::time::Instant::now();
    world.programs.start_server()?;
    let mut stream = chat.stream.resume(world.api(), &chat.id).await?;
    stream.until_rest().await.with_context(|| format!("{database}: the dead one's chat"))?;
    let took = start.elapsed();
    let runs = world.ledger().iter().filter(|line| *line == "dead").count();
    ensure!(runs == 1, "{database}: the dead one's command ran {runs} times");
    wall.set(0)?;
    Ok(took)
}

#[tokio::test]
async fn p13_a_clock_that_jumps_changes_nothing_but_times_on_sqlite() -> Result<()> {
    jumps("SQLite", None).await
}

#[tokio::test]
async fn p13_a_clock_that_jumps_changes_nothing_but_times_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    jumps("Postgres", Some(postgres.database().await?)).await
}

/// A daemon whose clock is wrong is told that it is the clock, and comes back when that is right.
#[tokio::test]
async fn p13_a_wrong_clock_is_named_and_a_right_one_connects_again() -> Result<()> {
    let Some(wall) = Wall::start()? else {
        eprintln!("SKIPPED: there is no cc to compile the clock with");
        return Ok(());
    };
    let setting = Setting { daemon_env: wall.env()?, ..Setting::default() };
    let mut world = World::with(setting, Model::Scripted(json!([])), false).await?;
    world.programs.stop_daemon().await?;
    wall.set(-3650 * DAY)?;
    let mut events = world.api().socket("/events").await?;
    events.until(|event| event["type"] == "ready").await?;
    let mut heard = world.programs.start_daemon_heard()?;
    let named = async {
        loop {
            let line = heard.recv().await.context("it ended without naming the clock")?;
            if line.contains("clock: ") {
                return anyhow::Ok(line);
            }
        }
    };
    let said = tokio::time::timeout(PATIENCE, named).await.context("the clock is not named")??;
    wall.set(0)?;
    events.until(|event| event["workspace"]["status"] == "connected").await?;
    println!("P13: a daemon with a clock ten years behind says: {said}");
    Ok(())
}
