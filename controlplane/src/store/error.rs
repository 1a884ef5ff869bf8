//! Why a store method did not do what it was asked to.

use crate::chat::machine::Refusal;

/// Why a store method failed. The message completes "could not use the database: …".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row moved on, or a unique value is taken.
    #[error("the row changed meanwhile, or its name is taken")]
    Conflict,
    /// The worker no longer owns the chat, or the chat moved on: re-read it.
    #[error("another worker owns the chat, or it moved on")]
    Fenced,
    /// No such row.
    #[error("there is no such row")]
    NotFound,
    /// A row breaks an invariant. Logged loudly, answered 500.
    #[error("column {column} of table {table}, row {id}, holds what it must not")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row.
        id: String,
    },
    /// The chat's machine does not allow it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The database does not answer; nobody knows whether a write in flight was kept.
    #[error("the database does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// The transaction lost against another one; it was taken back whole.
    #[error("the transaction lost against another one")]
    Contended(#[source] sqlx::Error),
    /// The disk of the database is full; nothing was written.
    #[error("the disk is full")]
    DiskFull(#[source] sqlx::Error),
    /// The database refuses the statement: a fault of this program.
    #[error("the database refuses a statement")]
    Broken(#[source] sqlx::Error),
}

impl StoreError {
    /// Stable code for clients.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Conflict => "version_conflict",
            Self::Fenced => "stale_worker",
            Self::NotFound => "not_found",
            Self::Refused(refusal) => refusal.code(),
            Self::Unavailable(_) | Self::Contended(_) => "database_unavailable",
            Self::DiskFull(_) => "storage_full",
            Self::Corrupt { .. } | Self::Broken(_) => "internal",
        }
    }

    /// The work ended before its answer, as at a hard stop: nobody knows whether it was kept.
    #[must_use]
    pub(crate) const fn cut_off() -> Self {
        Self::Unavailable(sqlx::Error::WorkerCrashed)
    }

    /// Whether the transaction was surely taken back and the same one may succeed at once.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Contended(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::RowNotFound => Self::NotFound,
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed => Self::Unavailable(error),
                _ => Self::Broken(error),
            };
        };
        if database.is_unique_violation() || database.is_foreign_key_violation() {
            return Self::Conflict;
        }
        let code = database.code().unwrap_or_default().into_owned();
        if database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return of_sqlite(&code, error);
        }
        of_postgres(&code, error)
    }
}

/// SQLite: the extended code as text; its low byte is the primary code.
fn of_sqlite(code: &str, error: sqlx::Error) -> StoreError {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const IO: u32 = 10;
    const CORRUPT: u32 = 11;
    const FULL: u32 = 13;
    const CANNOT_OPEN: u32 = 14;
    const NOT_A_DATABASE: u32 = 26;
    match code.parse::<u32>().unwrap_or(0) & 0xff {
        BUSY | LOCKED => StoreError::Contended(error),
        FULL => StoreError::DiskFull(error),
        IO | CORRUPT | CANNOT_OPEN | NOT_A_DATABASE => StoreError::Unavailable(error),
        _ => StoreError::Broken(error),
    }
}

/// Postgres: five characters, of which the first two are the class.
fn of_postgres(code: &str, error: sqlx::Error) -> StoreError {
    match code {
        // Serialization failure, deadlock, lock time-out.
        "40001" | "40P01" | "55P03" => StoreError::Contended(error),
        "53100" => StoreError::DiskFull(error),
        // Connection, resources, operator intervention, read-only after a fail-over.
        _ if code.starts_with("08") || code.starts_with("53") || code.starts_with("57") => {
            StoreError::Unavailable(error)
        }
        "25006" => StoreError::Unavailable(error),
        _ => StoreError::Broken(error),
    }
}
