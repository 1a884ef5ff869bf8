//! One daemon's link, from its certificate to its end.
//!
//! ```text
//! certificate ─► device row ─► hello (30 s) ─► welcome ─► attached ─► notices, probes, renewals
//!      │              │           │                          │
//!      └─ daemon_auth_failed      └─ version_unsupported,    └─ displaced │ stopping │ lost
//!                                    invalid_hello, protocol_violation
//! ```
//!
//! One task per link. Green means proven: the link counts as alive only while something that we
//! sent was acknowledged by the daemon within the last 20 s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use shared::clock::Clock;
use shared::ids::{ReplicaId, WorkspaceId};
use shared::lifecycle::Lifecycle;
use shared::limits::{HELLO_TIMEOUT, KEEP_ALIVE, LINK_IDLE_TIMEOUT};
use shared::protocol::close::CloseCode;
use shared::protocol::enroll::RenewCertificate;
use shared::protocol::hello::{Hello, Welcome};
use shared::protocol::notice::{ControlNotice, DaemonNotice};
use shared::protocol::{ErrorCode, Method, Reply, WireError};
use shared::wire::incoming::frame_error_code;
use shared::wire::io::Opening;
use shared::wire::{
    BULK_PRIORITY, Frame, FrameKind, FrameReader, FrameWriter, GivingWay, IncomingCall,
    OpenStreams, ReadError, ReadHalf, WriteHalf,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::device::DeviceIdentity;
use super::directory::Directory;
use super::enroll::{Enrolment, unsupported};
use super::hello::{check_hello, choose_minor};
use super::registry::{Attachment, NewLink};
use crate::store::{Seen, WorkspaceRow};

/// Time that a peer gets to take a last message.
const FAREWELL: Duration = Duration::from_secs(1);
/// Time that calls in flight get when this program stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a daemon gets to take a notice.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);

/// What every session works with.
pub(super) struct Sessions {
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) enrolment: Enrolment,
    pub(super) replica_id: ReplicaId,
    pub(super) last_epoch: AtomicU64,
}

/// Why a link is closed: the code, and a reason that begins with the stable code.
struct Closing {
    code: CloseCode,
    reason: String,
}

impl Closing {
    fn new(code: CloseCode, error: ErrorCode, what: &str) -> Self {
        let what = &what[..what.floor_char_boundary(200)];
        Self { code, reason: format!("{}: {what}", error.as_str()) }
    }

    fn of(code: CloseCode) -> Self {
        Self { code, reason: String::new() }
    }
}

impl Sessions {
    /// Serves one link to its end.
    pub(super) async fn serve(&self, connection: Connection) {
        let closing = match self.open(&connection).await {
            Ok(session) => session.run(self).await,
            Err(closing) => closing,
        };
        if closing.code == CloseCode::AuthFailed {
            let peer = connection.remote_address();
            tracing::warn!(%peer, reason = closing.reason, "daemon_auth_failed");
        }
        connection.close(closing.code.value().into(), closing.reason.as_bytes());
    }

    async fn open(&self, connection: &Connection) -> Result<Session, Closing> {
        let (device, row) = self.authenticate(connection).await?;
        let (mut hello_stream, hello) = timeout(HELLO_TIMEOUT, read_hello(connection))
            .await
            .unwrap_or_else(|_| Err(violation("no hello within 30 s")))?;
        let minor = match check_hello(&hello).and_then(|()| choose_minor(&hello)) {
            Ok(minor) => minor,
            Err(error) => return Err(hello_stream.refuse(error).await),
        };
        let epoch = self.claim(row.id, &hello).await?;
        let welcome = Welcome {
            minor,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replica_id: self.replica_id,
            workspace_id: row.id,
            workspace_name: row.name,
            link_epoch: epoch,
            now_ms: self.clock.now_ms(),
            servers: self.servers(),
        };
        let written = hello_stream.writer.write(&Frame::message(&Reply::Ok(welcome))).await;
        written.map_err(|_| Closing::of(CloseCode::Done))?;
        let streams = Arc::new(QuicStreams(connection.clone()));
        let seen = seen(&hello);
        let link = NewLink { workspace_id: row.id, epoch, hello, streams };
        let attachment = self.enrolment.fleet.attach(link);
        let attachment = attachment.ok_or_else(|| Closing::of(CloseCode::Displaced))?;
        if let Some(directory) = self.enrolment.fleet.directory() {
            directory.attached(device.workspace);
        }
        attachment.saw_round_trip(connection.rtt());
        Ok(Session { connection: connection.clone(), device, seen, hello_stream, attachment })
    }

