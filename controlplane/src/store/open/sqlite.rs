//! Opening a SQLite file.
//!
//! ```text
//! lock ─► look at the first bytes ─► look through SQLite, read-only ─► open ─► migrate ─► settings
//!            │ absent
//!            └──► make `FILE.new` whole, then rename it: a half-made file is never found
//! ```

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};

use super::error::OpenError;
use super::header::{APPLICATION_ID, beside, file_error, inspect};
use super::lock::FileLock;
use super::mounts::network_file_system;
use crate::store::db::Db;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// The oldest library without known faults in the log.
const LIBRARY_NEEDED: &str = "3.51.3";
const LIBRARY_NEEDED_PARTS: [u32; 3] = [3, 51, 3];
/// A foreign process that looks at the file may hold it this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A writer waits this long for those before it.
const WRITER_WAIT: Duration = Duration::from_secs(30);
/// Reads at once; each costs a thread and a page cache, and is opened when it is needed.
const READERS: u32 = 4;
/// Above this size the full check is left to `doctor`: it reads the whole file.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(super) async fn open(path: &Path) -> Result<Db, OpenError> {
    let path = &absolute(path)?;
    let lock = FileLock::take(path)?;
    match inspect(path)? {
        Some(schema) => {
            known_schema(schema)?;
            if lock.was_left_open() && !beside(path, "-wal").exists() {
                return Err(OpenError::MissingLog { path: path.clone() });
            }
            look_through(path).await?;
        }
        None => make(path).await?,
    }
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(WRITER_WAIT)
        .test_before_acquire(false)
        .connect_with(writing(path))
        .await
        .map_err(|error| of_sqlite(path, error))?;
    let ready = async {
        migrate(path, &write).await?;
        check_settings(path, &write).await
    };
    if let Err(error) = ready.await {
        write.close().await;
        return Err(error);
    }
    lock.opened();
    let read = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(WRITER_WAIT)
        .test_before_acquire(false)
        .connect_lazy_with(options(path).read_only(true));
    Ok(Db::Sqlite { write, read, lock: Some(Arc::new(lock)) })
}

/// Opens a file that a running server has: SQLite lets several processes in, and the server's lock
/// only says who looks after the file. Refused unless the schema is exactly this program's.
pub(super) async fn open_beside(path: &Path) -> Result<Db, OpenError> {
    let path = &absolute(path)?;
    if inspect(path)? != Some(newest()) {
        return Err(OpenError::Locked { path: path.clone() });
    }
    let pool = |read_only, connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(WRITER_WAIT)
            .connect_lazy_with(writing(path).read_only(read_only))
    };
    Ok(Db::Sqlite { write: pool(false, 1), read: pool(true, 1), lock: None })
}

/// The path without links in its folders, so that two names of one file share one lock.
fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))
        .map_err(|source| file_error(path, "found", source))?;
    let name = path
        .file_name()
        .ok_or(OpenError::Foreign { path: path.to_owned(), what: "not a file's name" })?;
    if let Some(kind) = network_file_system(&folder) {
        return Err(OpenError::NetworkFileSystem { path: path.to_owned(), kind });
    }
    Ok(folder.join(name))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

fn writing(path: &Path) -> SqliteConnectOptions {
    options(path).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
}

/// The number of the newest migration of this program.
fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn known_schema(found: i64) -> Result<(), OpenError> {
    let known = newest();
    if found > known { Err(OpenError::SchemaTooNew { found, known }) } else { Ok(()) }
}

/// Looks at an existing file the way SQLite sees it, log included, without a write.
async fn look_through(path: &Path) -> Result<(), OpenError> {
    // To read a file in this mode SQLite makes both beside it, and a reader does not remove them.
    let made = [beside(path, "-wal"), beside(path, "-shm")].into_iter().filter(|at| !at.exists());
    let made: Vec<PathBuf> = made.collect();
    let looked = look(path).await;
    for leftover in made {
        let _ = fs::remove_file(leftover); // empty, and this process holds the lock
    }
    looked
}

async fn look(path: &Path) -> Result<(), OpenError> {
    let mut connection =
        options(path).read_only(true).connect().await.map_err(|error| of_sqlite(path, error))?;
    let looked = look_with(path, &mut connection).await;
    let closed = connection.close().await;
    looked?;
    closed.map_err(|error| of_sqlite(path, error))
}

async fn look_with(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let number = |row: (i64,)| row.0;
    let id = sqlx::query_as("PRAGMA application_id").fetch_one(&mut *connection).await;
    let id = id.map(number).map_err(|error| of_sqlite(path, error))?;
    if id != i64::from(APPLICATION_ID) {
        // The file is ours by its own first page, so the page of the log is another file's.
        return Err(OpenError::ForeignLog { path: path.to_owned() });
    }
    let schema = sqlx::query_as("PRAGMA user_version").fetch_one(&mut *connection).await;
    known_schema(schema.map(number).map_err(|error| of_sqlite(path, error))?)?;
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations")
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| of_sqlite(path, error))?;
    for (found, checksum) in applied {
        match MIGRATIONS.iter().find(|migration| migration.version == found) {
            None => return Err(OpenError::SchemaTooNew { found, known: newest() }),
            Some(known) if *known.checksum != *checksum => {
                return Err(OpenError::SchemaDiffers { step: found });
            }
            Some(_) => {}
        }
    }
    let size = fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    if size > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let finding: (String,) = sqlx::query_as("PRAGMA quick_check(1)")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| of_sqlite(path, error))?;
    if finding.0 == "ok" {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), detail: finding.0.replace('\n', " ") })
}

