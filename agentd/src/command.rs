//! What each command of the command line does, and the exit code of each failure.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory;
use shared::clock::{Clock, SystemClock};
use shared::ids::{SystemIds, WorkspaceId};
use shared::lifecycle::{Ending, Lifecycle};

use crate::daemon::{Daemon, DaemonParts, StartDaemonError, hostname};
use crate::doctor;
use crate::identity::{DeviceKey, Enrolment, IdentityError};
use crate::link::{self, Fault, JoinError, JoinRequest};
use crate::options::{
    Cli, Command, JoinOptions, LeaveOptions, OptionsError, RunOptions, StateEnvironment,
};
use crate::process::{self, KeeperProgram};
use crate::records::OpenError;
use crate::resident::Code;
use crate::show;
use crate::state_dir::{StateDir, StateDirError, StateLayout, WorkspaceFile};
use crate::status::{self, AskError, DownStatus, Listing, LocalAnswer, LocalRequest};
use crate::systemd;

/// Time that calls in flight get at a stop. Processes go on: their keepers stay.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// After this the daemon has started and mostly waits.
const SETTLED: Duration = Duration::from_secs(2);
/// Processes that `agentd ps` lists.
const PS_LIMIT: u32 = 1_000;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The options cannot be used.
    #[error("could not start")]
    Options(#[from] OptionsError),
    /// The state directory cannot be used.
    #[error("could not use the state directory")]
    StateDir(#[from] StateDirError),
    /// The stored identity cannot be used.
    #[error("could not use the identity")]
    Identity(#[from] IdentityError),
    /// The machine has not joined.
    #[error(
        "this machine has not joined a workspace; run the `agentd join` command that the control plane shows"
    )]
    NotJoined,
    /// The machine has joined before.
    #[error(
        "this machine has joined {workspace} before; `agentd run` starts it, `agentd leave` forgets it"
    )]
    AlreadyJoined {
        /// As which workspace.
        workspace: WorkspaceId,
    },
    /// The enrolment failed.
    #[error("could not join")]
    Join(#[source] JoinError),
    /// A service could not be opened.
    #[error("could not start")]
    Start(#[from] StartDaemonError),
    /// What was written down cannot be read.
    #[error("could not read the records of the workspace")]
    Records(#[from] OpenError),
    /// The running daemon did not answer.
    #[error("could not ask the daemon")]
    Ask(#[from] AskError),
    /// A check of `doctor` failed; the answer says which.
    #[error("something is missing, see above")]
    Unwell,
    /// Nobody confirmed.
    #[error("not confirmed; pass --yes to leave the workspace of {workspace_dir}")]
    NotConfirmed {
        /// The state directory.
        workspace_dir: PathBuf,
    },
    /// A vital part ended early, or the stop took too long. The log says which.
    #[error("ended with a failure, see the log")]
    Failed,
    /// The answer could not be printed.
    #[error("could not print the answer")]
    Output(#[source] io::Error),
}

impl CommandError {
    /// The process's exit code: 1 failure, 2 usage, 3 another daemon holds the state directory,
    /// 69 unavailable, 77 not allowed, 78 configuration, 141 nobody reads the answer.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::StateDir(StateDirError::Held { .. }) => 3,
            Self::StateDir(StateDirError::WrongOwner { .. }) => 77,
            Self::StateDir(StateDirError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                77
            }
            Self::Join(JoinError::Fault(Fault::Token { .. } | Fault::Rejected { .. })) => 77,
            Self::Join(JoinError::Fault(Fault::Address { .. })) | Self::NotConfirmed { .. } => 2,
            Self::Join(_) | Self::Ask(_) => 69,
            Self::Options(_)
            | Self::StateDir(_)
            | Self::Identity(_)
            | Self::NotJoined
            | Self::AlreadyJoined { .. } => 78,
            // As if SIGPIPE had ended it, which is what `agentd ps | head` expects.
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => 141,
            Self::Start(_) | Self::Records(_) | Self::Unwell | Self::Failed | Self::Output(_) => 1,
        }
    }
}

/// Runs the command to its end.
pub async fn execute(cli: Cli) -> Result<(), CommandError> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "agentd", &mut script);
        return print(&script);
    }
    let layout = StateLayout::new(StateEnvironment::read().state_dir(cli.state_dir.as_deref())?);
    match cli.command {
        Command::Join(options) => join(&layout, &options).await,
        Command::Run(options) => run(StateDir::open(layout.path())?, &options).await,
        Command::Status(options) => {
            let answer = status::ask(&layout, &LocalRequest::Status).await;
            if let Err(AskError::NotRunning { .. }) = answer
                && layout.path().is_dir()
            {
                print(show::down(&DownStatus::read(&layout), options.json).as_bytes())?;
            }
            print_answer(&answer?, options.json)
        }
        Command::Ps(options) => {
            let request = LocalRequest::Processes { limit: PS_LIMIT };
            let answer = match status::ask(&layout, &request).await {
                Err(error @ AskError::NotRunning { .. }) if layout.path().is_dir() => {
                    // Processes outlive their daemon: they are there to be listed.
                    let limit = usize::try_from(PS_LIMIT).unwrap_or(usize::MAX);
                    let found = process::list_offline(&layout.processes())?;
                    tracing::warn!("{error}; this is what was written down");
                    LocalAnswer::Processes(Listing::offline(found, limit))
                }
                answer => answer?,
            };
            print_answer(&answer, options.json)
        }
        Command::Doctor(options) => {
            let checks = doctor::examine(&layout).await;
            print(doctor::text(&checks, options.json).as_bytes())?;
            if checks.iter().all(|check| check.is_well()) {
                Ok(())
            } else {
                Err(CommandError::Unwell)
            }
        }
        Command::Leave(options) => leave(&layout, options),
        Command::Completions { .. } => Ok(()),
    }
}