    /// Identity comes from the certificate, and the right to it from the row.
    async fn authenticate(
        &self,
        connection: &Connection,
    ) -> Result<(DeviceIdentity, WorkspaceRow), Closing> {
        let failed =
            |what: &str| Closing::new(CloseCode::AuthFailed, ErrorCode::DaemonAuthFailed, what);
        let chain = connection.peer_identity();
        let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let leaf = chain.as_ref().and_then(|chain| chain.first());
        let leaf = leaf.ok_or_else(|| failed("no certificate"))?;
        let device = DeviceIdentity::of(leaf).map_err(|error| failed(&error.to_string()))?;
        let row = self.enrolment.store.workspaces.workspace(device.workspace).await;
        let row = row.map_err(|error| {
            tracing::error!("a daemon could not be checked: {error}");
            Closing::new(CloseCode::Busy, ErrorCode::Busy, "the database does not answer")
        })?;
        let current = |row: &WorkspaceRow| row.device_spki.as_deref() == Some(device.key.as_str());
        let row = row.filter(current).ok_or_else(|| failed("revoked"))?;
        Ok((device, row))
    }

    /// The servers of the deployment, for daemons; empty: nobody says.
    fn servers(&self) -> Vec<String> {
        let directory = self.enrolment.fleet.directory();
        directory.map(Directory::daemon_addresses).unwrap_or_default()
    }

    /// The link's epoch: the directory's where there is one.
    async fn claim(&self, workspace: WorkspaceId, hello: &Hello) -> Result<u64, Closing> {
        let Some(directory) = self.enrolment.fleet.directory() else {
            return Ok(self.next_epoch());
        };
        directory.claim(workspace, hello).await.map_err(|error| {
            tracing::warn!(workspace.id = %workspace, error = &error as &dyn std::error::Error,
                "a daemon's link was not claimed");
            Closing::new(CloseCode::Busy, ErrorCode::Busy, &error.to_string())
        })
    }

    /// Rises within this process, and over restarts as the wall clock does.
    fn next_epoch(&self) -> u64 {
        let now = u64::try_from(self.clock.now_ms()).unwrap_or(0);
        let raise = |last: u64| Some(now.max(last + 1));
        let last = self.last_epoch.fetch_update(Ordering::SeqCst, Ordering::SeqCst, raise);
        now.max(last.unwrap_or(0) + 1)
    }
}

fn seen(hello: &Hello) -> Seen {
    Seen {
        instance_id: hello.instance_id,
        version: hello.version.clone(),
        os: hello.os.clone(),
        arch: hello.arch.clone(),
        hostname: hello.hostname.clone(),
        root: hello.root.clone(),
    }
}

fn violation(what: &str) -> Closing {
    Closing::new(CloseCode::ProtocolViolation, ErrorCode::ProtocolViolation, what)
}

