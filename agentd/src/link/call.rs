//! Calls that the daemon makes: enrolment and renewal. One stream each, bounded in time.

use std::time::Duration;

use quinn::Connection;
use shared::ids::{CallId, IdSource};
use shared::protocol::call::CallHeader;
use shared::protocol::{Method, Reply};
use shared::wire::{Frame, FrameKind, FrameReader, FrameWriter};
use tokio::time::timeout;

use super::dial::Dialled;
use super::fault::Fault;

/// Time that the answer gets.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Asks and waits for the answer.
pub(super) async fn call<M: Method>(
    connection: &Connection,
    ids: &dyn IdSource,
    request: &M,
) -> Result<M::Reply, Fault> {
    timeout(ANSWER_TIMEOUT, exchange(connection, ids, request))
        .await
        .unwrap_or_else(|_| Err(lost(format!("no answer to {} within 15 s", M::NAME))))
}

async fn exchange<M: Method>(
    connection: &Connection,
    ids: &dyn IdSource,
    request: &M,
) -> Result<M::Reply, Fault> {
    let why = |error: String| match connection.close_reason() {
        Some(reason) => Fault::of_connection(&reason, connection.remote_address()),
        None => lost(error),
    };
    let header = CallHeader {
        method: M::NAME.to_owned(),
        id: ids.id::<CallId>().to_string(),
        deadline_ms: Some(u64::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX)),
        fence: None,
        traceparent: None,
        resume_from: None,
        read_only: false,
    };
    let (send, receive) = connection.open_bi().await.map_err(|error| why(error.to_string()))?;
    let mut writer = FrameWriter::new(send);
    let heads = [Frame::message(&header), Frame::message(request)];
    writer.write_together(&heads).await.map_err(|error| why(error.to_string()))?;
    writer.finish().await.map_err(|error| why(error.to_string()))?;
    let frame = FrameReader::new(receive).next().await.map_err(|error| why(error.to_string()))?;
    let Some(Frame { kind: FrameKind::Message, body }) = frame else {
        return Err(Fault::Protocol { what: format!("no answer to {}", M::NAME) });
    };
    match shared::wire::decode::<Reply<M::Reply>>(&body) {
        Ok(Reply::Ok(reply)) => Ok(reply),
        Ok(Reply::Err(error)) => Err(Fault::of_refusal(&error)),
        Err(error) => Err(Fault::Protocol { what: error.to_string() }),
    }
}

const fn lost(what: String) -> Fault {
    Fault::Lost { what }
}

impl Dialled {
    /// Closes in order and lets the last packets out.
    pub(super) async fn close(self) {
        self.connection.close(shared::protocol::close::CloseCode::Done.value().into(), b"");
        let _ = timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }
}
