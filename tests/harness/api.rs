//! A client of the HTTP API, as a script would write it: a key, JSON, and a WebSocket.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client with a key.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    /// Speaks to the server at `url` (`http://127.0.0.1:7070`) with `key`; an empty key is none.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        // The first one in a process counts; a second says so and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Loopback only, so the rules of the product's own client do not apply here.
        let http = reqwest::Client::builder().tcp_nodelay(true).timeout(PATIENCE).build()?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// The same client without the connections it holds: for servers that were killed.
    pub fn anew(&self) -> Result<Self> {
        Self::new(&self.url, &self.key)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Sets up the first administrator and makes a key; the client with that key.
    pub async fn set_up(url: &str, setup_url: &str) -> Result<Self> {
        let anonymous = Self::new(url, "")?;
        let token = setup_url.rsplit(['=', '/', '#']).next().unwrap_or_default();
        let body = serde_json::json!({
            "setup_token": token, "username": "admin", "password": "correct horse battery staple",
        });
        let response =
            anonymous.http.post(format!("{url}/api/v1/setup")).json(&body).send().await?;
        let status = response.status();
        let cookie = response
            .headers()
            .get("set-cookie")
            .and_then(|cookie| cookie.to_str().ok())
            .and_then(|cookie| cookie.split(';').next())
            .map(str::to_owned);
        let Some(cookie) = cookie else {
            bail!("set-up answered {status} without a session: {}", response.text().await?);
        };
        let made: Value = anonymous
            .http
            .post(format!("{url}/api/v1/api-keys"))
            .header("cookie", cookie)
            .header("x-holdfast-csrf", "1")
            .json(&serde_json::json!({"name": "tests"}))
            .send()
            .await?
            .json()
            .await?;
        let key = made["key"].as_str().with_context(|| format!("no key in {made}"))?;
        Self::new(url, key)
    }

    /// One request below `/api/v1`; the status and the JSON of the answer (null where it has none).
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let method: reqwest::Method = method.parse()?;
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.unwrap_or_default()))
    }

    /// GET that must succeed.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, value) = self.request("GET", path, None).await?;
        ensure!((200..300).contains(&status), "GET {path} answered {status}: {value}");
        Ok(value)
    }

    /// POST that must succeed.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let (status, value) = self.request("POST", path, Some(body)).await?;
        ensure!((200..300).contains(&status), "POST {path} answered {status}: {value}");
        Ok(value)
    }

    /// POST that may be repeated with the same `key`; for servers that
    /// may be killed before they answer.
    pub async fn post_idempotent(&self, path: &str, body: &Value, key: &str) -> Result<Value> {
        let request = self
            .http
            .post(format!("{}/api/v1{path}", self.url))
            .bearer_auth(&self.key)
            .header("idempotency-key", key)
            .json(body);
        let response = request.send().await?;
        let status = response.status();
        let value: Value = response.json().await?;
        ensure!(status.is_success(), "POST {path} answered {status}: {value}");
        Ok(value)
    }

    /// Uploads raw bytes; the status and the JSON of the answer.
    pub async fn upload(&self, path: &str, bytes: Vec<u8>) -> Result<(u16, Value)> {
        let request = self.http.post(format!("{}/api/v1{path}", self.url));
        let response = request.bearer_auth(&self.key).body(bytes).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.unwrap_or_default()))
    }

    /// GET of raw bytes that must succeed.
    pub async fn download(&self, path: &str) -> Result<Vec<u8>> {
        let request = self.http.get(format!("{}/api/v1{path}", self.url));
        let response = request.bearer_auth(&self.key).send().await?;
        let status = response.status();
        ensure!(status.is_success(), "GET {path} answered {status}");
        Ok(response.bytes().await?.to_vec())
    }

    /// Every message of a chat, oldest first.
    pub async fn messages(&self, chat_id: &str) -> Result<Vec<Value>> {
        let page = self.get(&format!("/chats/{chat_id}/messages?limit=200")).await?;
        Ok(page["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits for the end of a process; its final view.
    ///
    /// Follows from an offset that no output reaches, so that only the end is told.
    pub async fn wait_process(&self, workspace_id: &str, process_id: &str) -> Result<Value> {
        let path = format!(
            "/workspaces/{workspace_id}/processes/{process_id}/output/follow?offset={}",
            1_u64 << 50
        );
        let request = self.http.get(format!("{}/api/v1{path}", self.url)).bearer_auth(&self.key);
        let response = request.send().await?;
        ensure!(response.status().is_success(), "following answered {}", response.status());
        let events = response.text().await?;
        let last = events.lines().filter_map(|line| line.strip_prefix("data:")).next_back();
        let end: Value =
            serde_json::from_str(last.with_context(|| format!("no end in {events}"))?)?;
        Ok(end.get("process").cloned().unwrap_or(end))
    }

    /// Server-sent events below `/api/v1`, after the event with the id `last`.
    pub async fn events(&self, path: &str, last: Option<&str>) -> Result<Events> {
        let url = format!("{}/api/v1{path}", self.url);
        // Without the client's overall time limit: a stream lives as long as it is read.
        let http = reqwest::Client::builder().tcp_nodelay(true).build()?;
        let mut request = http.get(url).bearer_auth(&self.key);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await?;
        ensure!(response.status().is_success(), "GET {path} answered {}", response.status());
        Ok(Events { response, buffer: Vec::new(), last: Value::Null, last_id: None })
    }

    /// The address of a WebSocket below `/api/v1`.
    #[must_use]
    pub fn websocket_url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.url.replacen("http", "ws", 1))
    }

    /// The value of the header that shows who asks.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    /// GET that must succeed; the body and one of the headers.
    pub async fn bytes(&self, path: &str, header: &str) -> Result<(Vec<u8>, String)> {
        let request = self.http.get(format!("{}/api/v1{path}", self.url)).bearer_auth(&self.key);
        let response = request.send().await?;
        let status = response.status();
        let value = response.headers().get(header).and_then(|value| value.to_str().ok());
        let value = value.unwrap_or_default().to_owned();
        let bytes = response.bytes().await?;
        ensure!(status.is_success(), "GET {path} answered {status}");
        Ok((bytes.to_vec(), value))
    }

    /// A WebSocket below `/api/v1`.
    pub async fn socket(&self, path: &str) -> Result<Socket> {
        let mut request = self.websocket_url(path).into_client_request()?;
        request.headers_mut().insert("authorization", self.bearer().parse()?);
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        if let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = socket.get_ref() {
            tcp.set_nodelay(true)?;
        }
        Ok(Socket { socket, waiting: VecDeque::new(), last: Value::Null })
    }
}

