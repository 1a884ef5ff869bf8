//! The seam between one SQL text and two databases.
//!
//! [`Seam`] is the only place that knows that there are two. `on_pool!` compiles its body once
//! for each driver, so a statement, its binds and its rows have real driver types and there is no
//! least common denominator. `in_write_tx!` opens a transaction that holds the write lock from
//! its first statement on, commits it at the end, and tries again on a closed list of codes.
//!
//! SQLite has one writer connection and a few readers, so writers queue in the pool instead of
//! failing with "busy"; Postgres has one pool for both.

use std::sync::Arc;

use shared::fault::{self, Access, Denial, Fate, Turn};
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};

use super::error::StoreError;
use super::open::FileLock;

/// A value of the one driver or of the other.
#[derive(Clone, Copy, Debug)]
pub enum Seam<S, P> {
    /// SQLite's.
    Sqlite(S),
    /// Postgres's.
    Postgres(P),
}

/// An open database. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Db {
    /// One file.
    Sqlite {
        /// Exactly one connection: the queue of writers.
        write: SqlitePool,
        /// A few connections that are opened read-only.
        read: SqlitePool,
        /// Keeps other processes out. Released after the last clone is dropped.
        lock: Option<Arc<FileLock>>,
    },
    /// A server.
    Postgres(PgPool),
}

impl Db {
    /// The pool for statements that only read.
    #[must_use]
    pub fn reader(&self) -> Seam<&SqlitePool, &PgPool> {
        match self {
            Self::Sqlite { read, .. } => Seam::Sqlite(read),
            Self::Postgres(pool) => Seam::Postgres(pool),
        }
    }

    /// The pool for a single statement that writes.
    #[must_use]
    pub fn writer(&self) -> Seam<&SqlitePool, &PgPool> {
        match self {
            Self::Sqlite { write, .. } => Seam::Sqlite(write),
            Self::Postgres(pool) => Seam::Postgres(pool),
        }
    }

    /// `sqlite` or `postgres`, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Closes every connection after the statement that runs on it.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { write, read, lock } => {
                if let Some(lock) = lock {
                    lock.closing();
                }
                read.close().await;
                write.close().await; // last: it checkpoints the log
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// An open transaction. Dropped without [`commit`](Self::commit) it is rolled back.
pub struct Tx {
    open: Seam<Transaction<'static, Sqlite>, Transaction<'static, Postgres>>,
    /// Dropped after the transaction.
    turn: Turn,
}

impl Tx {
    /// Begins a transaction that may write. On SQLite it waits for the write lock here, so that a
    /// later statement cannot fail as "busy"; on Postgres its first statement must write the row
    /// that guards the data.
    pub async fn begin_write(db: &Db) -> Result<Self, StoreError> {
        let turn = allowed(Access::Write).await?;
        let open = match db {
            Db::Sqlite { write, .. } => Seam::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Db::Postgres(pool) => Seam::Postgres(begin_postgres(pool, "BEGIN").await?),
        };
        Ok(Self { open, turn })
    }

    /// Begins a transaction that sees one state of the database in all its statements.
    pub async fn begin_read(db: &Db) -> Result<Self, StoreError> {
        const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let turn = allowed(Access::Read).await?;
        let open = match db {
            Db::Sqlite { read, .. } => Seam::Sqlite(read.begin().await?),
            Db::Postgres(pool) => Seam::Postgres(begin_postgres(pool, SNAPSHOT).await?),
        };
        Ok(Self { open, turn })
    }

    /// The connection, for `on_pool!`.
    pub fn conn(&mut self) -> Seam<&mut SqliteConnection, &mut PgConnection> {
        match &mut self.open {
            Seam::Sqlite(tx) => Seam::Sqlite(&mut *tx),
            Seam::Postgres(tx) => Seam::Postgres(&mut *tx),
        }
    }

    /// Makes everything durable. After an error nobody knows whether it is.
    pub async fn commit(self) -> Result<(), StoreError> {
        fault::point("db commit");
        let fate = self.turn.commit().await;
        if let Fate::Denied(denial) = fate {
            return Err(denied(denial));
        }
        match self.open {
            Seam::Sqlite(tx) => tx.commit().await?,
            Seam::Postgres(tx) => tx.commit().await?,
        }
        drop(self.turn);
        fault::pass("db committed").await;
        if fate == Fate::Unsure { Err(StoreError::cut_off()) } else { Ok(()) }
    }

