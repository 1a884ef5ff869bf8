//! Opening a database (interim).
use super::db::Db;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(std::path::PathBuf),
    /// A server, by its URL.
    Postgres(String),
}

/// Why the database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Interim.
    #[error("interim")]
    Interim,
}

pub(super) async fn open(_url: &DatabaseUrl) -> Result<Db, OpenError> {
    Err(OpenError::Interim)
}
