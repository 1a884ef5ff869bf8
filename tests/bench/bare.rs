//! The databases without the product: a row a commit, and how many commits there were.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, PgConnection, SqliteConnection};
use tests::postgres::Postgres;

use crate::commits::rate;
use crate::product::now;

const TABLE: &str = "CREATE TABLE bare (id BIGINT NOT NULL, said TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO bare (id, said) VALUES ($1, $2)";
/// About as much as a short message.
const TEXT: &str = "a row of about the length of a short message, as a person types them";

/// One connection, and where more are to be had.
pub enum Bare {
    Sqlite(SqliteConnection),
    Postgres(PgConnection, String),
}

impl Bare {
    /// A database of its own: the Postgres one at `url`, else a file in `folder`.
    pub async fn open(url: Option<&str>, folder: &Path) -> Result<Self> {
        let Some(url) = url else {
            let options = SqliteConnectOptions::new()
                .filename(folder.join("bare.db"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .disable_statement_logging();
            let mut connection = options.connect().await?;
            sqlx::query(TABLE).execute(&mut connection).await?;
            return Ok(Self::Sqlite(connection));
        };
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query(TABLE).execute(&mut connection).await?;
        Ok(Self::Postgres(connection, url.to_owned()))
    }

    /// Commits one row.
    pub async fn commit(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                sqlx::query(INSERT).bind(1_i64).bind(TEXT).execute(connection).await?;
            }
            Self::Postgres(connection, _) => commit(connection).await?,
        }
        Ok(())
    }

    /// Commits a second, each of `writers` committing `rows`. A file has one writer.
    pub async fn at_once(&mut self, writers: usize, rows: usize) -> Result<f64> {
        let Self::Postgres(_, url) = self else {
            let start = now();
            for _ in 0..rows {
                self.commit().await?;
            }
            return Ok(rate(rows, start.elapsed()));
        };
        let connections = try_join_all((0..writers).map(|_| PgConnection::connect(url))).await?;
        let start = now();
        let all = connections.into_iter().map(async |mut connection| {
            for _ in 0..rows {
                commit(&mut connection).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(all).await?;
        Ok(rate(writers * rows, start.elapsed()))
    }
}

async fn commit(connection: &mut PgConnection) -> Result<()> {
    sqlx::query(INSERT).bind(1_i64).bind(TEXT).execute(connection).await?;
    Ok(())
}

/// Writing transactions that a Postgres server has begun so far: reading ones take no number.
pub async fn postgres_commits(postgres: &Postgres, url: &str) -> Result<u64> {
    let sql = "SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT)";
    Ok(postgres.ask(url, sql).await?.context("a number")?.parse()?)
}

/// Commits in a log of SQLite: frames that say how large the database is after them. The log begins
/// anew after a checkpoint, and then with a lower count.
pub fn sqlite_commits(log: &Path) -> Result<u64> {
    let bytes = std::fs::read(log).with_context(|| format!("no {}", log.display()))?;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let page = word(8).context("the log has a head")? as usize;
    ensure!(page >= 512, "a page of {page} bytes");
    let salt = bytes.get(16..24).context("the log has a salt")?;
    let frames = (32..).step_by(page + 24);
    let frames = frames.take_while(|at| bytes.get(at + 8..at + 16) == Some(salt));
    let commits = frames.filter(|at| word(at + 4).is_some_and(|size| size > 0)).count();
    Ok(commits as u64)
}
