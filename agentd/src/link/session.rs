//! One link from hello to its end.
//!
//! Owned by the service's task; each accepted call is a task of its own, bounded by the streams
//! that the control plane may open and by a limit on handlers that outlive their caller.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use shared::ids::IdSource;
use shared::lifecycle::Lifecycle;
use shared::limits::{ACKNOWLEDGED_MAX, CERTIFICATE_LIFE, HELLO_TIMEOUT, STREAMS_TO_DAEMON};
use shared::protocol::close::CloseCode;
use shared::protocol::enroll::{Certificate, RenewCertificate};
use shared::protocol::hello::{Hello, Welcome};
use shared::protocol::notice::{ControlNotice, DaemonNotice};
use shared::protocol::{ErrorCode, MINOR_MAX, MINOR_MIN, Reply, WireError};
use shared::wire::{
    Answerer, BULK_PRIORITY, Dispatch, Frame, FrameKind, FrameReader, FrameWriter, GivingWay,
    IncomingCall, ReceiveError, WriteHalf,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::call;
use super::dial::{Dialled, Target};
use super::fault::Fault;
use super::join::store;
use super::servers::Servers;
use super::service::learn;
use crate::identity::{DeviceKey, Enrolment};

/// Handlers that may run at once, with and without a caller.
pub(super) const HANDLERS_MAX: u32 = 2 * STREAMS_TO_DAEMON;
/// Time that calls in flight get when the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest time between two renewals.
const RENEWAL_MIN: Duration = Duration::from_secs(60);
/// Time until a failed renewal is tried again.
const RENEWAL_AGAIN: Duration = Duration::from_secs(600);
/// Time that the control plane gets to read a notice.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);

/// A link whose hello was answered.
pub(super) struct Session {
    dialled: Dialled,
    server: String,
    reader: FrameReader<RecvStream>,
    writer: FrameWriter<SendStream>,
    /// What the control plane said.
    pub(super) welcome: Welcome,
}

/// What a session works with.
pub(super) struct SessionParts<'a, D> {
    pub(super) lifecycle: &'a Lifecycle,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) dispatch: &'a Arc<D>,
    pub(super) handlers: &'a Arc<Semaphore>,
    pub(super) notices: &'a mut mpsc::Receiver<DaemonNotice>,
    pub(super) identity: &'a Path,
    pub(super) key: &'a DeviceKey,
    pub(super) enrolment: &'a mut Enrolment,
    pub(super) servers: &'a mut Servers,
    pub(super) keep_alive: Duration,
}

impl Session {
    /// Says hello on a fresh connection.
    pub(super) async fn open(
        dialled: Dialled,
        target: &Target,
        hello: &Hello,
        enrolment: &Enrolment,
    ) -> Result<Self, Fault> {
        match timeout(HELLO_TIMEOUT, Self::say_hello(&dialled, hello)).await {
            Ok(Ok((reader, writer, welcome))) => {
                check(&welcome, enrolment)?;
                let server = format!("{}:{}", target.host, target.quic_port);
                Ok(Self { dialled, server, reader, writer, welcome })
            }
            Ok(Err(fault)) => {
                dialled.close().await;
                Err(fault)
            }
            Err(_) => Err(Fault::Lost { what: "no answer to the hello".to_owned() }),
        }
    }

    async fn say_hello(
        dialled: &Dialled,
        hello: &Hello,
    ) -> Result<(FrameReader<RecvStream>, FrameWriter<SendStream>, Welcome), Fault> {
        let connection = &dialled.connection;
        let why = |error: String| match connection.close_reason() {
            Some(reason) => Fault::of_connection(&reason, dialled.address),
            None => Fault::Lost { what: error },
        };
        let (send, receive) = connection.open_bi().await.map_err(|e| why(e.to_string()))?;
        let mut writer = FrameWriter::new(send);
        writer.write(&Frame::message(hello)).await.map_err(|e| why(e.to_string()))?;
        let mut reader = FrameReader::new(receive);
        let frame = match reader.next().await {
            Ok(Some(Frame { kind: FrameKind::Message, body })) => body,
            Ok(_) => return Err(Fault::Protocol { what: "no welcome".to_owned() }),
            // The certificate is judged after the handshake looks done from here.
            Err(error) => return Err(why(error.to_string())),
        };
        match shared::wire::decode::<Reply<Welcome>>(&frame) {
            Ok(Reply::Ok(welcome)) => Ok((reader, writer, welcome)),
            Ok(Reply::Err(error)) => Err(Fault::of_refusal(&error)),
            Err(error) => Err(Fault::Protocol { what: error.to_string() }),
        }
    }

