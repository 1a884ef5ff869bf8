//! Opening a Postgres database: names the cause before the first table is made.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::error::OpenError;
use super::url::server;
use crate::store::db::Db;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// The oldest major version that is supported.
const SERVER_NEEDED: u32 = 15;
/// Connections of one replica.
const CONNECTIONS: u32 = 16;
/// Longest wait for a connection of the pool, and for the server to accept one.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
// A statement that runs longer is a fault; without a limit it would hold a chat for ever.
const LIMITS: &str = "SET statement_timeout = '60s'; SET lock_timeout = '20s'; \
     SET idle_in_transaction_session_timeout = '60s'";

pub(super) async fn open(url: &str) -> Result<Db, OpenError> {
    let other = |source: sqlx::Error| OpenError::Other {
        place: "the database server".to_owned(),
        source: Box::new(source),
    };
    let options: PgConnectOptions = url.parse().map_err(other)?;
    let options = options.application_name("holdfast").disable_statement_logging();
    let place = server(&options);
    let fail = |error| of_postgres(&place, error);

    let mut first = match tokio::time::timeout(CONNECT_WAIT, options.connect()).await {
        Ok(connection) => connection.map_err(fail)?,
        Err(_) => return Err(fail(sqlx::Error::PoolTimedOut)),
    };
    check(&place, &mut first).await?;
    MIGRATIONS.run(&mut first).await.map_err(|error| of_migration(&place, error))?;
    first.close().await.map_err(fail)?;

    let pool: PgPool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT_WAIT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(LIMITS).execute(connection).await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await
        .map_err(fail)?;
    Ok(Db::Postgres(pool))
}

/// Everything that would otherwise fail later with a cryptic text.
async fn check(place: &str, connection: &mut PgConnection) -> Result<(), OpenError> {
    let fail = |error| of_postgres(place, error);
    let server = place.to_owned();
    let version: (i32, String) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(fail)?;
    if version.0 < i32::try_from(SERVER_NEEDED * 10_000).unwrap_or(i32::MAX) {
        return Err(OpenError::ServerTooOld { server, found: version.1, needed: SERVER_NEEDED });
    }
    let encoding: (String, String) = sqlx::query_as(
        "SELECT current_setting('server_encoding'), datcollate FROM pg_database \
         WHERE datname = current_database()",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(fail)?;
    if encoding.0 != "UTF8" {
        return Err(OpenError::Encoding { server, encoding: encoding.0 });
    }
    if encoding.1 != "C" && encoding.1 != "POSIX" {
        tracing::warn!(
            collation = %encoding.1,
            "the database does not sort by bytes; make it with LC_COLLATE 'C' to have lists \
             ordered as on other deployments"
        );
    }
    let read_only: (bool,) = sqlx::query_as(
        "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(fail)?;
    if read_only.0 {
        return Err(OpenError::ReadOnly { server });
    }
    let may_create: (Option<bool>,) = sqlx::query_as(
        "SELECT has_schema_privilege(current_schema(), 'CREATE') \
         AND has_schema_privilege(current_schema(), 'USAGE')",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(fail)?;
    if may_create.0 != Some(true) {
        return Err(OpenError::NoRights { server });
    }
    Ok(())
}

/// The number of the newest migration of this program.
fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn of_migration(place: &str, error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(found) => OpenError::SchemaTooNew { found, known: newest() },
        MigrateError::VersionMismatch(step) => OpenError::SchemaDiffers { step },
        MigrateError::Execute(error) => of_postgres(place, error),
        error => OpenError::Other { place: place.to_owned(), source: Box::new(error) },
    }
}

fn of_postgres(place: &str, error: sqlx::Error) -> OpenError {
    let server = place.to_owned();
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::Protocol(_) => OpenError::Unreachable { server, source: error },
            error => OpenError::Other { place: server, source: Box::new(error) },
        };
    };
    match database.code().as_deref().unwrap_or_default() {
        "28P01" | "28000" => OpenError::WrongPassword { server, source: error },
        "3D000" => OpenError::NoDatabase { server },
        "53300" => OpenError::TooManyConnections { server },
        "42501" => OpenError::NoRights { server },
        "25006" => OpenError::ReadOnly { server },
        // Starting up, shutting down, recovering.
        "57P03" | "57P01" | "57P02" => OpenError::Unreachable { server, source: error },
        _ => OpenError::Other { place: server, source: Box::new(error) },
    }
}