async fn join(layout: &StateLayout, options: &JoinOptions) -> Result<(), CommandError> {
    let token = options.join_token()?;
    let root = options.run.root(None)?;
    let state = StateDir::open(layout.path())?;
    let identity = state.layout().identity();
    if let Some(enrolment) = Enrolment::load(&identity)? {
        return Err(CommandError::AlreadyJoined { workspace: enrolment.workspace_id });
    }
    let hostname = hostname();
    let request =
        JoinRequest { url: &options.url, token: &token, identity: &identity, hostname: &hostname };
    let enrolment = link::join(&request, &SystemIds::new()).await.map_err(CommandError::Join)?;
    state.remember(&WorkspaceFile { root: root.clone() })?;
    tracing::info!(workspace = %enrolment.workspace_id, name = enrolment.workspace_name, "joined");
    if options.no_run {
        return Ok(());
    }
    run(state, &RunOptions { root: Some(root), ..options.run.clone() }).await
}

async fn run(state: StateDir, options: &RunOptions) -> Result<(), CommandError> {
    let layout = state.layout();
    let remembered = layout.workspace()?.map(|workspace| workspace.root);
    let root = options.root(remembered)?;
    let identity = layout.identity();
    let (Some(enrolment), Some(key)) = (Enrolment::load(&identity)?, DeviceKey::load(&identity)?)
    else {
        return Err(CommandError::NotJoined);
    };
    let containment = options.limits.containment()?;
    process::hide_memory();
    systemd::starting();
    let lifecycle = Lifecycle::new();
    let parts = DaemonParts {
        lifecycle: lifecycle.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds::new()),
        environment: options.limits.environment(containment.identity.as_ref()),
        keepers: KeeperProgram::own().with(containment),
    };
    shared::fault::point("start locked");
    let daemon = Daemon::open(layout, &root, parts).await?;
    match process::be_subreaper() {
        Ok(()) => {
            let reaping = daemon.dispatch.processes.clone().reap_strays();
            lifecycle.spawn_serving("process.strays", reaping);
        }
        Err(error) => tracing::warn!(%error, "daemons that commands leave behind go to init"),
    }
    let link = daemon.connect(layout, (key, enrolment), options.keep_alive(), rand::make_rng());
    daemon.listen(layout, Some(link.clone()))?;
    systemd::follow(&lifecycle, &link, daemon.dispatch.processes.clone());
    drop(link);
    let soft = lifecycle.soft();
    lifecycle.spawn_serving("memory", async move {
        tokio::select! {
            () = soft.cancelled() => {}
            () = tokio::time::sleep(SETTLED) => Code::own().give_back(),
        }
    });
    tracing::info!(root = %root.display(), "ready");
    // The services end when nobody can ask them any more.
    drop(daemon);
    let ending = lifecycle.run_until_stopped(STOP_GRACE).await;
    drop(state);
    match ending {
        Ending::Clean => Ok(()),
        Ending::Failed => Err(CommandError::Failed),
    }
}

fn leave(layout: &StateLayout, options: LeaveOptions) -> Result<(), CommandError> {
    if !layout.path().is_dir() || Enrolment::load(&layout.identity())?.is_none() {
        return Err(CommandError::NotJoined);
    }
    let state = StateDir::open(layout.path())?;
    let running = DownStatus::read(layout).processes_running;
    if !options.yes && !confirms(layout, running)? {
        return Err(CommandError::NotConfirmed { workspace_dir: layout.path().to_owned() });
    }
    Enrolment::remove(&state.layout().identity())?;
    if running == 0 {
        // Groups that somebody else uses are left to the system's end.
        let _ = process::remove_groups(&layout.processes());
        return print(b"left; remove the workspace in the control plane as well\n");
    }
    let text = format!(
        "left; remove the workspace in the control plane as well. {running} of its processes still run: \
         `agentd ps` lists them\n"
    );
    print(text.as_bytes())
}

/// Asks at a terminal. Where there is none nobody can answer.
fn confirms(layout: &StateLayout, running: usize) -> Result<bool, CommandError> {
    use std::io::{BufRead, IsTerminal};
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Ok(false);
    }
    let question = format!(
        "Leave the workspace of {}? {running} of its processes run and go on. [y/N] ",
        layout.path().display()
    );
    print(question.as_bytes())?;
    let mut answer = String::new();
    // The end of the input is a no.
    let _ = io::stdin().lock().take(16).read_line(&mut answer);
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn print_answer(answer: &LocalAnswer, json: bool) -> Result<(), CommandError> {
    let text = if json { show::json(answer) } else { show::text(answer, SystemClock.now_ms()) };
    print(text.as_bytes())
}

fn print(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(CommandError::Output)
}