    /// Takes everything back, or ends a transaction that only read.
    pub async fn roll_back(self) -> Result<(), StoreError> {
        match self.open {
            Seam::Sqlite(tx) => tx.rollback().await?,
            Seam::Postgres(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

/// A turn at the database, or what a simulation says instead.
async fn allowed(access: Access) -> Result<Turn, StoreError> {
    let turn = fault::turn(access).await;
    turn.denied().map_or(Ok(turn), |denial| Err(denied(denial)))
}

fn denied(denial: Denial) -> StoreError {
    let cause = sqlx::Error::WorkerCrashed;
    match denial {
        Denial::Away => StoreError::Unavailable(cause),
        Denial::Full => StoreError::DiskFull(cause),
        Denial::Contended => StoreError::Contended(cause),
    }
}

/// Where a single statement runs.
pub(crate) trait Place {
    /// The turn of a statement on its own; none in a transaction, which has one.
    fn turn(&self) -> impl Future<Output = Result<Option<Turn>, StoreError>> + Send;
}

impl Place for &SqlitePool {
    async fn turn(&self) -> Result<Option<Turn>, StoreError> {
        // Only the queue of writers has a single connection.
        let writes = self.options().get_max_connections() == 1;
        allowed(if writes { Access::Write } else { Access::Read }).await.map(Some)
    }
}

impl Place for &PgPool {
    async fn turn(&self) -> Result<Option<Turn>, StoreError> {
        allowed(Access::Write).await.map(Some)
    }
}

impl Place for &mut SqliteConnection {
    async fn turn(&self) -> Result<Option<Turn>, StoreError> {
        Ok(None)
    }
}

impl Place for &mut PgConnection {
    async fn turn(&self) -> Result<Option<Turn>, StoreError> {
        Ok(None)
    }
}

/// Begins a transaction in a task of its own, so that a caller that goes away cannot cut it off.
///
/// A `BEGIN` that is cut off between its sending and its answer goes unnoticed by the driver
/// (sqlx 0.9): the connection returns to the pool with an open transaction, which holds its locks
/// and swallows the next caller's work. Here the transaction is begun to the end, and one that
/// nobody waits for any more is rolled back.
async fn begin_postgres(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Postgres>, StoreError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "ends by itself with the pool's time limit")]
    tokio::spawn(async move {
        // Not taken: the transaction is dropped here, and so rolled back.
        let _ = tell.send(pool.begin_with(statement).await);
    });
    match told.await {
        Ok(begun) => Ok(begun?),
        Err(_) => Err(StoreError::cut_off()),
    }
}

/// Tries of one transaction that the database itself asks to repeat.
pub(crate) const TX_TRIES: u32 = 4;

/// Runs the body with the pool or the connection of either database.
///
/// `on_pool!(self.db.reader(), |pool| sqlx::query(SQL).bind(id).fetch_one(pool).await?)`
macro_rules! on_pool {
    ($seam:expr, |$pool:ident| $body:expr) => {
        match $seam {
            $crate::store::db::Seam::Sqlite($pool) => {
                let _turn = $crate::store::db::Place::turn(&$pool).await?;
                $body
            }
            $crate::store::db::Seam::Postgres($pool) => {
                let _turn = $crate::store::db::Place::turn(&$pool).await?;
                $body
            }
        }
    };
}

/// Runs the body in one write transaction and commits it; an error in the body rolls back.
///
/// The value is a `Result<_, StoreError>`; `?` in the body leaves the body only. The body runs
/// again when the database says that the transaction lost against another one (a closed list of
/// codes, see [`StoreError::is_transient`]), so it must only borrow what it uses.
macro_rules! in_write_tx {
    ($db:expr, |$tx:ident| $body:expr) => {{
        let mut tries = 1;
        loop {
            let outcome: Result<_, $crate::store::StoreError> = async {
                let mut transaction = $crate::store::db::Tx::begin_write($db).await?;
                let value = {
                    let $tx = &mut transaction;
                    $body
                };
                transaction.commit().await?;
                Ok(value)
            }
            .await;
            match outcome {
                Err(error) if error.is_transient() && tries < $crate::store::db::TX_TRIES => {
                    tries += 1;
                }
                outcome => break outcome,
            }
        }
    }};
}

pub(crate) use {in_write_tx, on_pool};
