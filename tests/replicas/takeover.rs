//! P04: a server that dies is replaced, and one that is paused or cut off does no harm.
//!
//! ```text
//! ask at the server with the daemon ─► it stands at a chosen point ─► fault
//!     kill -9 │ SIGSTOP for three leases │ cut from the database │ cut from the daemon
//! ─► the other one ends the turn ─► the first one comes back ─► nothing has changed
//! ```
//!
//! Roles change with each turn: the server that took over has the daemon from then on.
//!
//! A server that is paused for that long has lost its links when it wakes, so nothing of it reaches the
//! daemon. The last defence is met by one that wakes sooner than its links end:
//!
//! ```text
//! daemon ── b ◄── stream ── a, which stands before it sends ─► a is paused, its chat is given away
//!       ─► b does the work under the next epoch ─► a wakes and sends ─► the daemon refuses
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use shared::testing::{Distribution, trials};
use tests::api::PATIENCE;
use tests::deployment::{Deployment, Owners, Plan};
use tests::gate::{Gate, Hit};
use tests::stream::{ChatStream, prose};
use tests::world::execute;

/// What happens to the server that drives the chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
    NoDatabase,
    NoDaemon,
}

/// Points of a turn on the server that drives it, from the model call to the stored result.
const POINTS: [&str; 6] = [
    "w1 operation ready",
    "w0 model call",
    "w5 operation answered",
    "w1 intents committed",
    "w1 dispatch",
    "w7 committed",
];
/// A busy machine must be able to renew it: one that flaps moves chats and daemons about by itself.
const LEASE_SECONDS: u32 = 4;
/// Longer than a server that wakes takes to send what it was about to.
const WAKES_WITHIN: Duration = Duration::from_secs(8);
/// Rounds after which it is no accident that nothing was sent.
const ROUNDS_MAX: usize = 20;
const FINAL: &str = "Both ran.";

fn scenario() -> Value {
    let both = [execute("echo a >> ledger"), execute("sleep 0.2; echo b >> ledger")];
    json!({"turns": [{"match": "work", "steps": [both, [{"say": FINAL}]]}]})
}

struct Scene {
    deployment: Deployment,
    gates: Vec<Gate>,
    daemon: Gate,
    owners: Owners,
    /// The server to which the daemon is connected.
    at: usize,
    chats: Vec<String>,
    _sockets: tempfile::TempDir,
}

impl Scene {
    async fn open(mut plan: Plan) -> Result<Option<Self>> {
        let sockets = tempfile::tempdir()?;
        let gates = ["a", "b", "daemon"].map(|name| Gate::open(&sockets.path().join(name)));
        let [a, b, daemon] = gates;
        let (a, b, daemon) = (a?, b?, daemon?);
        plan = plan.with("a", a.env()).with("b", b.env());
        plan.daemon_env.push(daemon.env());
        let Some(mut deployment) = Deployment::start(plan).await? else { return Ok(None) };
        deployment.scripted(&scenario()).await?;
        // At the one that began last: it knows the other from its start, and tells the daemon at once.
        let last = deployment.servers.len() - 1;
        deployment.join(last).await?;
        let owners = deployment.owners().await?;
        let gates = vec![a, b];
        let chats = Vec::new();
        Ok(Some(Self { deployment, gates, daemon, owners, at: last, chats, _sockets: sockets }))
    }

    /// Begins a turn; it stands at the point, on whichever server drives it. That server is `at`.
    async fn held_at(&mut self, point: &str) -> Result<(String, Hit)> {
        for gate in &mut self.gates {
            gate.begin(Some((point.to_owned(), 1)));
        }
        let api = self.deployment.servers[self.at].api.clone();
        let workspace = self.deployment.daemons[0].workspace_id.clone();
        let [a, b] = &mut self.gates[..] else { anyhow::bail!("there are two servers") };
        let held = async {
            tokio::select! {
                hit = a.held() => (0, hit),
                hit = b.held() => (1, hit),
            }
        };
        let asking = crate::everywhere::begin(&api, Some(&workspace), "please work");
        let waited = tokio::time::timeout(PATIENCE, async { tokio::join!(asking, held) }).await;
        let (chat, (at, hit)) = waited
            .with_context(|| format!("{point} was not reached\n{}", self.deployment.logs()))?;
        self.at = at;
        self.gates[1 - at].begin(None);
        let chat = chat?;
        self.chats.push(chat.clone());
        Ok((chat, hit))
    }

