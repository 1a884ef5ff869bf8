//! One WebSocket: events go out, nearly nothing comes in, and nobody waits for ever.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::ending::Ending;
use super::source::{Source, SourceEnd};
use crate::app::App;
use crate::http::code::Code;
use crate::http::json::parse;

const PING_EVERY: Duration = Duration::from_secs(20);
/// Silence of the other side after which it counts as gone.
const PONG_PATIENCE: Duration = Duration::from_secs(60);
/// How long a reader may take to reach the close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// The same for one that was too slow: what it has not read yet stands before the close frame.
const SLOW_PATIENCE: Duration = Duration::from_secs(60);
/// A ping that does not fit into the socket at once tells nothing new.
const PING_PATIENCE: Duration = Duration::from_secs(1);
/// Frames a client may send at once before each further one waits.
const FRAMES_FREE: u32 = 20;
const FRAME_PAUSE: Duration = Duration::from_millis(50);

/// Serves one socket until its end.
pub async fn serve(app: App, socket: WebSocket, mut source: impl Source, access: Access) {
    let (sink, stream) = socket.split();
    let now = Instant::from_std(app.clock.now());
    let mut socket = Socket {
        out: Out { sink, cursor: String::new() },
        stream,
        soft: app.lifecycle.soft(),
        access,
        heard_at: now,
        frames: 0,
        request_id_source: app.clone(),
    };
    let ending = socket.run(&mut source).await;
    // Nobody watches any more, however long the close frame takes to get through.
    drop(source);
    let patience = if ending.0 == 4008 { SLOW_PATIENCE } else { CLOSE_PATIENCE };
    let frame = ending.frame();
    let soft = socket.soft.clone();
    let sink = &mut socket.out.sink;
    let close = async {
        // Who closed first is not told again, but the answer to their close is still to be sent.
        if sink.send(Message::Close(Some(frame))).await.is_err() {
            let _ = sink.flush().await;
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(patience, close) => {}
        // One that is slow is not waited for by a server that ends.
        () = soft.cancelled(), if patience == SLOW_PATIENCE => {}
    }
    // A socket that ends with something unheard in it is reset, and what the client has not read yet
    // is lost, the reason of the end too.
    let mut stream = socket.stream;
    let outlast = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::select! {
        () = outlast => {}
        () = tokio::time::sleep(patience) => {}
        () = soft.cancelled() => {}
    }
}

struct Socket {
    out: Out,
    stream: SplitStream<WebSocket>,
    soft: CancellationToken,
    access: Access,
    heard_at: Instant,
    frames: u32,
    request_id_source: App,
}

struct Out {
    sink: SplitSink<WebSocket, Message>,
    /// Of the last event that was handed to the socket whole.
    cursor: String,
}

impl Socket {
    async fn run(&mut self, source: &mut impl Source) -> Ending {
        let mut ticks = tokio::time::interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Fair: a flood from the other side must not keep its own events from it.
            let step = tokio::select! {
                () = self.soft.cancelled() => Err(Ending::shutting_down()),
                verdict = self.access.ended() => Err(Ending::of_access(verdict)),
                _ = ticks.tick() => self.tick().await,
                message = self.stream.next() => self.hear(message).await,
                batch = source.next() => self.tell(batch, source).await,
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    async fn tell(
        &mut self,
        batch: Result<Vec<Value>, SourceEnd>,
        source: &impl Source,
    ) -> Result<(), Ending> {
        let events = batch.map_err(|end| match end {
            SourceEnd::NotFound => Ending::of(4404, Code::NotFound),
            SourceEnd::Unavailable => Ending::of(1013, Code::Unavailable),
        })?;
        let cursor = events.iter().rev().find_map(|event| event["cursor"].as_str());
        let cursor = cursor.map(str::to_owned);
        let text = Value::Array(events).to_string();
        tokio::select! {
            sent = self.out.send(Message::text(text)) => sent?,
            () = source.overrun() => {
                let reason = format!("{} {}", Code::SlowConsumer.as_str(), self.out.cursor);
                return Err(Ending(4008, reason));
            }
            verdict = self.access.ended() => return Err(Ending::of_access(verdict)),
        }
        if let Some(cursor) = cursor {
            self.out.cursor = cursor;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Ending> {
        self.frames = 0;
        if self.heard_at.elapsed() > PONG_PATIENCE {
            return Err(Ending::of(4408, Code::PingTimeout));
        }
        let ping = self.out.send(Message::Ping(bytes::Bytes::new()));
        // A socket that takes nothing is found by the silence, or by its lag.
        tokio::time::timeout(PING_PATIENCE, ping).await.unwrap_or(Ok(()))
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Ending> {
        self.frames = self.frames.saturating_add(1);
        if self.frames > FRAMES_FREE {
            tokio::time::sleep(FRAME_PAUSE).await;
        }
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(error.into()),
            None => return Err(Ending(1000, String::new())),
        };
        self.heard_at = Instant::now();
        match message {
            Message::Text(text) => self.answer(text.as_str()).await,
            Message::Binary(_) => Err(Ending(1003, "text frames only".to_owned())),
            Message::Close(_) => Err(Ending(1000, String::new())),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    /// A client may say `{"type":"ping"}` and is answered; anything else is told what is wrong.
    async fn answer(&mut self, text: &str) -> Result<(), Ending> {
        let (code, detail) = match parse(text.as_bytes()) {
            Err(problem) => (Code::InvalidEvent, problem.detail().to_owned()),
            Ok(event) => match event.get("type").and_then(Value::as_str) {
                Some("ping") => {
                    return self.out.send(Message::text(r#"[{"type":"ping"}]"#)).await;
                }
                Some("pong") => return Ok(()),
                Some(_) => (Code::UnknownType, "a client may send ping and pong".to_owned()),
                None => (Code::InvalidEvent, "an object with a type is due".to_owned()),
            },
        };
        let ids = &self.request_id_source.ids;
        let request_id = ids.id::<shared::ids::RequestId>();
        let problem = json!([{"type": "problem", "code": code.as_str(), "detail": detail,
            "request_id": request_id}]);
        self.out.send(Message::text(problem.to_string())).await
    }
}

impl Out {
    async fn send(&mut self, message: Message) -> Result<(), Ending> {
        self.sink.send(message).await.map_err(Ending::from)
    }
}
