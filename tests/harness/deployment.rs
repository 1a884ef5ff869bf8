//! Several control planes on one Postgres, and daemons that may be connected to any of them.
//!
//! ```text
//! client ──HTTP──► server A ──[relay]──► Postgres ◄──[relay]── server B ◄──HTTP── client
//!                     ▲  └──────────── QUIC ────────────┘ ▲
//!                  [relay]                             [relay]
//!                     └────────────── daemon ─────────────┘
//! ```
//!
//! Every way can be cut by itself. The servers share the master key, as they would in a deployment.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use shared::protocol::join_token::JoinToken;
use sqlx::postgres::PgListener;

use crate::api::{Api, PATIENCE};
use crate::postgres::Postgres;
use crate::programs::bin_dir;
use crate::relay::Relay;
use crate::stream_relay::StreamRelay;

/// One server.
pub struct Server {
    /// `a`, `b`, …
    pub name: &'static str,
    child: Option<Child>,
    http: String,
    quic: String,
    database_url: String,
    /// Between it and the daemons.
    pub daemons: Relay,
    /// Between it and the database.
    pub database: StreamRelay,
    /// The administrator's client at this server.
    pub api: Api,
}

/// One daemon.
pub struct Daemon {
    child: Option<Child>,
    state: PathBuf,
    /// Where its files are.
    pub root: PathBuf,
    /// Its workspace.
    pub workspace_id: String,
}

/// How a deployment is set up.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Environment of every server.
    pub server_env: Vec<(String, String)>,
    /// Environment of single servers, by name.
    pub only: Vec<(&'static str, String, String)>,
    /// Environment of every daemon.
    pub daemon_env: Vec<(String, String)>,
}

impl Plan {
    /// Leases of `seconds`, and daemons that notice a silent server soon.
    #[must_use]
    pub fn quick(seconds: u32) -> Self {
        Self {
            server_env: vec![("HOLDFAST_REPLICA__LEASE".into(), format!("{seconds}s"))],
            only: Vec::new(),
            daemon_env: vec![("HOLDFAST_KEEP_ALIVE_MS".into(), "200".into())],
        }
    }

    /// The same with a variable for one server.
    #[must_use]
    pub fn with(mut self, server: &'static str, (name, value): (String, String)) -> Self {
        self.only.push((server, name, value));
        self
    }
}

/// Servers, daemons and their database.
pub struct Deployment {
    plan: Plan,
    home: tempfile::TempDir,
    postgres: Postgres,
    url: String,
    key: String,
    /// In the order in which they were started.
    pub servers: Vec<Server>,
    /// In the order in which they joined.
    pub daemons: Vec<Daemon>,
}

impl Deployment {
    /// Servers `a` and `b`. None: there is no Postgres to be had, and that is known.
    pub async fn start(plan: Plan) -> Result<Option<Self>> {
        let Some(postgres) = Postgres::start()? else { return Ok(None) };
        let url = postgres.database().await?;
        let home = tempfile::tempdir()?;
        let (servers, daemons) = (Vec::new(), Vec::new());
        let mut deployment =
            Self { plan, home, postgres, url, key: String::new(), servers, daemons };
        for name in ["a", "b"] {
            deployment.add_server(name).await?;
        }
        Ok(Some(deployment))
    }

    /// Starts one more server.
    pub async fn add_server(&mut self, name: &'static str) -> Result<()> {
        // The ports are chosen here, so that relays and addresses are known before the server is.
        let quic = free_udp_port()?;
        let daemons = Relay::start(quic)?;
        let database = StreamRelay::start(self.postgres.place(&self.url)?)?;
        let mut server = Server {
            name,
            child: None,
            http: "127.0.0.1:0".to_owned(),
            quic: quic.to_string(),
            database_url: self.postgres.through(&self.url, database.port())?,
            daemons,
            database,
            api: Api::new("", "")?,
        };
        let ready = self.run(&mut server)?;
        if self.key.is_empty() {
            let link = ready["setup_url"].as_str().context("the first server is set up")?;
            server.api = Api::set_up(&format!("http://{}", server.http), link).await?;
            self.key = server.api.key().to_owned();
        } else {
            server.api = Api::new(&format!("http://{}", server.http), &self.key)?;
        }
        self.servers.push(server);
        Ok(())
    }

