//! Starts the release programs, sets them up by HTTP as a person would, and talks to them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running control plane with one workspace joined.
pub struct Product {
    server: Child,
    daemon: Option<Child>,
    http: reqwest::Client,
    url: String,
    key: String,
    /// The joined workspace.
    pub workspace_id: String,
    home: tempfile::TempDir,
    /// From the start of the daemon (already enrolled) to the workspace shown as connected.
    pub daemon_ready: Vec<Duration>,
}

impl Product {
    /// Starts both and sets up an administrator, a key and a workspace.
    pub async fn start() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let (server, ready, _) = start_server(home.path())?;
        let url = ready["http"].as_str().context("no http in the ready line")?.to_owned();
        let setup_url = ready["setup_url"].as_str().context("no setup_url in the ready line")?;
        let setup_token = setup_url.rsplit(['=', '/', '#']).next().unwrap_or_default();
        // Loopback only, so the rules of the product's own client do not apply here.
        let http = reqwest::Client::builder().tcp_nodelay(true).build()?;
        let base = format!("{url}/api/v1");
        let setup = json!({"setup_token": setup_token, "username": "bench", "password": "correct horse battery"});
        let response = http.post(format!("{base}/setup")).json(&setup).send().await?;
        let cookie = response
            .headers()
            .get("set-cookie")
            .and_then(|c| c.to_str().ok())
            .and_then(|c| c.split(';').next())
            .context("set-up gave no session")?
            .to_owned();
        let key = http
            .post(format!("{base}/api-keys"))
            .header("cookie", cookie)
            .header("x-holdfast-csrf", "1")
            .json(&json!({"name": "bench"}))
            .send()
            .await?
            .json::<Value>()
            .await?;
        let key = key["key"].as_str().with_context(|| format!("no key in {key}"))?.to_owned();
        let mut product = Self {
            server,
            daemon: None,
            http,
            url,
            key,
            workspace_id: String::new(),
            home,
            daemon_ready: Vec::new(),
        };
        product.join().await?;
        Ok(product)
    }

    async fn join(&mut self) -> Result<()> {
        let workspace = self.post("/workspaces", &json!({"name": "bench"})).await?;
        self.workspace_id = workspace["id"].as_str().context("no workspace id")?.to_owned();
        let token = self
            .post(&format!("/workspaces/{}/join-tokens", self.workspace_id), &json!({}))
            .await?;
        let token = token["token"].as_str().context("no join token")?.to_owned();
        let root = self.home.path().join("root");
        std::fs::create_dir_all(&root)?;
        let mut join = Command::new(bin("agentd")?);
        join.args(["join", &self.url, "--token", &token, "--root"]).arg(&root);
        self.start_daemon(join).await
    }

    /// Starts the enrolled daemon again and notes how long it took to be connected.
    pub async fn restart_daemon(&mut self) -> Result<()> {
        self.stop_daemon().await?;
        let mut run = Command::new(bin("agentd")?);
        run.arg("run");
        self.start_daemon(run).await
    }

    async fn start_daemon(&mut self, mut command: Command) -> Result<()> {
        let mut events = self.socket("/events").await?;
        let start = now();
        let state = self.home.path().join("agentd");
        self.daemon = Some(
            command
                .arg("--state-dir")
                .arg(state)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        let is_connected = |event: &Value| event["workspace"]["status"] == "connected";
        events.until(is_connected).await?;
        self.daemon_ready.push(start.elapsed());
        Ok(())
    }

    async fn stop_daemon(&mut self) -> Result<()> {
        let mut events = self.socket("/events").await?;
        if let Some(mut daemon) = self.daemon.take() {
            terminate(&mut daemon)?;
            events.until(|event| event["workspace"]["status"] == "unreachable").await?;
        }
        Ok(())
    }

    /// A model of the mock at `base_url`, and its id.
    pub async fn model(&self, base_url: &str) -> Result<String> {
        let provider = json!({"kind": "openai_compatible", "name": format!("bench {base_url}"), "base_url": base_url, "api_key": "none"});
        let provider = self.post("/providers", &provider).await?;
        let model = json!({"provider_id": provider["id"], "model": "bench", "display_name": "bench", "context_limit": 1_000_000});
        let model = self.post("/models", &model).await?;
        Ok(model["id"].as_str().with_context(|| format!("no model id in {model}"))?.to_owned())
    }

    /// POST with the key; the answer's JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let response = self
            .http
            .post(format!("{}/api/v1{path}", self.url))
            .bearer_auth(&self.key)
            .json(body)
            .send()
            .await?;
        let status = response.status();
        let value: Value = response.json().await.unwrap_or_default();
        ensure!(status.is_success(), "POST {path} answered {status}: {value}");
        Ok(value)
    }

    /// Waits for the end of the process at `path`; its final view.
    ///
    /// Follows from an offset that no output reaches, so that only the end is told.
    pub async fn wait_process(&self, path: &str) -> Result<Value> {
        let follow = format!("{}/api/v1{path}/output/follow?offset={}", self.url, 1_u64 << 50);
        let response = self.http.get(follow).bearer_auth(&self.key).send().await?;
        ensure!(response.status().is_success(), "following {path} answered {}", response.status());
        let events = response.text().await?;
        let last = events
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .next_back()
            .with_context(|| format!("no end in {events}"))?;
        let end: Value = serde_json::from_str(last)?;
        Ok(end.get("process").cloned().unwrap_or(end))
    }

    /// A WebSocket below `/api/v1`.
    pub async fn socket(&self, path: &str) -> Result<Socket> {
        let url = format!("{}/api/v1{path}", self.url.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {}", self.key).parse()?);
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        if let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = socket.get_ref() {
            tcp.set_nodelay(true)?;
        }
        Ok(Socket { socket, waiting: Vec::new() })
    }

    /// Resident memory of the server, in MiB.
    pub fn server_rss_mib(&self) -> Result<f64> {
        rss_mib(self.server.id())
    }

    /// Resident memory of the daemon, in MiB.
    pub fn daemon_rss_mib(&self) -> Result<f64> {
        rss_mib(self.daemon.as_ref().context("no daemon runs")?.id())
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        for child in self.daemon.iter_mut().chain([&mut self.server]) {
            let _ = terminate(child);
        }
    }
}

