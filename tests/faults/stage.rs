//! Both programs, the model and a gate: one turn at a time, with somebody killed at a chosen place.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fake_llm::{FakeLlm, Format};
use tests::gate::Gate;
use tests::programs::{Programs, Setting};

use crate::client::play;
use crate::turn::{AGENTS, Kind, Turn, ensure_kept};

/// How long one run may take before it counts as wedged.
pub const WEDGED: Duration = Duration::from_secs(45);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Server,
    /// And its keepers: their points come through the same gate.
    Daemon,
}

/// Who is killed while a program stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The control plane.
    Server,
    /// The daemon; its keepers live.
    Daemon,
    /// Control plane and daemon.
    Both,
    /// Every keeper that there is.
    Keepers,
}

/// How a run with a crash went.
pub struct Crashed {
    pub turn: Turn,
    pub chat: String,
    /// Whether the place was reached and somebody was killed.
    pub reached: bool,
}

/// A place in the turn: which program, which point, the how-manieth time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub program: Program,
    pub point: String,
    pub nth: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} #{}", self.program, self.point, self.nth)
    }
}

/// Both programs with their gates, and the model.
pub struct Stage {
    pub programs: Programs,
    pub model: FakeLlm,
    provider_id: Value,
    pub server: Gate,
    pub daemon: Gate,
    _sockets: tempfile::TempDir,
    turns: usize,
    /// Of the chats: in `edit` a person is asked about both commands.
    pub mode: &'static str,
    /// What the next turns are.
    pub kind: Kind,
}

