//! Why a database was not opened: the cause, and what to do next.

use std::io;
use std::path::PathBuf;

/// Why a database was not opened. Each text is one sentence with the next step; nothing of the
/// database was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file.
    #[error("{path} is in use by another process: stop that one first")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be used.
    #[error("{path} cannot be {action}: check that the folder exists and belongs to this user")]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file is not one that this program made.
    #[error("{path} is {what} and is left as it is: choose another file with --database-url")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file belongs to another user.
    #[error("{path} belongs to user {owner}, and this program runs as {user}: run it as {owner}")]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// The file's user.
        owner: u32,
        /// This program's user.
        user: u32,
    },
    /// The file is on a network file system, where SQLite's locks do not hold.
    #[error("{path} is on {kind}, where SQLite can lose data: use a local disk or Postgres")]
    NetworkFileSystem {
        /// The file.
        path: PathBuf,
        /// Which.
        kind: String,
    },
    /// The log of the last writes is missing.
    #[error(
        "{path} was not closed, and its log {path}-wal with the last writes is missing: restore \
         both from a backup, or delete {path}.lock to go on without those writes"
    )]
    MissingLog {
        /// The file.
        path: PathBuf,
    },
    /// The log beside the file is not its own.
    #[error("{path}-wal is not the log of {path}: put the right one back, or move it away")]
    ForeignLog {
        /// The file.
        path: PathBuf,
    },
    /// Pages contradict each other.
    #[error("{path} is damaged ({detail}): restore it with `controlplane restore FILE`")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first finding.
        detail: String,
    },
    /// A newer program wrote the schema.
    #[error(
        "the database has schema {found}, and this program knows {known}: install the newer version"
    )]
    SchemaTooNew {
        /// Of the database.
        found: i64,
        /// Of this program.
        known: i64,
    },
    /// A migration that was applied is not the one this program has.
    #[error(
        "schema step {step} was applied in another form than this program has: install a released \
         version"
    )]
    SchemaDiffers {
        /// The migration's number.
        step: i64,
    },
    /// The SQLite library is older than the oldest safe one.
    #[error("the SQLite library is {found}, and {needed} is needed: build with the bundled one")]
    OldLibrary {
        /// Its version.
        found: String,
        /// The oldest safe one.
        needed: &'static str,
    },
    /// The file was opened without a guarantee that the store relies on.
    #[error("SQLite did not accept {setting} for {path}: check the file system")]
    Setting {
        /// The file.
        path: PathBuf,
        /// The guarantee.
        setting: &'static str,
    },
    /// The server does not answer.
    #[error("{server} does not answer: check that it runs and that its address is right")]
    Unreachable {
        /// Without the password.
        server: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The server does not know the user or the password.
    #[error("{server} refuses the user or the password: check both in the database URL")]
    WrongPassword {
        /// Without the password.
        server: String,
        /// As the server says it.
        #[source]
        source: sqlx::Error,
    },
    /// There is no such database.
    #[error(
        "{server} has no such database: make it with `CREATE DATABASE … ENCODING 'UTF8' LC_COLLATE \
         'C' LC_CTYPE 'C' TEMPLATE template0`"
    )]
    NoDatabase {
        /// Without the password.
        server: String,
    },
    /// The server has no connection left.
    #[error("{server} has no connection left: raise max_connections or stop other clients")]
    TooManyConnections {
        /// Without the password.
        server: String,
    },
    /// The database is not UTF-8.
    #[error("{server} has encoding {encoding}: make the database again with ENCODING 'UTF8'")]
    Encoding {
        /// Without the password.
        server: String,
        /// Its encoding.
        encoding: String,
    },
    /// The server does not accept writes.
    #[error("{server} is read-only, probably a standby: use the address of the primary")]
    ReadOnly {
        /// Without the password.
        server: String,
    },
    /// The user may not make tables.
    #[error("{server} does not let the user make tables: `GRANT CREATE, USAGE ON SCHEMA public`")]
    NoRights {
        /// Without the password.
        server: String,
    },
    /// The server is too old.
    #[error("{server} is version {found}, and {needed} or newer is needed: upgrade it")]
    ServerTooOld {
        /// Without the password.
        server: String,
        /// Its version.
        found: String,
        /// The oldest supported one.
        needed: u32,
    },
    /// Anything else that the database says.
    #[error("{place} could not be opened: see the cause below")]
    Other {
        /// The file or the server.
        place: String,
        /// As the database says it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Stable code, for logs and for `doctor`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "database_locked",
            Self::File { .. } => "database_file",
            Self::Foreign { .. } => "database_foreign",
            Self::WrongOwner { .. } => "database_wrong_owner",
            Self::NetworkFileSystem { .. } => "database_network_file_system",
            Self::MissingLog { .. } => "database_log_missing",
            Self::ForeignLog { .. } => "database_log_foreign",
            Self::Damaged { .. } => "database_damaged",
            Self::SchemaTooNew { .. } => "database_schema_too_new",
            Self::SchemaDiffers { .. } => "database_schema_differs",
            Self::OldLibrary { .. } => "database_library_too_old",
            Self::Setting { .. } => "database_setting",
            Self::Unreachable { .. } => "database_unreachable",
            Self::WrongPassword { .. } => "database_wrong_password",
            Self::NoDatabase { .. } => "database_missing",
            Self::TooManyConnections { .. } => "database_connections_exhausted",
            Self::Encoding { .. } => "database_encoding",
            Self::ReadOnly { .. } => "database_read_only",
            Self::NoRights { .. } => "database_no_rights",
            Self::ServerTooOld { .. } => "database_server_too_old",
            Self::Other { .. } => "database_other",
        }
    }

    /// Whether waiting may help, so that a start may try again with back-off.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TooManyConnections { .. } | Self::ReadOnly { .. }
        )
    }
}
