//! The crash sweep: SIGKILL for the control plane at every fault point of one turn.
//!
//! ```text
//! dry run          every point is noted and let go            ─► list of (program, point, n-th)
//! one run a point  held there ─► kill -9 ─► start again ─► the turn ends by itself ─► oracle
//! ```
//!
//! A point of the daemon holds the daemon while the control plane is killed: that puts the crash
//! between "the daemon has it" and "the daemon has done it".

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::api::Api;
use tests::fake_llm::{FakeLlm, Format};
use tests::gate::Gate;
use tests::postgres::Postgres;
use tests::programs::{Programs, Setting};

use crate::turn::{Turn, ensure_kept};

/// Points that a sweep must reach at least, and times that each window must be hit.
const POINTS_MIN: usize = 60;
const WINDOW_HITS_MIN: usize = 3;
/// How long one run may take before it counts as wedged.
const WEDGED: Duration = Duration::from_secs(45);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    Server,
    Daemon,
}

/// A place in the turn: which program, which point, the how-manieth time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    program: Program,
    point: String,
    nth: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} #{}", self.program, self.point, self.nth)
    }
}

/// Both programs with their gates, and the model.
struct Stage {
    programs: Programs,
    model: FakeLlm,
    provider_id: Value,
    server: Gate,
    daemon: Gate,
    sockets: tempfile::TempDir,
    turns: usize,
    /// Of the chats: in `edit` a person is asked about both commands.
    mode: &'static str,
}

impl Stage {
    async fn open(database_url: Option<String>, mode: &'static str) -> Result<Self> {
        let sockets = tempfile::tempdir()?;
        let server = Gate::open(&sockets.path().join("server"))?;
        let daemon = Gate::open(&sockets.path().join("daemon"))?;
        let setting = Setting {
            database_url,
            // On Postgres the dead replica's lease has to end before another takes its chats.
            server_env: vec![server.env(), ("HOLDFAST_REPLICA__LEASE".into(), "1s".into())],
            // A restarted control plane is noticed at once, as nothing else wakes the link.
            daemon_env: vec![daemon.env(), ("HOLDFAST_KEEP_ALIVE_MS".into(), "200".into())],
            ..Setting::default()
        };
        let mut programs = Programs::start(setting).await?;
        programs.join().await?;
        let model = FakeLlm::start().await?;
        let format = Format::Chat;
        let provider = json!({"kind": format.provider_kind(), "name": "fake", "base_url": model.base_url(format), "api_key": "none"});
        let provider_id = programs.api.post("/providers", &provider).await?["id"].take();
        Ok(Self { programs, model, provider_id, server, daemon, sockets, turns: 0, mode })
    }

    /// Every place that an undisturbed turn passes.
    async fn places(&mut self) -> Result<Vec<Place>> {
        let (turn, model_id) = self.next_turn().await?;
        self.server.begin(None);
        self.daemon.begin(None);
        let chat =
            ask(&self.programs.api, &model_id, &self.programs.workspace_id, &turn, self.mode)
                .await?;
        self.rest(&chat).await?;
        self.judge("the undisturbed turn", &turn, &chat).await?;
        let of = |program: Program, gate: &Gate| -> Vec<Place> {
            gate.seen().into_iter().map(|(point, nth)| Place { program, point, nth }).collect()
        };
        Ok([of(Program::Server, &self.server), of(Program::Daemon, &self.daemon)].concat())
    }

    /// One turn with the control plane killed at `place`; whether the place was reached.
    async fn crash_at(
        &mut self,
        place: &Place,
        after_kill: impl AsyncFnOnce(&mut Programs) -> Result<()>,
    ) -> Result<(Turn, String, bool)> {
        let (turn, model_id) = self.next_turn().await?;
        let target = |program| (place.program == program).then(|| (place.point.clone(), place.nth));
        self.server.begin(target(Program::Server));
        self.daemon.begin(target(Program::Daemon));
        let (api, workspace_id) = (self.programs.api.clone(), self.programs.workspace_id.clone());
        let mode = self.mode;
        let whole = async {
            let chat = ask(&api, &model_id, &workspace_id, &turn, mode).await?;
            at_rest(&api, &chat).await
        };
        let held = tokio::select! {
            biased;
            hit = self.server.held() => Some(hit),
            hit = self.daemon.held() => Some(hit),
            _ended = whole => None,
        };
        let reached = held.is_some();
        self.server.begin(None);
        self.daemon.begin(None);
        if let Some(hit) = held {
            self.programs.kill_server()?;
            hit.release();
            after_kill(&mut self.programs).await?;
            self.programs.start_server()?;
        }
        // A client that got no answer asks again with the same key: that makes no second chat.
        let chat =
            ask(&self.programs.api, &model_id, &self.programs.workspace_id, &turn, self.mode)
                .await?;
        self.rest(&chat).await?;
        Ok((turn, chat, reached))
    }

    async fn rest(&self, chat: &str) -> Result<()> {
        tokio::time::timeout(WEDGED, at_rest(&self.programs.api, chat)).await.with_context(
            || {
                format!(
                    "the turn is wedged\n{}\n{}",
                    self.programs.logged("server.log"),
                    self.programs.logged("agentd.log")
                )
            },
        )?
    }

    async fn judge(&self, what: &str, turn: &Turn, chat: &str) -> Result<()> {
        let messages = self.programs.api.messages(chat).await?;
        ensure_kept(what, &turn.breaches(&self.programs.root(), &messages)?)
    }

