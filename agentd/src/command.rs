//! What each command of the command line does, and the exit code of each failure.

use std::io::{self, Write};
use std::time::Duration;

use clap::CommandFactory;
use shared::lifecycle::{Ending, Lifecycle};

use crate::options::{Cli, Command, OptionsError, RunOptions, StateEnvironment};
use crate::state_dir::{StateDir, StateDirError, StateLayout};

/// Time that processes and calls in flight get at a stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The options cannot be used.
    #[error("could not start")]
    Options(#[from] OptionsError),
    /// The state directory cannot be used.
    #[error("could not use the state directory")]
    StateDir(#[from] StateDirError),
    /// A vital part ended early, or the stop took too long. The log says which.
    #[error("ended with a failure, see the log")]
    Failed,
    /// The answer could not be printed.
    #[error("could not print the answer")]
    Output(#[source] io::Error),
}

impl CommandError {
    /// The process's exit code; listed in `docs`.
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
            Self::Options(_) | Self::StateDir(_) => 78,
            // As if SIGPIPE had ended it, which is what `agentd ps | head` expects.
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => 141,
            Self::Failed | Self::Output(_) => 1,
        }
    }
}

/// Runs the command to its end.
pub async fn execute(cli: Cli) -> Result<(), CommandError> {
    let layout = StateLayout::new(StateEnvironment::read().state_dir(cli.state_dir.as_deref())?);
    match cli.command {
        Command::Run(options) => run(&layout, &options).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "agentd", &mut script);
            print(&script)
        }
        _ => Err(CommandError::Failed),
    }
}

async fn run(layout: &StateLayout, options: &RunOptions) -> Result<(), CommandError> {
    let state = StateDir::open(layout.path())?;
    let remembered = state.layout().workspace()?.map(|workspace| workspace.root);
    let root = options.root(remembered)?;
    tracing::info!(root = %root.display(), "starting");
    let lifecycle = Lifecycle::new();
    match lifecycle.run_until_stopped(STOP_GRACE).await {
        Ending::Clean => Ok(()),
        Ending::Failed => Err(CommandError::Failed),
    }
}

fn print(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(CommandError::Output)
}