/// A stream of server-sent events.
pub struct Events {
    response: reqwest::Response,
    buffer: Vec<u8>,
    last: Value,
    /// Id of the last event that had one: what a browser sends as `Last-Event-ID`.
    pub last_id: Option<String>,
}

impl Events {
    /// The data of the next event. Comments and events without data are passed over.
    pub async fn event(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|bytes| bytes == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let block = String::from_utf8(block)?;
                let data: Vec<&str> =
                    block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                if data.is_empty() {
                    continue;
                }
                if let Some(id) = block.lines().find_map(|line| line.strip_prefix("id:")) {
                    self.last_id = Some(id.trim().to_owned());
                }
                self.last = serde_json::from_str(data.join("\n").trim())?;
                return Ok(self.last.clone());
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk
                .with_context(|| format!("no event came in time; the last was {}", self.last))??
                .with_context(|| format!("the stream ended after {}", self.last))?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

/// A stream of events.
pub struct Socket {
    socket: tokio_tungstenite::WebSocketStream<
        tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>,
    >,
    waiting: VecDeque<Value>,
    last: Value,
}

impl Socket {
    /// The next frame as text, and when it was there.
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    pub async fn frame(&mut self) -> Result<(String, Instant)> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            let message = next
                .with_context(|| format!("no event came in time; the last was {}", self.last))?
                .with_context(|| format!("the stream ended after {}", self.last))??;
            if let Message::Text(text) = message {
                return Ok((text.to_string(), Instant::now()));
            }
        }
    }

    /// Reads what is still on its way, up to the close; its code and reason, and the cursor of the last
    /// event before it. 1006 without a reason, as browsers say it: it was cut off. None: it is open, since
    /// what was told `last` came.
    pub async fn until_closed(&mut self, last: &str) -> Result<Option<(u16, String, String)>> {
        let mut cursor = String::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match next.context("neither an event nor a close came in time")? {
                Some(Ok(Message::Close(Some(close)))) => {
                    return Ok(Some((close.code.into(), close.reason.to_string(), cursor)));
                }
                Some(Ok(Message::Text(text))) if text.contains(last) => return Ok(None),
                Some(Ok(Message::Text(text))) => {
                    let events: Value = serde_json::from_str(&text)?;
                    let last = events.as_array().and_then(|events| events.last());
                    let last = last.and_then(|last| last["cursor"].as_str());
                    cursor = last.map_or(cursor, str::to_owned);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(Some((1006, String::new(), cursor))),
            }
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Result<Value> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.last = event.clone();
                return Ok(event);
            }
            let (text, _) = self.frame().await?;
            self.waiting = match serde_json::from_str(&text)? {
                Value::Array(events) => events.into(),
                event => [event].into(),
            };
        }
    }

    /// Reads until an event fits. Other events, pings among them, do not prolong the wait.
    pub async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = async {
            loop {
                let event = self.event().await?;
                if fits(&event) {
                    return Ok(event);
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.with_context(|| format!("no such event came in time; the last was {}", self.last))?
    }
}