/// The stream that carries the hello and then the notices.
struct HelloStream {
    reader: FrameReader<RecvStream>,
    writer: FrameWriter<SendStream>,
    taken: std::pin::Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl HelloStream {
    /// Answers the hello with an error and waits until the daemon has it.
    async fn refuse(mut self, error: WireError) -> Closing {
        let code = match error.known_code() {
            Some(ErrorCode::VersionUnsupported) => CloseCode::VersionUnsupported,
            Some(ErrorCode::InvalidHello) => CloseCode::InvalidHello,
            _ => CloseCode::ProtocolViolation,
        };
        let reason = format!("{}: {}", error.code, error.message);
        let _ = self.writer.write(&Frame::message(&Reply::<Welcome>::Err(error))).await;
        let _ = self.writer.finish().await;
        let _ = timeout(FAREWELL, self.taken).await;
        Closing { code, reason }
    }
}

async fn read_hello(connection: &Connection) -> Result<(HelloStream, Hello), Closing> {
    let opened = connection.accept_bi().await;
    let (send, receive) = opened.map_err(|_| Closing::of(CloseCode::Done))?;
    let stopped = send.stopped();
    let taken = Box::pin(async move {
        let _ = stopped.await;
    });
    let reader = FrameReader::new(receive);
    let mut stream = HelloStream { reader, writer: FrameWriter::new(send), taken };
    let error = match stream.reader.next().await {
        Ok(Some(Frame { kind: FrameKind::Message, body })) => {
            match shared::wire::decode::<Hello>(&body) {
                Ok(hello) => return Ok((stream, hello)),
                Err(error) => WireError::refused(ErrorCode::InvalidHello, error.to_string()),
            }
        }
        Ok(Some(Frame { kind: FrameKind::Raw, .. })) => {
            WireError::refused(ErrorCode::ProtocolViolation, "raw bytes before the hello")
        }
        Ok(None) => {
            WireError::refused(ErrorCode::ProtocolViolation, "the stream ended before the hello")
        }
        Err(ReadError::Frame(error)) => {
            WireError::refused(frame_error_code(&error), error.to_string())
        }
        Err(ReadError::Io(_)) => return Err(Closing::of(CloseCode::Done)),
    };
    Err(stream.refuse(error).await)
}

/// An attached link.
struct Session {
    connection: Connection,
    device: DeviceIdentity,
    seen: Seen,
    hello_stream: HelloStream,
    attachment: Attachment,
}

impl Session {
    async fn run(mut self, sessions: &Sessions) -> Closing {
        let workspaces = &sessions.enrolment.store.workspaces;
        if let Err(error) = workspaces.connected(self.device.workspace, &self.seen).await {
            // Only for showing; the link works without it.
            tracing::warn!("a daemon's hello could not be stored: {error}");
        }
        let soft = sessions.lifecycle.soft();
        let mut calls = JoinSet::new();
        let mut probe = Probe::new(&self.connection);
        let mut ticks = tokio::time::interval(KEEP_ALIVE);
        let mut living = sessions.enrolment.fleet.directory().map(Directory::living);
        let closing = loop {
            tokio::select! {
                biased;
                () = soft.cancelled() => break self.drain().await,
                code = self.attachment.displaced() => break displaced(code),
                error = self.connection.closed() => {
                    tracing::info!(workspace = %self.device.workspace, "the link ended: {error}");
                    break Closing::of(CloseCode::Done);
                }
                Ok((send, receive)) = self.connection.accept_bi() => {
                    calls.spawn(answer(sessions.enrolment.clone(), self.device.clone(), send, receive));
                }
                Some(_) = calls.join_next() => {}
                frame = self.hello_stream.reader.next() => {
                    if let Err(closing) = self.on_frame(frame) {
                        break closing;
                    }
                }
                op_ids = self.attachment.next_acknowledgements() => {
                    self.tell(&ControlNotice::Acknowledged { op_ids }).await;
                }
                () = changed(&mut living) => {
                    let servers = sessions.servers();
                    if !servers.is_empty() {
                        self.tell(&ControlNotice::Servers { servers }).await;
                    }
                }
                _ = ticks.tick() => {
                    if probe.look(&self.connection, &self.attachment) {
                        self.tell(&ControlNotice::Acknowledged { op_ids: Vec::new() }).await;
                    }
                }
            }
        };
        // Before the database is written: it may not answer, and the daemon shall look elsewhere.
        self.connection.close(closing.code.value().into(), closing.reason.as_bytes());
        // A stop of this program is no news of the daemon.
        if !soft.is_cancelled() {
            let _ = workspaces.last_seen(self.device.workspace).await;
        }
        if let Some(directory) = sessions.enrolment.fleet.directory() {
            let epoch = self.attachment.epoch();
            // Out of the table before it is out of the directory: nobody is sent here in vain.
            drop(self.attachment);
            directory.lost(self.device.workspace, epoch).await;
        }
        closing
    }

