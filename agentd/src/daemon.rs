//! Builds the daemon: services in order, recovery before the first call, then link and socket.
//!
//! ```text
//! open journal, processes, files ──► recover what was interrupted ──► local socket ──► ready ──► link
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use shared::clock::Clock;
use shared::ids::{IdSource, InstanceId};
use shared::lifecycle::Lifecycle;
use shared::protocol::WireError;
use shared::protocol::notice::DaemonNotice;

use crate::dispatch::Dispatcher;
use crate::files::{FilesHandle, OpenFilesError};
use crate::identity::{DeviceKey, Enrolment};
use crate::journal::JournalHandle;
use crate::link::{LinkHandle, LinkOptions, LinkService};
use crate::process::{Environment, KeeperProgram, OpenProcessesError, ProcessHandle};
use crate::pty::PtyHandle;
use crate::records;
use crate::state_dir::StateLayout;
use crate::status::{LocalSocket, StatusSource};

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartDaemonError {
    /// The journal.
    #[error("could not open the journal")]
    Journal(#[from] records::OpenError),
    /// The records or the output of processes.
    #[error("could not open the process records")]
    Processes(#[from] OpenProcessesError),
    /// The root, or the notes of temporary files.
    #[error("could not open the workspace")]
    Files(#[from] OpenFilesError),
    /// What was interrupted could not be recorded.
    #[error("could not finish what was interrupted")]
    Recover(#[source] WireError),
    /// The local socket.
    #[error("could not listen on the local socket")]
    Socket(#[source] std::io::Error),
}

/// What the daemon is made with.
pub struct DaemonParts {
    /// Starts and ends every task.
    pub lifecycle: Lifecycle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn IdSource>,
    /// What children inherit.
    pub environment: Environment,
    /// Makes the keepers of processes.
    pub keepers: KeeperProgram,
}

/// The services of a daemon, recovered and ready for calls. Drop it to let the tasks end.
pub struct Daemon {
    /// Answers calls.
    pub dispatch: Dispatcher,
    instance_id: InstanceId,
    started_at_ms: i64,
    parts: DaemonParts,
}

impl Daemon {
    /// Opens the services on a locked state directory and recovers what was interrupted.
    pub async fn open(
        layout: &StateLayout,
        root: &Path,
        parts: DaemonParts,
    ) -> Result<Self, StartDaemonError> {
        let DaemonParts { lifecycle, clock, ids, environment, keepers } = &parts;
        let (journal, interrupted) =
            JournalHandle::open(&layout.journal(), lifecycle, Arc::clone(clock))?;
        let processes = ProcessHandle::open(
            &layout.processes(),
            root,
            environment.clone(),
            keepers.clone(),
            lifecycle,
            Arc::clone(clock),
        )?;
        processes.adopted().await;
        let notes = layout.files();
        let files = FilesHandle::open(root, &notes, lifecycle.clone(), Arc::clone(clock))?
            .owned_by(keepers.identity());
        let ptys = PtyHandle::open(processes.clone(), lifecycle, Arc::clone(clock));
        let dispatch = Dispatcher { journal, processes, ptys, files };
        dispatch.recover(interrupted).await.map_err(StartDaemonError::Recover)?;
        match dispatch.files.sweep().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed temporary files of an earlier run"),
            Err(error) => tracing::warn!(%error, "temporary files of an earlier run stay"),
        }
        let instance_id = ids.id();
        let started_at_ms = clock.now_ms();
        Ok(Self { dispatch, instance_id, started_at_ms, parts })
    }

    /// Starts the link to the control plane that the enrolment names; after `keep_alive` of silence
    /// it is probed.
    pub fn connect(
        &self,
        layout: &StateLayout,
        (key, enrolment): (DeviceKey, Enrolment),
        keep_alive: Duration,
        rng: StdRng,
    ) -> LinkHandle {
        let options = LinkOptions {
            identity: layout.identity(),
            key,
            enrolment,
            root: self.dispatch.files.root().display().to_string(),
            hostname: hostname(),
            sandbox: self.dispatch.processes.sandbox().ok().map(|facts| facts.to_string()),
            instance_id: self.instance_id,
            keep_alive,
        };
        let DaemonParts { lifecycle, clock, ids, .. } = &self.parts;
        let dispatch = Arc::new(self.dispatch.clone());
        let (clock, ids) = (Arc::clone(clock), Arc::clone(ids));
        let (service, handle) = LinkService::new(options, lifecycle, clock, ids, rng, dispatch);
        lifecycle.spawn_vital("link", service.run());
        let processes = self.dispatch.processes.clone();
        let telling = tell_exits(processes, handle.clone(), lifecycle.clone());
        lifecycle.spawn_serving("link.exits", telling);
        handle
    }

    /// Listens on the local socket.
    pub fn listen(
        &self,
        layout: &StateLayout,
        link: Option<LinkHandle>,
    ) -> Result<(), StartDaemonError> {
        let source = StatusSource {
            root: self.dispatch.files.root().to_owned(),
            state_dir: layout.path().to_owned(),
            instance_id: self.instance_id,
            started_at_ms: self.started_at_ms,
            journal: self.dispatch.journal.clone(),
            processes: self.dispatch.processes.clone(),
            ptys: self.dispatch.ptys.clone(),
            link,
        };
        let socket = LocalSocket::bind(layout).map_err(StartDaemonError::Socket)?;
        let lifecycle = self.parts.lifecycle.clone();
        self.parts.lifecycle.spawn_vital("local socket", socket.run(source, lifecycle));
        Ok(())
    }
}

/// The machine's name, for people.
#[must_use]
pub fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Hints to the control plane that processes have ended. Ends at the stop.
async fn tell_exits(processes: ProcessHandle, link: LinkHandle, lifecycle: Lifecycle) {
    let soft = lifecycle.soft();
    let mut ended = processes.ended();
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            changed = ended.changed() => if changed.is_err() { return },
        }
        let last = *ended.borrow_and_update();
        if let Some(process_id) = last {
            link.notify(match processes.as_terminal(process_id) {
                Some(pty_id) => DaemonNotice::PtyExited { pty_id },
                None => DaemonNotice::ProcessExited { process_id },
            });
        }
    }
}
