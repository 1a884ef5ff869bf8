//! The driver of the link machine: dials, waits, serves, and shows where it stands.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::Connection;
use rand::RngExt;
use rand::rngs::StdRng;
use shared::clock::Clock;
use shared::ids::{IdSource, InstanceId};
use shared::lifecycle::Lifecycle;
use shared::protocol::hello::{Hello, SANDBOX_FEATURE};
use shared::protocol::notice::DaemonNotice;
use shared::protocol::{MINOR_MAX, MINOR_MIN};
use shared::wire::Dispatch;
use tokio::sync::{Semaphore, mpsc, watch};

use super::dial::dial;
use super::fault::Fault;
use super::join::{renew_late, target};
use super::machine::{LinkEffect, LinkEvent, LinkMachine};
use super::servers::Servers;
use super::session::{HANDLERS_MAX, Session, SessionParts};
use super::status::{FaultView, LinkHandle, LinkState, LinkStatus};
use super::transport::link_config;
use crate::identity::{DeviceKey, Enrolment};

/// Hints to the control plane that may wait; each is small and losing one is harmless.
const NOTICES_WAITING: usize = 256;

/// What the link needs to know.
pub struct LinkOptions {
    /// The `identity` directory of the locked state directory.
    pub identity: PathBuf,
    /// The daemon's own key.
    pub key: DeviceKey,
    /// What `join` stored.
    pub enrolment: Enrolment,
    /// Absolute path of the workspace's root.
    pub root: String,
    /// The machine's name, for people.
    pub hostname: String,
    /// By which means processes can be sandboxed, for people; none: they cannot.
    pub sandbox: Option<String>,
    /// New at every start.
    pub instance_id: InstanceId,
    /// Silence after which the link is probed.
    pub keep_alive: Duration,
}

/// Keeps one link up. One task; see [`LinkService::run`].
pub struct LinkService<D> {
    options: LinkOptions,
    lifecycle: Lifecycle,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    rng: StdRng,
    dispatch: Arc<D>,
    handlers: Arc<Semaphore>,
    machine: LinkMachine,
    status: watch::Sender<LinkStatus>,
    connection: Arc<Mutex<Option<Connection>>>,
    notices: mpsc::Receiver<DaemonNotice>,
    session: Option<Session>,
    /// None until the first dial: an address that cannot be read is said then.
    servers: Option<Servers>,
}

impl<D: Dispatch> LinkService<D> {
    /// A link that calls are dispatched from, and the handle to it.
    pub fn new(
        options: LinkOptions,
        lifecycle: &Lifecycle,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        rng: StdRng,
        dispatch: Arc<D>,
    ) -> (Self, LinkHandle) {
        let (status, shown) = watch::channel(first_status(&options, clock.now_ms()));
        let (told, notices) = mpsc::channel(NOTICES_WAITING);
        let connection = Arc::new(Mutex::new(None));
        let handle =
            LinkHandle { status: shown, connection: Arc::clone(&connection), notices: told };
        let service = Self {
            options,
            lifecycle: lifecycle.clone(),
            clock,
            ids,
            rng,
            dispatch,
            handlers: Arc::new(Semaphore::new(HANDLERS_MAX as usize)),
            machine: LinkMachine::new(),
            status,
            connection,
            notices,
            session: None,
            servers: None,
        };
        (service, handle)
    }

    /// Runs until the soft stop. Vital: it never ends before.
    pub async fn run(mut self) {
        let soft = self.lifecycle.soft();
        let mut event = LinkEvent::Start;
        while !soft.is_cancelled() {
            let effect = self.machine.apply(event, self.clock.now());
            event = match (effect, self.session.take()) {
                (_, Some(session)) => self.serve(session).await,
                (Some(LinkEffect::Dial), None) => tokio::select! {
                    biased;
                    () = soft.cancelled() => LinkEvent::Stop,
                    event = self.connect() => event,
                },
                (Some(LinkEffect::Renew), None) => tokio::select! {
                    biased;
                    () = soft.cancelled() => LinkEvent::Stop,
                    event = self.renew() => event,
                },
                (Some(LinkEffect::Pause { at_least, at_most }), None) => {
                    let pause = self.draw(at_least, at_most);
                    self.show_pause(pause);
                    tokio::select! {
                        biased;
                        () = soft.cancelled() => LinkEvent::Stop,
                        () = tokio::time::sleep(pause) => LinkEvent::PauseOver,
                    }
                }
                (None, None) => LinkEvent::Stop,
            };
        }
        self.machine.apply(LinkEvent::Stop, self.clock.now());
        self.show(LinkState::Stopped, |_| {});
    }

    async fn connect(&mut self) -> LinkEvent {
        self.show(LinkState::Connecting, |_| {});
        match self.try_connect().await {
            Ok(session) => {
                let skew_ms = session.welcome.now_ms.saturating_sub(self.clock.now_ms());
                let name = session.welcome.workspace_name.clone();
                let server = session.server();
                tracing::info!(workspace = %session.welcome.workspace_id, "connected");
                if skew_ms.abs() > 60_000 {
                    tracing::warn!(skew_ms, "this machine's clock differs from the server's");
                }
                *self.connection.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(session.connection());
                self.show(LinkState::Connected, |status| {
                    status.workspace_name = name;
                    status.server = server;
                    status.clock_skew_ms = Some(skew_ms);
                    status.fault = None;
                });
                self.session = Some(session);
                LinkEvent::Connected
            }
            Err(fault) => {
                let failure = fault.failure();
                self.note(&fault);
                LinkEvent::Failed(failure)
            }
        }
    }