/// Makes a whole, empty database and puts it in place by a rename.
async fn make(path: &Path) -> Result<(), OpenError> {
    let fresh = beside(path, ".new");
    for leftover in [fresh.clone(), beside(&fresh, "-wal"), beside(&fresh, "-shm")] {
        match fs::remove_file(&leftover) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(file_error(&leftover, "removed", source)),
        }
    }
    // Made by hand so that nobody else can read it; SQLite gives the log the same mode.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(|source| file_error(&fresh, "made", source))?;
    let mut connection =
        writing(&fresh).connect().await.map_err(|error| of_sqlite(&fresh, error))?;
    sqlx::query(AssertSqlSafe(format!("PRAGMA application_id = {APPLICATION_ID}")))
        .execute(&mut connection)
        .await
        .map_err(|error| of_sqlite(&fresh, error))?;
    MIGRATIONS.run(&mut connection).await.map_err(|error| of_migration(&fresh, error))?;
    set_schema(&fresh, &mut connection).await?;
    connection.close().await.map_err(|error| of_sqlite(&fresh, error))?;
    file.sync_all().map_err(|source| file_error(&fresh, "synced", source))?;
    fs::rename(&fresh, path).map_err(|source| file_error(path, "made", source))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| file_error(path, "synced", source))
}

async fn migrate(path: &Path, pool: &SqlitePool) -> Result<(), OpenError> {
    let mut connection = pool.acquire().await.map_err(|error| of_sqlite(path, error))?;
    let before: (i64,) = sqlx::query_as("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| of_sqlite(path, error))?;
    MIGRATIONS.run(&mut *connection).await.map_err(|error| of_migration(path, error))?;
    if before.0 == newest() {
        return Ok(());
    }
    set_schema(path, &mut connection).await
}

/// Writes the number by which an older program refuses the file.
async fn set_schema(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    sqlx::query(AssertSqlSafe(format!("PRAGMA user_version = {}", newest())))
        .execute(connection)
        .await
        .map_err(|error| of_sqlite(path, error))?;
    Ok(())
}

/// What the store relies on is asked for and not taken for granted.
async fn check_settings(path: &Path, pool: &SqlitePool) -> Result<(), OpenError> {
    let version: (String,) = sqlx::query_as("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .map_err(|error| of_sqlite(path, error))?;
    if !is_at_least(&version.0, LIBRARY_NEEDED_PARTS) {
        return Err(OpenError::OldLibrary { found: version.0, needed: LIBRARY_NEEDED });
    }
    let journal: (String,) = sqlx::query_as("PRAGMA journal_mode")
        .fetch_one(pool)
        .await
        .map_err(|error| of_sqlite(path, error))?;
    let setting = |setting| OpenError::Setting { path: path.to_owned(), setting };
    if journal.0 != "wal" {
        return Err(setting("journal_mode=WAL"));
    }
    let numbers = [
        ("PRAGMA synchronous", 2, "synchronous=FULL"),
        ("PRAGMA foreign_keys", 1, "foreign_keys=ON"),
    ];
    for (sql, wanted, name) in numbers {
        let found: (i64,) =
            sqlx::query_as(sql).fetch_one(pool).await.map_err(|error| of_sqlite(path, error))?;
        if found.0 != wanted {
            return Err(setting(name));
        }
    }
    Ok(())
}

fn is_at_least(version: &str, needed: [u32; 3]) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = [(); 3].map(|()| parts.next().unwrap_or(0));
    found >= needed
}

fn of_migration(path: &Path, error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(found) => OpenError::SchemaTooNew { found, known: newest() },
        MigrateError::VersionMismatch(step) => OpenError::SchemaDiffers { step },
        MigrateError::Execute(error) => of_sqlite(path, error),
        error => OpenError::Other { place: path.display().to_string(), source: Box::new(error) },
    }
}

/// Names the primary code; see <https://sqlite.org/rescode.html>.
fn of_sqlite(path: &Path, error: sqlx::Error) -> OpenError {
    let code = error.as_database_error().and_then(|database| database.code());
    let code = code.and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff;
    match code {
        5 | 6 => OpenError::Locked { path: path.to_owned() },
        8 | 14 => file_error(path, "opened for writing", std::io::Error::other(error)),
        11 | 26 => OpenError::Damaged { path: path.to_owned(), detail: error.to_string() },
        _ => OpenError::Other { place: path.display().to_string(), source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let needed = LIBRARY_NEEDED_PARTS;
        assert!(is_at_least(LIBRARY_NEEDED, needed));
        assert!(is_at_least("3.100.0", needed) && is_at_least("4.0", needed));
        assert!(!is_at_least("3.51.2", needed) && !is_at_least("3.9.9", needed));
    }
}