    fn on_frame(&self, frame: Result<Option<Frame>, ReadError>) -> Result<(), Closing> {
        let body = match frame {
            Ok(Some(Frame { kind: FrameKind::Message, body })) => body,
            Ok(Some(Frame { kind: FrameKind::Raw, .. })) => {
                return Err(violation("raw bytes among the notices"));
            }
            Ok(None) => return Err(violation("the stream of notices was ended")),
            Err(ReadError::Frame(error)) => {
                let code = frame_error_code(&error);
                let text = error.to_string();
                return Err(Closing::new(CloseCode::ProtocolViolation, code, &text));
            }
            Err(ReadError::Io(_)) => return Err(Closing::of(CloseCode::Done)),
        };
        match shared::wire::decode::<DaemonNotice>(&body) {
            Ok(DaemonNotice::Stopping) => {
                tracing::info!(workspace = %self.device.workspace, "the daemon is stopping");
                Ok(())
            }
            // Hints: who waits for a process has asked the daemon to say so.
            Ok(
                DaemonNotice::ProcessExited { .. }
                | DaemonNotice::PtyExited { .. }
                | DaemonNotice::Unknown,
            ) => Ok(()),
            Err(_) => Err(violation("not a notice; a second hello?")),
        }
    }

    async fn tell(&mut self, notice: &ControlNotice) {
        let frame = Frame::message(notice);
        // A daemon that takes no notice for so long is lost; the connection will say it.
        let _ = timeout(NOTICE_TIMEOUT, self.hello_stream.writer.write(&frame)).await;
    }

    async fn drain(&mut self) -> Closing {
        self.tell(&ControlNotice::Stopping).await;
        let _ = timeout(DRAIN_TIMEOUT, self.attachment.calls_done()).await;
        Closing { code: CloseCode::Stopping, reason: "shutting_down: restarting".to_owned() }
    }
}

/// Waits for a change; for ever, if there will be none.
async fn changed<T>(watched: &mut Option<tokio::sync::watch::Receiver<T>>) {
    if let Some(watched) = watched
        && watched.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

fn displaced(code: CloseCode) -> Closing {
    match code {
        CloseCode::AuthFailed => Closing::new(code, ErrorCode::DaemonAuthFailed, "revoked"),
        code => Closing::of(code),
    }
}

/// Whether something that we sent has come back as acknowledged, by the transport's own count.
struct Probe {
    acks: u64,
    at: Instant,
}

impl Probe {
    fn new(connection: &Connection) -> Self {
        Self { acks: connection.stats().frame_rx.acks, at: Instant::now() }
    }

    /// Looks at the count. True: nothing came back since the last look, so send something.
    fn look(&mut self, connection: &Connection, attachment: &Attachment) -> bool {
        let acks = connection.stats().frame_rx.acks;
        if acks > self.acks {
            *self = Self { acks, at: Instant::now() };
            attachment.saw_round_trip(connection.rtt());
            return false;
        }
        if self.at.elapsed() >= LINK_IDLE_TIMEOUT {
            attachment.missed_round_trips();
        }
        true
    }
}

/// Answers one call of the daemon. There is one method; another is answered by name.
async fn answer(
    enrolment: Enrolment,
    device: DeviceIdentity,
    send: SendStream,
    receive: RecvStream,
) {
    let cancelled = CancellationToken::new();
    let receiving = IncomingCall::receive(Box::new(receive), Box::new(send), cancelled);
    // Malformed ones were answered; unused ones are dropped, which frees the stream.
    let Ok(Ok(call)) = timeout(HELLO_TIMEOUT, receiving).await else { return };
    let reply = match call.header.method.as_str() {
        RenewCertificate::NAME => match call.decode::<RenewCertificate>() {
            Ok(request) => enrolment.renew(&request, Some(&device.key)).await,
            Err(error) => Err(error),
        },
        other => Err(unsupported(other)),
    };
    let _ = call.answer.answer(&reply.map_or_else(Reply::Err, Reply::Ok)).await;
}

/// A QUIC connection as the fleet's calls see it.
struct QuicStreams(Connection);

impl OpenStreams for QuicStreams {
    fn open(&self) -> Opening<'_> {
        Box::pin(async {
            let (send, receive) = self.0.open_bi().await?;
            let write: WriteHalf = Box::new(GivingWay::new(send, |send| {
                // A closed stream has no priority any more.
                let _ = send.set_priority(BULK_PRIORITY);
            }));
            let read: ReadHalf = Box::new(receive);
            Ok((write, read))
        })
    }
}