    async fn epoch(&self, chat: &str) -> Result<i64> {
        let sql = format!("SELECT CAST(epoch AS TEXT) FROM chats WHERE id = '{chat}'");
        Ok(self.deployment.ask(&sql).await?.context("the chat is there")?.parse()?)
    }

    /// One turn with one fault; how long the chat was without a worker, where it changed.
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    async fn turn(&mut self, fault: Fault, point: &str) -> Result<Option<Duration>> {
        let (chat, hit) = self.held_at(point).await?;
        let (at, other) = (self.at, 1 - self.at);
        let epoch = self.epoch(&chat).await?;
        let begun = Instant::now();
        let mut held = Some(hit);
        match fault {
            Fault::Kill => self.deployment.servers[at].kill()?,
            Fault::Pause => self.deployment.servers[at].signal(Signal::SIGSTOP)?,
            Fault::NoDatabase => self.deployment.servers[at].database.cut(),
            Fault::NoDaemon => self.deployment.servers[at].daemons.cut(),
        }
        if fault != Fault::Pause {
            held.take().into_iter().for_each(Hit::release);
        }
        let taken = match fault {
            Fault::NoDaemon => None,
            _ => {
                let taken = self.owners.taken(&chat, epoch).await;
                let taken = taken.with_context(|| format!("{fault:?} at {point}"));
                Some(taken.with_context(|| self.deployment.logs())? - begun)
            }
        };
        let mut stream = ChatStream::open(&self.deployment.servers[other].api, &chat).await?;
        stream
            .until_rest()
            .await
            .with_context(|| format!("{fault:?} at {point}\n{}", self.deployment.logs()))?;
        match fault {
            Fault::Kill => self.deployment.restart(at)?,
            Fault::Pause => {
                // The thread that stood before its effect goes on, with all that it believed.
                self.deployment.servers[at].signal(Signal::SIGCONT)?;
                held.take().into_iter().for_each(Hit::release);
            }
            Fault::NoDatabase => self.deployment.servers[at].database.heal(),
            Fault::NoDaemon => self.deployment.servers[at].daemons.heal(),
        }
        self.at = other;
        Ok(taken)
    }

    /// One turn of the server without the daemon, which is paused before it sends and wakes when the
    /// other one has done the work. Whether the daemon was asked once more.
    async fn paused_and_outrun(&mut self) -> Result<bool> {
        let [a, b] = &mut self.gates[..] else { anyhow::bail!("there are two servers") };
        let [paused, holder] = &self.deployment.servers[..] else { anyhow::bail!("two of them") };
        let workspace = self.deployment.daemons[0].workspace_id.clone();
        // The one near the daemon does not hear of it, so that the other takes it.
        b.begin(None);
        a.begin(Some(("w1 dispatch".to_owned(), 1)));
        holder.signal(Signal::SIGSTOP)?;
        let chat = crate::everywhere::begin(&paused.api, Some(&workspace), "please work").await?;
        self.chats.push(chat.clone());
        let what = || format!("{chat}\n{}", self.deployment.logs());
        let hit = tokio::time::timeout(PATIENCE, a.held()).await.with_context(what)?;
        holder.signal(Signal::SIGCONT)?;
        a.begin(Some(("w1 operation ready".to_owned(), 1)));
        hit.release();
        let hit = tokio::time::timeout(PATIENCE, a.held()).await.with_context(what)?;
        // The stream is open up to the daemon, and nothing was sent.
        let epoch = self.epoch(&chat).await?;
        paused.signal(Signal::SIGSTOP)?;
        hit.release(); // it goes on when it wakes
        let given_away =
            format!("UPDATE chats SET worker_id = NULL, runner_id = NULL WHERE id = '{chat}'");
        self.deployment.ask(&given_away).await?;
        self.owners.taken(&chat, epoch).await.with_context(what)?;
        let mut stream = ChatStream::open(&holder.api, &chat).await?;
        stream.until_rest().await.with_context(what)?;
        self.daemon.begin(Some(("w2 journal begin".to_owned(), 1)));
        paused.signal(Signal::SIGCONT)?;
        // Not within this time: it saw first that the chat is another's, or its links had ended.
        let asked = tokio::time::timeout(WAKES_WITHIN, self.daemon.held()).await;
        let was_asked = asked.map(Hit::release).is_ok();
        self.daemon.begin(None);
        Ok(was_asked)
    }

    fn refused(&self) -> Result<u64> {
        let status = self.deployment.status_of(0)?;
        status["stale_epoch_refused"].as_u64().with_context(|| format!("no count in {status}"))
    }

