//! The grammar of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Run AI coding agents on your own devboxes, and never lose their work.
#[derive(Debug, Parser)]
#[command(name = "controlplane", version, about, max_term_width = 100)]
pub struct Arguments {
    /// What every command that reads the configuration takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command that reads the configuration takes.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// Read this file instead of the user's and the system's
    #[arg(long, global = true, env = "HOLDFAST_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the database, the keys and the lock are
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// postgres://… or sqlite:PATH; none: SQLite in the data directory
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// How the log and the ready line are written
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How the log and the ready line are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// What `serve` takes.
#[derive(Debug, Default, Args)]
pub struct ServeFlags {
    /// Where browsers and programs connect
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Where daemons connect, over UDP
    #[arg(long, value_name = "ADDR")]
    pub quic: Option<String>,
}

/// What `demo` takes.
#[derive(Debug, Args)]
pub struct DemoFlags {
    /// Where browsers connect; port 0: any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub http: SocketAddr,
    /// Where the daemon connects, over UDP; port 0: any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub quic: SocketAddr,
    /// Let the agent work in this folder instead of one with samples
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeFlags),
    /// A throw-away server, daemon and scripted model: no key, no account, no network
    Demo(DemoFlags),
    /// Print a new one-time link for the first administrator
    SetupLink,
    /// Check everything the server needs, with a way out for each trouble
    Doctor,
    /// Ask the running server whether it is ready; exit code 0 or 69
    Healthcheck {
        /// Its address; none: from the configuration
        #[arg(long)]
        url: Option<String>,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the OpenAPI document
    Openapi,
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Administer the database while the server is stopped or running
    #[command(subcommand)]
    Admin(AdminCommand),
}

/// Look at the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check it; exit code 78 when something is wrong
    Check,
    /// Print every setting with its value and where it comes from
    Print {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Administer the database.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// People
    #[command(subcommand)]
    User(UserCommand),
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Workspaces
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Join tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

/// People.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// List them
    List,
    /// Make one; the password is read from standard input
    Create {
        /// As they will log in
        username: String,
        /// May administer
        #[arg(long)]
        admin: bool,
    },
    /// Set a new password, read from standard input; every log-in ends
    SetPassword {
        /// Whose
        username: String,
    },
}

/// API keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make one and print it
    Create {
        /// Whose
        #[arg(long)]
        user: String,
        /// For people
        #[arg(long, default_value = "command line")]
        name: String,
    },
}

/// Workspaces.
#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// List them
    List,
    /// Make one and print its id
    Create {
        /// Unique
        name: String,
    },
}

/// Join tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token with which one daemon may join, and print it
    Create {
        /// The workspace's name; it is made if there is none
        #[arg(long)]
        workspace: String,
        /// Print the whole command for the machine instead
        #[arg(long)]
        command: bool,
    },
}