/// Starts a server in `home` and waits for its ready line.
pub fn start_server(home: &Path) -> Result<(Child, Value, Duration)> {
    let start = now();
    let mut server = Command::new(bin("controlplane")?)
        .args([
            "serve",
            "--http",
            "127.0.0.1:0",
            "--quic",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--data-dir",
        ])
        .arg(home.join("server"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("piped")?).lines();
    while let Some(line) = lines.next() {
        if let Ok(value) = serde_json::from_str::<Value>(&line?)
            && value["event"] == "ready"
        {
            let ready = start.elapsed();
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((server, value, ready));
        }
    }
    anyhow::bail!("the server ended before it was ready")
}

/// Ends a child politely and reaps it.
pub fn terminate(child: &mut Child) -> Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    child.wait()?;
    Ok(())
}

/// A release program beside this one.
pub fn bin(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is not built; run it as cargo xtask bench", path.display());
    Ok(path)
}

/// Resident memory of a process, in MiB.
pub fn rss_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// A stream of events.
pub struct Socket {
    socket: tokio_tungstenite::WebSocketStream<
        tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
    >,
    waiting: Vec<Value>,
}

impl Socket {
    /// The next frame as text, and when it was there.
    pub async fn frame(&mut self) -> Result<(String, Instant)> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .context("no event came in time")?
                .context("the stream ended")??;
            if let Message::Text(text) = message {
                return Ok((text.to_string(), now()));
            }
        }
    }

    /// Reads until an event fits.
    pub async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            while !self.waiting.is_empty() {
                let event = self.waiting.remove(0);
                if fits(&event) {
                    return Ok(event);
                }
            }
            let (text, _) = self.frame().await?;
            match serde_json::from_str(&text)? {
                Value::Array(events) => self.waiting = events,
                event => self.waiting = vec![event],
            }
        }
    }
}