    /// Every chat as both servers have it, after everything.
    async fn judge(&self) -> Result<()> {
        let ledger = self.deployment.daemons[0].ledger();
        for line in ["a", "b"] {
            let count = ledger.iter().filter(|it| *it == line).count();
            ensure!(
                count == self.chats.len(),
                "{line} ran {count} times: {}",
                self.deployment.logs()
            );
        }
        for chat in &self.chats {
            for server in &self.deployment.servers {
                let messages = server.api.messages(chat).await?;
                let roles: Vec<&str> = messages.iter().filter_map(|m| m["role"].as_str()).collect();
                ensure!(roles == ["user", "assistant", "tool", "assistant"], "{chat}: {roles:?}");
                ensure!(!messages[2].to_string().contains("\"is_error\":true"), "{}", messages[2]);
                ensure!(messages[3].to_string().contains(FINAL), "{}", messages[3]);
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p04_a_server_that_dies_is_replaced_and_a_paused_one_does_no_harm() -> Result<()> {
    let Some(mut scene) = Scene::open(Plan::quick(LEASE_SECONDS)).await? else { return Ok(()) };
    let rounds = trials(1, POINTS.len());
    let mut times = Vec::new();
    let mut turns = 0;
    for point in POINTS.iter().take(rounds) {
        let faults = [Fault::Kill, Fault::Pause, Fault::NoDaemon, Fault::NoDatabase];
        for fault in faults.into_iter().take(trials(3, 4)) {
            times.extend(scene.turn(fault, point).await?);
            turns += 1;
        }
    }
    scene.judge().await?;
    let refused = scene.refused()?;
    let times: Distribution = times.into_iter().collect();
    println!(
        "P04: {turns} turns with a fault each, lease {LEASE_SECONDS} s: taken over after {times}; \
         stale writes 0; stale calls at the daemon: accepted 0, refused {refused}; every command once"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p04_what_a_paused_server_sends_when_it_wakes_is_refused_by_the_daemon() -> Result<()> {
    // Neither leases nor links end while one of them is paused.
    let mut plan = Plan::quick(60);
    plan.daemon_env = vec![("HOLDFAST_KEEP_ALIVE_MS".into(), "5000".into())];
    let Some(mut scene) = Scene::open(plan).await? else { return Ok(()) };
    let (mut rounds, mut met) = (0, 0);
    // One that wakes may see first that its chat is another's, and then sends nothing.
    while rounds < trials(2, 20) || met == 0 && rounds < ROUNDS_MAX {
        met += u64::from(scene.paused_and_outrun().await?);
        rounds += 1;
    }
    scene.judge().await?;
    let refused = scene.refused()?;
    println!(
        "P04: {rounds} servers paused before they sent, their chats taken over meanwhile: {met} woke \
         and sent; stale calls at the daemon: accepted 0, refused {refused}; every command once"
    );
    ensure!(refused >= met, "{met} calls were stale and {refused} refused");
    ensure!(met > 0, "no stale call reached the daemon: the case was not met");
    Ok(())
}

/// A stop hands over at once: no lease has to end, and the chat is never in error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
async fn a_server_that_stops_hands_its_chats_over_at_once() -> Result<()> {
    let long = (0..400).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let scenario = json!({"pace_ms": 10, "turns": [{"match": "talk", "steps": [[{"say": long}]]}]});
    let Some(mut deployment) = Deployment::start(Plan::quick(30)).await? else { return Ok(()) };
    deployment.scripted(&scenario).await?;
    let mut owners = deployment.owners().await?;
    let chat = crate::everywhere::begin(&deployment.servers[0].api, None, "talk").await?;
    let mut stream = ChatStream::open(&deployment.servers[1].api, &chat).await?;
    let is_under_way = |state: &controlplane::chat::client::ClientState| {
        state.preview.values().any(|part| part.text.contains("5 6"))
    };
    stream.until("the answer is under way", is_under_way).await?;
    let begun = Instant::now();
    let stopping = deployment.servers[0].stop_in_background()?;
    let taken = owners.taken(&chat, 1).await.with_context(|| deployment.logs())? - begun;
    let state = stream.until_rest().await?;
    let said = state.history().last().map(|last| prose(&last.content)).unwrap_or_default();
    ensure!(said == long, "the answer is whole: {said}");
    ensure!(!stream.seen.iter().any(|event| format!("{event:?}").contains("Error { error: Some")));
    ensure!(stopping.join().is_ok_and(|clean| clean), "a clean end: {}", deployment.logs());
    println!("a stop handed its chat over after {taken:?}; the lease is 30 s");
    Ok(())
}