    /// A fresh turn, and the id of the model that plays it.
    async fn next_turn(&mut self) -> Result<(Turn, String)> {
        self.turns += 1;
        let turn = Turn::prepare(&self.programs.root(), self.turns)?;
        turn.script(&self.model);
        let model = json!({"provider_id": self.provider_id, "model": turn.id, "display_name": turn.id, "context_limit": 200_000});
        let model = self.programs.api.post("/models", &model).await?;
        let id = model["id"].as_str().with_context(|| format!("no model id in {model}"))?;
        Ok((turn, id.to_owned()))
    }
}

/// Creates the chat, with a key that makes a repeat harmless; its id.
async fn ask(
    api: &Api,
    model_id: &str,
    workspace_id: &str,
    turn: &Turn,
    mode: &str,
) -> Result<String> {
    let body = json!({
        "workspace_id": workspace_id, "model_id": model_id, "mode": mode,
        "content": [{"type": "text", "text": turn.text()}],
    });
    let made = api.post_idempotent("/chats", &body, &turn.id).await?;
    Ok(made["chat"]["id"].as_str().with_context(|| format!("no chat id in {made}"))?.to_owned())
}

/// Waits until the chat's turn has ended, by its stream. Whatever a person is asked, is allowed:
/// again, where nobody knows whether it was.
async fn at_rest(api: &Api, chat: &str) -> Result<()> {
    let mut stream = api.socket(&format!("/chats/{chat}/stream")).await?;
    let mut answered = false;
    loop {
        let event: Value = stream.event().await?;
        match event["type"].as_str() {
            Some("action_required") => {
                for action in event["actions"].as_array().into_iter().flatten() {
                    let id = action["id"].as_str().context("an action has an id")?;
                    let body = json!({"decision": "once", "args_hash": action["args_hash"]});
                    // Decided already: the event was on its way.
                    let _ = api.post(&format!("/chats/{chat}/approvals/{id}"), &body).await;
                }
            }
            Some("message") => answered |= event["message"]["role"] == "assistant",
            Some("status") if event["status"] == "error" => {
                anyhow::bail!("the chat stopped with an error")
            }
            Some("status") if event["status"] == "waiting" && answered => return Ok(()),
            _ => {}
        }
    }
}

async fn sweep(database: &str, database_url: Option<String>) -> Result<()> {
    let mut stage = Stage::open(database_url, "auto").await?;
    let places = stage.places().await?;
    let mut windows: BTreeMap<String, usize> = BTreeMap::new();
    let mut reached = 0;
    for place in &places {
        let (turn, chat, hit) = stage
            .crash_at(place, async |_| Ok(()))
            .await
            .with_context(|| format!("{database}, {place}"))?;
        stage.judge(&format!("{database}, killed: {place}"), &turn, &chat).await?;
        if hit {
            reached += 1;
            let window = place.point.split(' ').next().unwrap_or_default().to_owned();
            *windows.entry(window).or_default() += 1;
        }
    }
    println!(
        "crash sweep on {database}: killed at {reached} of {} places, 0 lost, 0 run again, 0 doubled; per window {windows:?}",
        places.len()
    );
    ensure!(
        stage.model.violations().is_empty(),
        "orphaned tool calls: {:?}",
        stage.model.violations()
    );
    ensure!(reached >= POINTS_MIN, "only {reached} places were reached, {POINTS_MIN} are promised");
    for window in ["w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7"] {
        let hits = windows.get(window).copied().unwrap_or_default();
        ensure!(
            hits >= WINDOW_HITS_MIN,
            "window {window} was hit {hits} times, {WINDOW_HITS_MIN} are promised"
        );
    }
    drop(stage.sockets);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_run_twice_wherever_the_control_plane_dies_on_sqlite() -> Result<()> {
    sweep("SQLite", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_run_twice_wherever_the_control_plane_dies_on_postgres() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    sweep("Postgres", Some(postgres.database().await?)).await
}

/// The points around the commit of a decision: what was allowed runs once, what was not yet
/// committed is asked again, and nothing runs unasked.
async fn sweep_decisions(database: &str, database_url: Option<String>) -> Result<()> {
    let mut stage = Stage::open(database_url, "edit").await?;
    let mut places = stage.places().await?;
    places.retain(|place| place.point.starts_with('a') && place.program == Program::Server);
    let mut reached = 0;
    for place in &places {
        let (turn, chat, hit) = stage
            .crash_at(place, async |_| Ok(()))
            .await
            .with_context(|| format!("{database}, {place}"))?;
        stage.judge(&format!("{database}, killed: {place}"), &turn, &chat).await?;
        reached += usize::from(hit);
    }
    println!("decisions on {database}: killed at {reached} of {} places", places.len());
    ensure!(reached >= 4, "two decisions pass a0 and a1 each, {reached} places were reached");
    drop(stage.sockets);
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
    let (turn, chat, reached) = stage
        .crash_at(&place, async |programs| {
            programs.kill_daemon()?;
            for folder in ["journal", "processes"] {
                std::fs::remove_dir_all(state.join(folder))
                    .with_context(|| format!("no {folder} in the state"))?;
            }
            programs.start_daemon_unwatched()
        })
        .await?;
    ensure!(reached, "{place} was not reached");
    let messages = stage.programs.api.messages(&chat).await?;
    let breaches = turn.breaches(&stage.programs.root(), &messages)?;
    ensure!(!breaches.is_empty(), "the oracle saw nothing although the journal was destroyed");
    println!("the oracle saw: {breaches:?}");
    Ok(())
}
