//! Flags and environment, read once and checked once. Nothing else reads the environment, except
//! that children get an allow-listed part of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shared::limits::KEEP_ALIVE;

use crate::limit_options::LimitOptions;

/// The daemon of a Holdfast workspace: runs processes and edits files for the control plane.
#[derive(Debug, Parser)]
#[command(name = "agentd", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// Directory for identity, journal and process output [default: the XDG state directory]
    #[arg(long, global = true, env = "HOLDFAST_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// What to log, such as `info` or `agentd::link=debug`
    #[arg(
        long,
        global = true,
        env = "HOLDFAST_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,

    /// How to log
    #[arg(long, global = true, env = "HOLDFAST_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enrol this machine as a workspace, then run
    Join(JoinOptions),
    /// Run the daemon of a workspace that has joined
    Run(RunOptions),
    /// Say whether the daemon runs and is connected
    Status(OutputOptions),
    /// List the processes of the workspace
    Ps(OutputOptions),
    /// Check what the daemon needs, and say what to do about what is missing
    Doctor(OutputOptions),
    /// Forget the enrolment; the workspace's files and this daemon's logs stay
    Leave(LeaveOptions),
    /// Print a completion script for a shell
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Options of `agentd join`.
#[derive(Debug, Args)]
pub struct JoinOptions {
    /// Address of the control plane, such as `https://holdfast.example`
    pub url: String,

    /// The single-use join token that the control plane showed
    #[arg(
        long,
        env = "HOLDFAST_JOIN_TOKEN",
        hide_env_values = true,
        required_unless_present = "token_file"
    )]
    pub token: Option<String>,

    /// A file that holds the join token
    #[arg(long, env = "HOLDFAST_JOIN_TOKEN_FILE", conflicts_with = "token", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Options of the run that follows.
    #[command(flatten)]
    pub run: RunOptions,

    /// Enrol and end, instead of going on to run
    #[arg(long)]
    pub no_run: bool,
}

/// Options of `agentd run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunOptions {
    /// The workspace's root: files outside it are out of reach [default: as joined, else the current directory]
    #[arg(long, env = "HOLDFAST_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Milliseconds of silence after which the link is probed, 100 to 15000; shorter where a NAT
    /// forgets quickly, or where a restarted server should be noticed at once
    #[arg(long, env = "HOLDFAST_KEEP_ALIVE_MS", value_name = "MS",
        value_parser = clap::value_parser!(u64).range(100..=15_000))]
    pub keep_alive_ms: Option<u64>,

    /// What commands may take, whose they are, what they get.
    #[command(flatten)]
    pub limits: LimitOptions,
}

impl RunOptions {
    /// Silence after which the link is probed.
    #[must_use]
    pub fn keep_alive(&self) -> Duration {
        self.keep_alive_ms.map_or(KEEP_ALIVE, Duration::from_millis)
    }
}

/// Options of the commands that print something.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct OutputOptions {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `agentd leave`.
#[derive(Clone, Copy, Debug, Args)]
pub struct LeaveOptions {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Why the options cannot be used. The message completes "could not start: …".
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Neither a flag nor the environment says where state goes.
    #[error("no state directory: HOME is not set; pass --state-dir or set HOLDFAST_STATE_DIR")]
    NoStateDir,
    /// The root is not a directory that can be used.
    #[error("the root {root} cannot be used")]
    Root {
        /// As given.
        root: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The root is something else than a directory.
    #[error("the root {root} is not a directory")]
    RootNotDirectory {
        /// As given.
        root: PathBuf,
    },
    /// The user that commands are to run as.
    #[error("there is no user {name}")]
    NoUser {
        /// As given.
        name: String,
    },
    /// The token file cannot be read.
    #[error("the token file {path} cannot be read")]
    TokenFile {
        /// As given.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

/// The part of the environment that decides where state goes.
#[derive(Clone, Debug, Default)]
pub struct StateEnvironment {
    /// `STATE_DIRECTORY`, set by systemd for a service.
    pub state_directory: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub xdg_state_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl StateEnvironment {
    /// Reads the process's environment.
    #[must_use]
    pub fn read() -> Self {
        let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self {
            state_directory: path("STATE_DIRECTORY"),
            xdg_state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
        }
    }

    /// The state directory: the flag, else systemd's, else XDG's, else under the home directory.
    pub fn state_dir(&self, flag: Option<&Path>) -> Result<PathBuf, OptionsError> {
        if let Some(path) = flag.or(self.state_directory.as_deref()) {
            return Ok(path.to_owned());
        }
        // The XDG specification says that a relative path is to be ignored.
        let xdg = self.xdg_state_home.as_ref().filter(|path| path.is_absolute()).cloned();
        let base = xdg.or_else(|| self.home.as_ref().map(|home| home.join(".local/state")));
        base.map(|base| base.join("holdfast/agentd")).ok_or(OptionsError::NoStateDir)
    }
}

impl JoinOptions {
    /// The token, from the flag, the environment or the file, without surrounding white space.
    pub fn join_token(&self) -> Result<String, OptionsError> {
        if let Some(token) = &self.token {
            return Ok(token.trim().to_owned());
        }
        let path = self.token_file.clone().unwrap_or_default();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(OptionsError::TokenFile { path, source }),
        }
    }
}

impl RunOptions {
    /// The root as an absolute path without symbolic links: the flag, else what was remembered at
    /// `join`, else the current directory.
    pub fn root(&self, remembered: Option<PathBuf>) -> Result<PathBuf, OptionsError> {
        let root = self.root.clone().or(remembered).unwrap_or_else(|| PathBuf::from("."));
        let absolute = std::fs::canonicalize(&root)
            .map_err(|source| OptionsError::Root { root: root.clone(), source })?;
        if absolute.is_dir() { Ok(absolute) } else { Err(OptionsError::RootNotDirectory { root }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_state_directory_is_the_flag_then_systemds_then_xdgs_then_homes() {
        let mut env = StateEnvironment {
            state_directory: Some("/var/lib/holdfast".into()),
            xdg_state_home: Some("/xdg".into()),
            home: Some("/home/ada".into()),
        };
        let flag = Path::new("/flag");
        assert_eq!(env.state_dir(Some(flag)).unwrap(), flag);
        assert_eq!(env.state_dir(None).unwrap(), Path::new("/var/lib/holdfast"));
        env.state_directory = None;
        assert_eq!(env.state_dir(None).unwrap(), Path::new("/xdg/holdfast/agentd"));
        env.xdg_state_home = Some("relative".into());
        let at_home = Path::new("/home/ada/.local/state/holdfast/agentd");
        assert_eq!(env.state_dir(None).unwrap(), at_home);
        env.home = None;
        assert!(matches!(env.state_dir(None), Err(OptionsError::NoStateDir)));
    }

    #[test]
    fn a_root_that_is_a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = RunOptions { root: Some(file.path().to_owned()), ..RunOptions::default() };
        assert!(matches!(options.root(None), Err(OptionsError::RootNotDirectory { .. })));
        let options =
            RunOptions { root: Some("/no/such/directory".into()), ..RunOptions::default() };
        assert!(matches!(options.root(None), Err(OptionsError::Root { .. })));
    }
}