    /// Starts a server that was killed again, at its addresses.
    pub fn restart(&mut self, at: usize) -> Result<()> {
        let mut server = self.servers.remove(at);
        let started = self.run(&mut server);
        server.api = Api::new(&format!("http://{}", server.http), &self.key)?;
        self.servers.insert(at, server);
        started.map(drop)
    }

    fn run(&self, server: &mut Server) -> Result<Value> {
        let mut command = Command::new(bin_dir()?.join("controlplane"));
        let public = format!("127.0.0.1:{}", server.daemons.port());
        command
            .args(["serve", "--log-format", "json", "--http", &server.http, "--quic", &server.quic])
            .args(["--database-url", &server.database_url, "--data-dir"])
            .arg(self.home.path().join(server.name))
            .env("HOLDFAST_SECRETS__MASTER_KEY_FILE", self.home.path().join("master.key"))
            .env("HOLDFAST_QUIC__PUBLIC_ADDRESS", public)
            .envs(self.plan.server_env.iter().cloned())
            .envs(
                self.plan
                    .only
                    .iter()
                    .filter(|(name, ..)| *name == server.name)
                    .map(|(_, variable, value)| (variable, value)),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log(self.home.path(), server.name)?);
        let mut child = command.spawn().context("controlplane is built")?;
        let mut lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        let ready = loop {
            let Some(line) = lines.next() else {
                let status = child.wait()?;
                bail!("server {} ended with {status}: {}", server.name, self.logged(server.name));
            };
            match serde_json::from_str::<Value>(&line?) {
                Ok(value) if value["event"] == "ready" => break value,
                _ => {}
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let http = ready["http"].as_str().context("it says where it is")?;
        server.http = http.trim_start_matches("http://").trim_end_matches('/').to_owned();
        server.child = Some(child);
        Ok(ready)
    }

    /// Enrols a daemon at a server, by way of its relay, and waits until it is connected.
    pub async fn join(&mut self, at: usize) -> Result<usize> {
        let number = self.daemons.len();
        let api = self.servers[at].api.clone();
        let workspace = api.post("/workspaces", &json!({"name": format!("box{number}")})).await?;
        let workspace_id = workspace["id"].as_str().context("no workspace id")?.to_owned();
        let path = format!("/workspaces/{workspace_id}/join-tokens");
        let token = api.post(&path, &json!({})).await?;
        let mut token: JoinToken = token["token"].as_str().context("no join token")?.parse()?;
        token.port = self.servers[at].daemons.port();
        let (root, state) = (format!("root{number}"), format!("agentd{number}"));
        let (root, state) = (self.home.path().join(root), self.home.path().join(state));
        std::fs::create_dir_all(&root)?;
        let mut join = self.agentd(&state)?;
        join.args(["join", &format!("http://{}", self.servers[at].http), "--token"])
            .arg(token.to_string())
            .arg("--root")
            .arg(&root);
        let mut events = api.socket("/events").await?;
        events.until(|event| event["type"] == "ready").await?;
        let child = Some(join.arg("--state-dir").arg(&state).spawn()?);
        self.daemons.push(Daemon { child, state, root, workspace_id: workspace_id.clone() });
        let is_up = |event: &Value| {
            event["workspace"]["id"] == workspace_id.as_str()
                && event["workspace"]["status"] == "connected"
        };
        events.until(is_up).await.with_context(|| {
            format!("the daemon did not connect: {}", self.logged(&format!("agentd{number}")))
        })?;
        Ok(number)
    }

    fn agentd(&self, state: &Path) -> Result<Command> {
        let name = state.file_name().and_then(|name| name.to_str()).context("a plain name")?;
        let mut command = Command::new(bin_dir()?.join("agentd"));
        command
            .envs(self.plan.daemon_env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(self.home.path(), name)?);
        Ok(command)
    }

    /// A model for every server.
    pub async fn model(&self, kind: &str, base_url: &str) -> Result<String> {
        let api = &self.servers[0].api;
        let provider = json!({"kind": kind, "name": format!("{kind} {base_url}"), "base_url": base_url, "api_key": "none"});
        let provider = api.post("/providers", &provider).await?;
        let model = json!({
            "provider_id": provider["id"], "model": "test", "display_name": "test", "context_limit": 200_000, "default": true,
        });
        let model = api.post("/models", &model).await?;
        Ok(model["id"].as_str().with_context(|| format!("no model id in {model}"))?.to_owned())
    }

    /// The scripted model with these turns.
    pub async fn scripted(&self, scenario: &Value) -> Result<()> {
        let file = self.home.path().join("scenario.json");
        std::fs::write(&file, scenario.to_string())?;
        self.model("scripted", file.to_str().context("a plain name")?).await.map(drop)
    }

    /// What a daemon says of itself on its own machine.
    pub fn status_of(&self, daemon: usize) -> Result<Value> {
        let state = &self.daemons[daemon].state;
        let mut status = Command::new(bin_dir()?.join("agentd"));
        let out = status.args(["status", "--json", "--state-dir"]).arg(state).output()?;
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    /// A statement on the database, past the relays; the first column of the first row as text.
    pub async fn ask(&self, sql: &str) -> Result<Option<String>> {
        self.postgres.ask(&self.url, sql).await
    }

    /// Tells from now on who takes chats.
    pub async fn owners(&self) -> Result<Owners> {
        self.ask(
            "CREATE OR REPLACE FUNCTION tell_owner() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_notify(''owners'', NEW.id || '' '' || NEW.epoch); RETURN NEW; END'",
        )
        .await?;
        self.ask(
            "CREATE OR REPLACE TRIGGER tell_owner AFTER UPDATE ON chats FOR EACH ROW \
             WHEN (OLD.epoch <> NEW.epoch AND NEW.worker_id IS NOT NULL) \
             EXECUTE FUNCTION tell_owner()",
        )
        .await?;
        let mut listener = PgListener::connect(&self.url).await?;
        listener.listen("owners").await?;
        Ok(Owners { listener })
    }

    /// A folder for a test's own files.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The end of a program's log: a server's name, or `agentd0`.
    pub fn logged(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.home.path().join(format!("{name}.log")));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The logs of everybody, for messages.
    pub fn logs(&self) -> String {
        let names = self.servers.iter().map(|server| server.name.to_owned());
        let names = names.chain((0..self.daemons.len()).map(|number| format!("agentd{number}")));
        names.map(|name| format!("--- {name}\n{}\n", self.logged(&name))).collect()
    }
}

/// Who takes chats, as the database says it: no clock of a test is asked again and again.
pub struct Owners {
    listener: PgListener,
}

impl Owners {
    /// Waits until the chat is taken under a higher epoch; when that was heard of.
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    pub async fn taken(&mut self, chat: &str, after: i64) -> Result<Instant> {
        let waiting = async {
            loop {
                let told = self.listener.recv().await?;
                let (id, epoch) = told.payload().split_once(' ').context("an id and an epoch")?;
                if id == chat && epoch.parse::<i64>()? > after {
                    return Ok(Instant::now());
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.context("nobody took the chat")?
    }
}

impl Server {
    /// SIGKILL, then reaps.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the server runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, then waits for the end; whether it was a clean one.
    pub fn stop(&mut self) -> Result<bool> {
        self.signal(Signal::SIGTERM)?;
        let mut child = self.child.take().context("the server runs")?;
        Ok(child.wait()?.success())
    }

    /// The same without waiting; the thread answers whether it was a clean end.
    pub fn stop_in_background(&mut self) -> Result<std::thread::JoinHandle<bool>> {
        self.signal(Signal::SIGTERM)?;
        let mut child = self.child.take().context("the server runs")?;
        Ok(std::thread::spawn(move || child.wait().is_ok_and(|status| status.success())))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("the server runs")?;
        Ok(kill(Pid::from_raw(i32::try_from(child.id())?), signal)?)
    }
}

impl Daemon {
    /// The lines of the ledger file of the tests' commands, in order.
    pub fn ledger(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.root.join("ledger")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let servers = self.servers.iter_mut().filter_map(|server| server.child.take());
        let daemons = self.daemons.iter_mut().filter_map(|daemon| daemon.child.take());
        for mut child in daemons.chain(servers) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn log(home: &Path, name: &str) -> Result<std::fs::File> {
    let path = home.join(format!("{name}.log"));
    Ok(std::fs::File::options().create(true).append(true).open(path)?)
}

/// A port that was free a moment ago.
fn free_udp_port() -> Result<SocketAddr> {
    let address = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    ensure!(address.port() > 0, "the kernel chose a port");
    Ok(address)
}