    /// Host and port of the server.
    pub(super) fn server(&self) -> String {
        self.server.clone()
    }

    /// The connection, to ask for its round trip.
    pub(super) fn connection(&self) -> quinn::Connection {
        self.dialled.connection.clone()
    }

    /// Serves until the link ends; none: because the program stops.
    pub(super) async fn run<D: Dispatch>(
        mut self,
        mut parts: SessionParts<'_, D>,
    ) -> Option<Fault> {
        let calls = CancellationToken::new();
        // Also when this future is dropped: whoever waits for a process must not wait on.
        let _gone = calls.clone().drop_guard();
        let soft = parts.lifecycle.soft();
        let connection = self.connection();
        let mut renewals = JoinSet::new();
        let mut silence = Silence::new(&connection, parts.keep_alive);
        let mut renew_at = Instant::now() + self.renewal_pause(parts.enrolment);
        let fault = loop {
            tokio::select! {
                biased;
                () = soft.cancelled() => break None,
                error = connection.closed() => {
                    break Some(Fault::of_connection(&error, self.dialled.address));
                }
                Ok((send, receive)) = connection.accept_bi() => {
                    accept(send, receive, &parts, calls.child_token());
                }
                frame = self.reader.next() => match on_frame(frame.ok().flatten(), &mut parts) {
                    Ok(()) => {}
                    Err(fault) => break Some(connection.close_reason().map_or(fault, |reason| {
                        Fault::of_connection(&reason, self.dialled.address)
                    })),
                },
                Some(notice) = parts.notices.recv() => self.tell(&notice).await,
                () = tokio::time::sleep_until(renew_at), if renewals.is_empty() => {
                    renewals.spawn(renew(connection.clone(), &parts));
                }
                Some(renewed) = renewals.join_next() => {
                    renew_at = Instant::now() + take_renewed(renewed, parts.enrolment);
                }
                () = silence.too_long(&connection), if parts.servers.are_several() => {
                    // It may come back, but another server is there now.
                    let what = "the server is silent; another one is tried".to_owned();
                    break Some(Fault::Lost { what });
                }
            }
        };
        if fault.is_none() {
            self.tell(&DaemonNotice::Stopping).await;
            calls.cancel();
            let all = parts.handlers.acquire_many(HANDLERS_MAX);
            let _ = timeout(DRAIN_TIMEOUT, all).await;
            connection.close(CloseCode::Stopping.value().into(), b"");
        }
        self.dialled.close().await;
        fault
    }

    async fn tell(&mut self, notice: &DaemonNotice) {
        // A control plane that reads no notices for so long is lost; the connection will say it.
        let _ = timeout(NOTICE_TIMEOUT, self.writer.write(&Frame::message(notice))).await;
    }

    /// By the control plane's clock: ours may be wrong by years.
    fn renewal_pause(&self, enrolment: &Enrolment) -> Duration {
        let left_ms = enrolment.not_after_ms.saturating_sub(self.welcome.now_ms);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        left.saturating_sub(CERTIFICATE_LIFE / 2)
    }
}

/// How long nothing was heard from the server. The transport answers our keep-alives, so a server
/// that lives is never silent for two of them.
struct Silence {
    ticks: tokio::time::Interval,
    limit: Duration,
    heard: u64,
    heard_at: Instant,
}

/// More than two keep-alives, for a way that is slow.
const SILENCE_MARGIN: Duration = Duration::from_secs(1);

impl Silence {
    fn new(connection: &quinn::Connection, keep_alive: Duration) -> Self {
        let mut ticks = tokio::time::interval(keep_alive);
        // After a pause of this machine, what came meanwhile is heard first.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let heard = connection.stats().udp_rx.datagrams;
        let limit = 2 * keep_alive + SILENCE_MARGIN;
        Self { ticks, limit, heard, heard_at: Instant::now() }
    }

    /// Returns once nothing came for longer than the limit. Cancel-safe.
    async fn too_long(&mut self, connection: &quinn::Connection) {
        loop {
            let at = self.ticks.tick().await;
            let heard = connection.stats().udp_rx.datagrams;
            if heard != self.heard {
                (self.heard, self.heard_at) = (heard, at);
            } else if at.saturating_duration_since(self.heard_at) > self.limit {
                return;
            }
        }
    }
}