impl Stage {
    pub async fn open(database_url: Option<String>, mode: &'static str) -> Result<Self> {
        let sockets = tempfile::tempdir()?;
        let server = Gate::open(&sockets.path().join("server"))?;
        let daemon = Gate::open(&sockets.path().join("daemon"))?;
        let mut server_env = vec![server.env()];
        if database_url.is_some() {
            // A dead replica's lease has to end before another takes its chats. SQLite has one replica, and
            // there a short lease would only be lost on a busy machine.
            server_env.push(("HOLDFAST_REPLICA__LEASE".into(), "1s".into()));
        }
        let setting = Setting {
            database_url,
            server_env,
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
        Ok(Self {
            programs,
            model,
            provider_id,
            server,
            daemon,
            _sockets: sockets,
            turns: 0,
            mode,
            kind: Kind::Plain,
        })
    }

    /// Every place that an undisturbed turn passes.
    pub async fn places(&mut self) -> Result<Vec<Place>> {
        let turn = self.next_turn().await?;
        self.server.begin(None);
        self.daemon.begin(None);
        let chat = self.to_its_end(&turn).await?;
        self.judge("the undisturbed turn", &turn, &chat).await?;
        let of = |program: Program, gate: &Gate| -> Vec<Place> {
            gate.seen().into_iter().map(|(point, nth)| Place { program, point, nth }).collect()
        };
        Ok([of(Program::Server, &self.server), of(Program::Daemon, &self.daemon)].concat())
    }

    /// One turn with `victim` killed at `place`, and `after_kill` before it is started again.
    pub async fn crash_at(
        &mut self,
        place: &Place,
        victim: Victim,
        after_kill: impl AsyncFnOnce(&mut Programs) -> Result<()>,
    ) -> Result<Crashed> {
        let turn = self.next_turn().await?;
        let target = |program| (place.program == program).then(|| (place.point.clone(), place.nth));
        self.server.begin(target(Program::Server));
        self.daemon.begin(target(Program::Daemon));
        let (api, workspace_id) = (self.programs.api.clone(), self.programs.workspace_id.clone());
        let (played, mode) = (turn.clone(), self.mode);
        let whole = play(&api, &workspace_id, &played, mode);
        let mut whole = std::pin::pin!(whole);
        let held = tokio::select! {
            biased;
            hit = self.server.held() => Some(hit),
            hit = self.daemon.held() => Some(hit),
            _ended = &mut whole => None,
        };
        let mut reached = held.is_some();
        self.server.begin(None);
        self.daemon.begin(None);
        if let Some(hit) = held {
            let (server, daemon) = match victim {
                Victim::Server => (true, false),
                Victim::Daemon => (false, true),
                Victim::Both => (true, true),
                Victim::Keepers => {
                    // Where none is there is nobody to kill.
                    reached = self.programs.kill_keepers()? > 0;
                    (false, false)
                }
            };
            if server {
                self.programs.kill_server()?;
            }
            if daemon {
                self.programs.kill_daemon()?;
            }
            hit.release();
            after_kill(&mut self.programs).await?;
            if daemon {
                self.programs.start_daemon_unwatched()?;
            }
            if !server {
                let chat = tokio::time::timeout(WEDGED, whole).await;
                let chat = chat.with_context(|| self.wedged())??;
                return Ok(Crashed { turn, chat, reached });
            }
            self.programs.start_server()?;
        }
        // A client that got no answer goes on with what is there: that makes nothing twice.
        let chat = self.to_its_end(&turn).await?;
        Ok(Crashed { turn, chat, reached })
    }

    async fn to_its_end(&self, turn: &Turn) -> Result<String> {
        let Programs { api, workspace_id, .. } = &self.programs;
        let played = tokio::time::timeout(WEDGED, play(api, workspace_id, turn, self.mode)).await;
        played.with_context(|| self.wedged())?
    }

    pub fn wedged(&self) -> String {
        let (server, daemon) =
            (self.programs.logged("server.log"), self.programs.logged("agentd.log"));
        format!("the turn is wedged\n{server}\n{daemon}")
    }

    pub async fn judge(&self, what: &str, turn: &Turn, chat: &str) -> Result<()> {
        let messages = self.programs.api.messages(chat).await?;
        let mut breaches = turn.breaches(&self.programs.root(), &messages)?;
        if turn.kind == Kind::Edited {
            let first = messages.first().and_then(|message| message["id"].as_str());
            let first = first.context("the chat has a first message")?;
            let texts = format!("/chats/{chat}/messages/{first}/variants");
            let texts = self.programs.api.get(&texts).await?;
            let texts = texts["items"].as_array().map_or(0, Vec::len);
            if texts != 2 {
                breaches.push(format!("the message has {texts} texts"));
            }
        }
        if turn.kind == Kind::Family {
            let agents = self.programs.api.get(&format!("/chats/{chat}/agents")).await?;
            let agents = agents["items"].as_array().map_or(0, Vec::len);
            if agents != AGENTS.len() {
                breaches.push(format!("there are {agents} agents"));
            }
        }
        ensure_kept(what, &breaches)
    }

    /// As [`judge`](Self::judge) after keepers were killed; how many results say that a process was
    /// lost with its keeper.
    pub async fn judge_without_keepers(
        &self,
        what: &str,
        turn: &Turn,
        chat: &str,
    ) -> Result<usize> {
        let messages = self.programs.api.messages(chat).await?;
        let (breaches, lost) = turn.breaches_without_keepers(&self.programs.root(), &messages)?;
        ensure_kept(what, &breaches)?;
        Ok(lost)
    }

    /// A fresh turn, with the models that play it.
    pub async fn next_turn(&mut self) -> Result<Turn> {
        self.turns += 1;
        let mut turn = Turn::prepare(&self.programs.root(), self.turns, self.kind)?;
        turn.script(&self.model);
        for name in turn.models() {
            let model = json!({"provider_id": self.provider_id, "model": name, "display_name": name, "context_limit": 200_000});
            let model = self.programs.api.post("/models", &model).await?;
            let id = model["id"].as_str().with_context(|| format!("no model id in {model}"))?;
            turn.model_ids.push(id.to_owned());
        }
        Ok(turn)
    }
}
