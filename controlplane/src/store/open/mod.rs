//! Opening a database: is it there, is it ours, is it whole, is it not newer than this program?
//!
//! Everything is looked at before anything is written: a file or a server that is refused is left
//! exactly as it was. Each refusal is one sentence with the cause and what to do next.

mod error;
mod header;
mod lock;
mod mounts;
mod postgres;
mod sqlite;
mod url;

pub use error::OpenError;
pub use lock::FileLock;
pub use url::{DatabaseUrl, InvalidDatabaseUrl};

use super::db::Db;

/// Opens the database, checks it, and brings its schema up to date.
pub(super) async fn open(url: &DatabaseUrl) -> Result<Db, OpenError> {
    match url {
        DatabaseUrl::Sqlite(path) => sqlite::open(path).await,
        DatabaseUrl::Postgres(url) => postgres::open(url).await,
    }
}

/// Opens the database beside the server that has it: for commands of a moment.
///
/// A SQLite file without a server is opened as [`open`] does.
pub(super) async fn open_beside(url: &DatabaseUrl) -> Result<Db, OpenError> {
    match url {
        DatabaseUrl::Sqlite(path) => match sqlite::open(path).await {
            Err(OpenError::Locked { .. }) => sqlite::open_beside(path).await,
            opened => opened,
        },
        DatabaseUrl::Postgres(url) => postgres::open(url).await,
    }
}
