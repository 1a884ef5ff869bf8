//! A viewer of a PTY over HTTP, as a program would write it: text frames are control, binary frames are
//! bytes.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::api::{Api, PATIENCE};

type Stream =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// An attached viewer.
pub struct PtyViewer {
    socket: Stream,
    /// The last `attached`.
    pub attached: Value,
    /// What the screen that came first brought, and output since, as it came.
    pub screen: Vec<u8>,
    /// Output that came after the screen.
    pub output: Vec<u8>,
    /// Control frames in the order they came.
    pub told: Vec<Value>,
    screen_missing: u64,
    next_seq: u64,
}

/// What came.
#[derive(Debug)]
pub enum Came {
    /// A control frame.
    Told(Value),
    /// Bytes.
    Bytes,
    /// The end, with its code and reason.
    Closed(u16, String),
}

impl PtyViewer {
    /// Attaches; `query` goes behind the `?`.
    pub async fn open(api: &Api, workspace: &str, pty: &str, query: &str) -> Result<Self> {
        let path = format!("/workspaces/{workspace}/ptys/{pty}/attach?{query}");
        let mut request = api.websocket_url(&path).into_client_request()?;
        request.headers_mut().insert("authorization", api.bearer().parse()?);
        let (socket, _) = tokio_tungstenite::connect_async(request).await?;
        let mut viewer = Self {
            socket,
            attached: Value::Null,
            screen: Vec::new(),
            output: Vec::new(),
            told: Vec::new(),
            screen_missing: 0,
            next_seq: 1,
        };
        viewer.until(|told| told["type"] == "attached").await?;
        Ok(viewer)
    }

    /// The status and code with which an attach is refused.
    pub async fn refused(
        api: &Api,
        workspace: &str,
        pty: &str,
        query: &str,
    ) -> Result<(u16, String)> {
        let path = format!("/workspaces/{workspace}/ptys/{pty}/attach?{query}");
        let mut request = api.websocket_url(&path).into_client_request()?;
        request.headers_mut().insert("authorization", api.bearer().parse()?);
        match tokio_tungstenite::connect_async(request).await {
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let body: Value = serde_json::from_slice(body).unwrap_or_default();
                let code = body["code"].as_str().unwrap_or_default().to_owned();
                Ok((answer.status().as_u16(), code))
            }
            Err(error) => Err(error.into()),
            Ok(_) => bail!("it was attached"),
        }
    }

    /// Whether it may type.
    #[must_use]
    pub fn is_writer(&self) -> bool {
        self.told
            .iter()
            .rev()
            .find_map(|told| match told["type"].as_str() {
                Some("writer") => told["is_you"].as_bool(),
                Some("attached") => told["is_writer"].as_bool(),
                _ => None,
            })
            .unwrap_or_default()
    }

    /// Sends a control frame.
    pub async fn say(&mut self, said: &Value) -> Result<()> {
        Ok(self.socket.send(Message::text(said.to_string())).await?)
    }

    /// Types, with the number that is due; the number.
    pub async fn type_text(&mut self, text: &str) -> Result<u64> {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.say(&json!({"type": "input", "seq": seq, "text": text})).await?;
        Ok(seq)
    }

    /// The next thing that comes.
    pub async fn next(&mut self) -> Result<Came> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            let message = next.with_context(|| format!("nothing came; told {:?}", self.told))?;
            match message {
                Some(Ok(Message::Text(text))) => {
                    let told: Value = serde_json::from_str(&text)?;
                    self.note(&told);
                    self.told.push(told.clone());
                    return Ok(Came::Told(told));
                }
                Some(Ok(Message::Binary(bytes))) => {
                    self.bytes(&bytes);
                    return Ok(Came::Bytes);
                }
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame
                        .map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    return Ok(Came::Closed(code, reason));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(Came::Closed(1006, String::new())),
            }
        }
    }

    /// Reads until a control frame fits; it.
    pub async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            match self.next().await? {
                Came::Told(told) if fits(&told) => return Ok(told),
                Came::Closed(code, reason) => {
                    bail!("closed with {code} {reason}; told {:?}", self.told)
                }
                Came::Told(_) | Came::Bytes => {}
            }
        }
    }

    /// Reads until the screen or the output since has this text. Other events, pings among them, do not
    /// prolong the wait.
    pub async fn shows(&mut self, text: &str) -> Result<()> {
        if let Ok(found) = tokio::time::timeout(PATIENCE * 2, self.read_until_shown(text)).await {
            return found;
        }
        let shown = self.end_of_output();
        bail!("it does not show {text:?}; told {:?}; it shows {shown}", self.told)
    }

    fn end_of_output(&self) -> String {
        let shown = &self.output[self.output.len().saturating_sub(2_000)..];
        String::from_utf8_lossy(shown).into_owned()
    }

    async fn read_until_shown(&mut self, text: &str) -> Result<()> {
        let wanted = text.as_bytes();
        let has = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        // Each byte is looked at once, however much comes.
        let mut seen = 0;
        loop {
            let from = seen.min(self.output.len());
            if has(&self.output[from..]) || has(&self.screen) {
                break;
            }
            seen = self.output.len().saturating_sub(wanted.len());
            if let Came::Closed(code, reason) = self.next().await? {
                let shown = self.end_of_output();
                bail!("closed with {code} {reason} before it showed {text}; it shows {shown}");
            }
        }
        Ok(())
    }

    /// Reads until the server closes.
    pub async fn closed(&mut self) -> Result<(u16, String)> {
        loop {
            if let Came::Closed(code, reason) = self.next().await? {
                return Ok((code, reason));
            }
        }
    }

    /// Goes in order.
    pub async fn close(mut self) -> Result<()> {
        self.socket.close(None).await?;
        Ok(())
    }

    fn note(&mut self, told: &Value) {
        match told["type"].as_str() {
            Some("attached") => {
                self.attached = told.clone();
                self.next_seq = told["taken_seq"].as_u64().unwrap_or_default() + 1;
                self.begin(&told["screen"]);
            }
            Some("screen") => self.begin(&told["screen"]),
            _ => {}
        }
    }

    fn begin(&mut self, screen: &Value) {
        self.screen_missing = screen["len"].as_u64().unwrap_or_default();
        if !screen.is_null() {
            self.screen.clear();
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let of_screen = usize::try_from(self.screen_missing).unwrap_or(usize::MAX).min(bytes.len());
        self.screen.extend_from_slice(&bytes[..of_screen]);
        self.screen_missing -= of_screen as u64;
        self.output.extend_from_slice(&bytes[of_screen..]);
    }
}

/// Opens a PTY that runs a command line; its id.
pub async fn open_pty(api: &Api, workspace: &str, command: &str) -> Result<String> {
    let body = json!({"command": command, "cols": 80, "rows": 24});
    let pty = api.post(&format!("/workspaces/{workspace}/ptys"), &body).await?;
    ensure!(pty["state"] == "running", "{pty}");
    Ok(pty["id"].as_str().context("no id")?.to_owned())
}
