//! A server in this process, on a port of its own, with one administrator.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use controlplane::app::Surroundings;
use controlplane::http::session::new_setup_link;
use controlplane::options::{Sources, load};
use controlplane::serve::{Server, start};
use serde_json::{Value, json};
use shared::clock::SystemClock;
use shared::ids::SystemIds;
use shared::lifecycle::Lifecycle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server and its administrator's credentials.
pub struct World {
    pub server: Server,
    pub cookie: String,
    pub key: String,
    lifecycle: Lifecycle,
    pub dir: tempfile::TempDir,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The stable code of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with_body_limit("2MiB").await
    }

    pub async fn with_body_limit(body_limit: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flag = |path, value: &str| (path, "--test", value.to_owned());
        let sources = Sources {
            flags: vec![
                flag("http.listen", "127.0.0.1:0"),
                flag("quic.listen", "127.0.0.1:0"),
                flag("http.read_timeout", "700ms"),
                flag("http.body_limit", body_limit),
                flag("data_dir", &dir.path().join("data").display().to_string()),
            ],
            ..Sources::default()
        };
        let (options, _) = load(&sources).unwrap();
        controlplane::fleet::install_provider();
        let lifecycle = Lifecycle::new();
        let around = Surroundings {
            lifecycle: lifecycle.clone(),
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds::new()),
        };
        let server = start(options, around, false).await.unwrap();
        let mut world = Self { server, cookie: String::new(), key: String::new(), lifecycle, dir };
        world.set_up().await;
        world
    }

    async fn set_up(&mut self) {
        let app = &self.server.app;
        let link = new_setup_link(&app.store, app.clock.as_ref(), "").await.unwrap();
        let token = link.rsplit('=').next().unwrap();
        let body = json!({"setup_token": token, "username": "mira", "password": "correct horse"});
        let made = self.json("POST", "/setup", "", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let cookie = made.header("set-cookie").unwrap();
        self.cookie = cookie.split(';').next().unwrap().to_owned();
        let head = format!("Cookie: {}\r\nX-Holdfast-CSRF: 1\r\n", self.cookie);
        let made = self.json("POST", "/api-keys", &head, &json!({"name": "tests"})).await;
        assert_eq!(made.status, 201, "{made:?}");
        self.key = made.json()["key"].as_str().unwrap().to_owned();
    }

    /// A scripted model that is the default one; `scenario` is its file, none: the built-in one.
    pub async fn scripted_model(&self, scenario: Option<&str>) {
        let file = scenario.map(|text| {
            let path = self.dir.path().join("scenario.json");
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        });
        let provider = json!({"kind": "scripted", "name": "s", "base_url": file});
        let provider = self.post("/providers", &provider).await.json();
        let model = json!({"provider_id": provider["id"], "model": "m"});
        assert_eq!(self.post("/models", &model).await.status, 201);
    }

    /// Follows a chat until it waits for people or clients; what it waits for.
    pub async fn until_asked(&self, chat: &str) -> Value {
        let app = &self.server.app;
        let me = self.get("/me").await.json();
        let user = me["user"]["id"].as_str().unwrap().parse().unwrap();
        let mut stream = app.chats.subscribe(user, chat.parse().unwrap(), None).await.unwrap();
        let asked = async {
            loop {
                for envelope in stream.next().await.unwrap() {
                    let event = serde_json::to_value(&envelope).unwrap();
                    if event["actions"].as_array().is_some_and(|actions| !actions.is_empty()) {
                        return event["actions"].clone();
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("the chat asks")
    }

    pub fn address(&self) -> SocketAddr {
        self.server.http
    }

    /// The header of the administrator's key.
    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.key)
    }

    /// One request below `/api/v1` with a body.
    pub async fn json(&self, method: &str, path: &str, head: &str, body: &Value) -> Answer {
        let head = format!("{head}Content-Type: application/json\r\n");
        self.send(method, &format!("/api/v1{path}"), &head, body.to_string().as_bytes()).await
    }

    /// A POST with the administrator's key.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.json("POST", path, &self.bearer(), body).await
    }

    /// A GET with the administrator's key.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("/api/v1{path}"), &self.bearer(), b"").await
    }

    /// One request, the usual head around it.
    pub async fn send(&self, method: &str, target: &str, head: &str, body: &[u8]) -> Answer {
        let host = self.address();
        let length = body.len();
        let mut bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{head}Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes).await
    }

    /// Exactly these bytes.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        // A server that refuses early need not read the rest.
        let _ = stream.write_all(bytes).await;
        read_answer(&mut stream).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub async fn end(self) {
        assert_eq!(self.send("GET", "/healthz", "", b"").await.status, 200, "the server lives");
        self.lifecycle.shut_down(Duration::from_secs(10)).await;
        self.server.app.store.close().await;
    }
}

/// Reads one answer with a content length, or until the connection ends.
pub async fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let read = async {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
                let answer = Answer { status: status.unwrap_or(0), head, body: Vec::new() };
                let length = answer.header("content-length").and_then(|text| text.parse().ok());
                let body = bytes.split_off(end + 4);
                return read_body(stream, answer, body, length.unwrap_or(0)).await;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn read_body(
    stream: &mut TcpStream,
    answer: Answer,
    mut body: Vec<u8>,
    length: usize,
) -> io::Result<Answer> {
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            break;
        }
    }
    Ok(Answer { body, ..answer })
}