fn check(welcome: &Welcome, enrolment: &Enrolment) -> Result<(), Fault> {
    if !(MINOR_MIN..=MINOR_MAX).contains(&welcome.minor) {
        let reason = format!("it chose 1.{}", welcome.minor);
        return Err(Fault::Version { reason });
    }
    if welcome.workspace_id != enrolment.workspace_id {
        let what = format!("welcomed as {}", welcome.workspace_id);
        return Err(Fault::Protocol { what });
    }
    Ok(())
}

/// One frame of the hello stream: a notice. Its end is the end of the link.
fn on_frame<D: Dispatch>(
    frame: Option<Frame>,
    parts: &mut SessionParts<'_, D>,
) -> Result<(), Fault> {
    let Some(Frame { kind: FrameKind::Message, body }) = frame else {
        return Err(Fault::Lost { what: "the stream of notices ended".to_owned() });
    };
    match shared::wire::decode(&body) {
        Ok(ControlNotice::Acknowledged { mut op_ids }) => {
            op_ids.truncate(ACKNOWLEDGED_MAX);
            let dispatch = Arc::clone(parts.dispatch);
            parts.lifecycle.spawn_serving("link.acknowledged", async move {
                dispatch.acknowledged(op_ids).await;
            });
        }
        Ok(ControlNotice::Servers { servers }) => learn(parts.servers, servers),
        Ok(ControlNotice::Stopping) => tracing::info!("the control plane is stopping"),
        // From a newer control plane, or not a notice at all: a hint that is not understood.
        Ok(ControlNotice::Unknown) | Err(_) => tracing::debug!("an unknown notice was ignored"),
    }
    Ok(())
}

fn accept<D: Dispatch>(
    send: SendStream,
    receive: RecvStream,
    parts: &SessionParts<'_, D>,
    cancelled: CancellationToken,
) {
    let dispatch = Arc::clone(parts.dispatch);
    let permit = Arc::clone(parts.handlers).try_acquire_owned();
    parts.lifecycle.spawn_serving("link.call", async move {
        let Ok(_permit) = permit else {
            let error = WireError::refused(ErrorCode::Busy, "too many calls run; ask again");
            let _ = Answerer::new(half(send)).fail(error).await;
            return;
        };
        let stopped = send.stopped();
        let write = half(send);
        let receiving = IncomingCall::receive(Box::new(receive), write, cancelled.clone());
        match timeout(HELLO_TIMEOUT, receiving).await {
            Ok(Ok(call)) => {
                let watch = async {
                    // Read to the end, given up by the caller, or lost with the link.
                    let _ = stopped.await;
                    cancelled.cancel();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = dispatch.handle(call) => {}
                    () = watch => {}
                }
            }
            Ok(Err(ReceiveError::Rejected(error))) => {
                tracing::warn!(code = error.code, "a malformed call was refused: {error}");
            }
            // Opened and never used, or lost with the link.
            Ok(Err(_)) | Err(_) => {}
        }
    });
}

fn half(send: SendStream) -> WriteHalf {
    Box::new(GivingWay::new(send, |send| {
        // A closed stream has no priority any more.
        let _ = send.set_priority(BULK_PRIORITY);
    }))
}

type Renewed = Result<Enrolment, Fault>;

fn renew<D: Dispatch>(
    connection: quinn::Connection,
    parts: &SessionParts<'_, D>,
) -> impl Future<Output = Renewed> + Send + 'static {
    let request = RenewCertificate { csr_der: parts.key.signing_request() };
    let identity = parts.identity.to_owned();
    let enrolment = parts.enrolment.clone();
    let lifecycle = parts.lifecycle.clone();
    let ids = Arc::clone(&parts.ids);
    async move {
        let certificate: Certificate = call::call(&connection, &*ids, &request).await?;
        let storing = move || store(&identity, &enrolment, &certificate);
        lifecycle.blocking("link.store-certificate", storing).await
    }
}

/// Takes over what a renewal brought; says when the next one is due.
fn take_renewed(
    renewed: Result<Renewed, tokio::task::JoinError>,
    enrolment: &mut Enrolment,
) -> Duration {
    match renewed {
        Ok(Ok(fresh)) => {
            tracing::info!(not_after_ms = fresh.not_after_ms, "the certificate was renewed");
            *enrolment = fresh;
            (CERTIFICATE_LIFE / 2).max(RENEWAL_MIN)
        }
        Ok(Err(fault)) => {
            tracing::warn!(fault = fault.name(), "the certificate was not renewed: {fault}");
            RENEWAL_AGAIN
        }
        Err(error) => {
            tracing::error!("the renewal ended early: {error}");
            RENEWAL_AGAIN
        }
    }
}