    async fn try_connect(&mut self) -> Result<Session, Fault> {
        let config =
            link_config(&self.options.key, &self.options.enrolment, self.options.keep_alive)?;
        let servers = match &mut self.servers {
            Some(servers) => servers,
            none => {
                none.insert(Servers::load(&self.options.identity, target(&self.options.enrolment)?))
            }
        };
        let target = servers.next(&mut self.rng);
        let dialled = dial(&target, &config).await?;
        let session =
            Session::open(dialled, &target, &self.hello(), &self.options.enrolment).await?;
        if let Some(servers) = &mut self.servers {
            servers.connected(&target);
            learn(servers, session.welcome.servers.clone());
        }
        Ok(session)
    }

    async fn serve(&mut self, session: Session) -> LinkEvent {
        let Some(servers) = &mut self.servers else { return LinkEvent::Stop };
        let parts = SessionParts {
            lifecycle: &self.lifecycle,
            ids: Arc::clone(&self.ids),
            dispatch: &self.dispatch,
            handlers: &self.handlers,
            notices: &mut self.notices,
            identity: &self.options.identity,
            key: &self.options.key,
            enrolment: &mut self.options.enrolment,
            servers,
            keep_alive: self.options.keep_alive,
        };
        let fault = session.run(parts).await;
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match fault {
            None => LinkEvent::Stop,
            Some(fault) => {
                self.note(&fault);
                LinkEvent::Lost(fault.loss())
            }
        }
    }

    async fn renew(&mut self) -> LinkEvent {
        let options = &self.options;
        let ids = Arc::clone(&self.ids);
        let renewed = renew_late(&options.identity, &options.enrolment, &options.key, &*ids).await;
        match renewed {
            Ok(enrolment) => {
                tracing::info!("the expired certificate was renewed");
                self.options.enrolment = enrolment;
                LinkEvent::Renewed
            }
            Err(fault) => {
                let failure = fault.failure();
                self.note(&fault);
                LinkEvent::Failed(failure)
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            minor_min: MINOR_MIN,
            minor_max: MINOR_MAX,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.options.instance_id,
            features: self.features(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            hostname: printable(&self.options.hostname, 255),
            root: printable(&self.options.root, 4_096),
            now_ms: self.clock.now_ms(),
        }
    }

    /// Ascending.
    fn features(&self) -> Vec<String> {
        let sandbox = self.options.sandbox.as_ref();
        let sandbox = sandbox.map(|means| format!("{SANDBOX_FEATURE}{means}"));
        std::iter::once("pty".to_owned()).chain(sandbox).collect()
    }

    fn draw(&mut self, at_least: Duration, at_most: Duration) -> Duration {
        at_least + at_most.saturating_sub(at_least).mul_f64(self.rng.random::<f64>())
    }

    fn note(&self, fault: &Fault) {
        let view = FaultView::from(fault);
        let same = self.status.borrow().fault.as_ref() == Some(&view);
        if same {
            tracing::debug!(fault = fault.name(), "{fault}");
        } else {
            tracing::warn!(fault = fault.name(), "{fault}");
        }
        self.status.send_modify(|status| status.fault = Some(view));
    }

    fn show_pause(&self, pause: Duration) {
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        let next_try_ms = self.clock.now_ms().saturating_add(pause_ms);
        tracing::debug!(pause_ms, "trying again");
        self.show(LinkState::Waiting, |status| status.next_try_ms = Some(next_try_ms));
    }

    fn show(&self, state: LinkState, change: impl FnOnce(&mut LinkStatus)) {
        let now_ms = self.clock.now_ms();
        self.status.send_modify(|status| {
            if status.state != state {
                status.since_ms = now_ms;
            }
            status.state = state;
            status.next_try_ms = None;
            status.failures = self.machine.failures();
            status.certificate_ends_ms = self.options.enrolment.not_after_ms;
            change(status);
        });
    }
}

/// Remembers what a server says of the others. The list is small and seldom changes, so the write
/// may stand in the way for a moment.
pub(super) fn learn(servers: &mut Servers, told: Vec<String>) {
    if let Err(error) = servers.learn(told) {
        tracing::warn!("the list of servers was not stored: {error}");
    }
}

/// A name as the hello may carry it. A folder may have any bytes in its name, and the control
/// plane refuses control characters: it is for people only.
fn printable(text: &str, max_bytes: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    clean[..clean.floor_char_boundary(max_bytes)].to_owned()
}

fn first_status(options: &LinkOptions, now_ms: i64) -> LinkStatus {
    let enrolment = &options.enrolment;
    LinkStatus {
        state: LinkState::Connecting,
        since_ms: now_ms,
        server: format!("{}:{}", enrolment.host, enrolment.port),
        workspace_id: enrolment.workspace_id,
        workspace_name: enrolment.workspace_name.clone(),
        certificate_ends_ms: enrolment.not_after_ms,
        rtt_ms: None,
        clock_skew_ms: None,
        fault: None,
        failures: 0,
        next_try_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_folder_with_any_name_can_still_say_hello() {
        assert_eq!(printable("/srv/a\nb\0", 4_096), "/srv/a?b?");
        assert_eq!(printable("ää", 3), "ä");
    }
}
