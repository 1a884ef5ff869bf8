//! People who can log in.

use shared::ids::UserId;

use super::Base;
use super::db::{in_write_tx, on_pool};
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::clean;
use crate::text_enum::text_enum;

text_enum! {
    /// What a person may do.
    UserRole {
        /// Everything.
        Admin = "admin",
        /// Their own chats and keys.
        Member = "member",
    }
}

/// One person.
#[derive(Clone)]
pub struct UserRow {
    /// Their id.
    pub id: UserId,
    /// Unique; the caller decides on case.
    pub username: String,
    /// In PHC form.
    pub password_hash: String,
    /// What they may do.
    pub role: UserRole,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// A person to be made.
pub struct NewUser {
    /// Unique.
    pub username: String,
    /// In PHC form.
    pub password_hash: String,
    /// What they may do.
    pub role: UserRole,
}

/// The people. Cheap to clone.
#[derive(Clone)]
pub struct UserStore {
    base: Base,
}

const INSERT: &str = "INSERT INTO users (id, username, password_hash, role, created_at_ms) \
     VALUES ($1, $2, $3, $4, $5) RETURNING id, username, password_hash, role, created_at_ms";
const BY_ID: &str =
    "SELECT id, username, password_hash, role, created_at_ms FROM users WHERE id = $1";
const BY_NAME: &str =
    "SELECT id, username, password_hash, role, created_at_ms FROM users WHERE username = $1";
const ALL: &str =
    "SELECT id, username, password_hash, role, created_at_ms FROM users ORDER BY id LIMIT $1";
const COUNT: &str = "SELECT COUNT(*) FROM users";
const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2 WHERE id = $1";
const USE_SETUP_TOKEN: &str =
    "DELETE FROM setup_tokens WHERE token_hash = $1 AND expires_at_ms > $2";
const DROP_SETUP_TOKENS: &str = "DELETE FROM setup_tokens";

pub(super) const STATEMENTS: &[&str] =
    &[INSERT, BY_ID, BY_NAME, ALL, COUNT, SET_PASSWORD, USE_SETUP_TOKEN, DROP_SETUP_TOKENS];

impl UserStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Makes a person. Errors: [`StoreError::Conflict`] if the name is taken.
    pub async fn create(&self, new: &NewUser) -> Result<UserRow, StoreError> {
        let id: UserId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        on_pool!(self.base.db.writer(), |pool| {
            let row = sqlx::query(INSERT)
                .bind(id.to_string())
                .bind(clean(&new.username))
                .bind(&new.password_hash)
                .bind(new.role.as_str())
                .bind(now)
                .fetch_one(pool)
                .await?;
            read(&row)
        })
    }

    /// Makes the first administrator with a set-up token, and uses the token up.
    ///
    /// Errors: [`StoreError::NotFound`] if the token is unknown, used or expired (nothing is made);
    /// [`StoreError::Conflict`] if there is a person already.
    pub async fn create_first(
        &self,
        token_hash: &str,
        new: &NewUser,
    ) -> Result<UserRow, StoreError> {
        let id: UserId = self.base.ids.id();
        let now = self.base.clock.now_ms();
        in_write_tx!(&self.base.db, |tx| {
            // The token's row is the guard: of two that come with it, one finds it.
            let used = on_pool!(tx.conn(), |conn| {
                sqlx::query(USE_SETUP_TOKEN)
                    .bind(token_hash)
                    .bind(now)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            if used == 0 {
                return Err(StoreError::NotFound);
            }
            let people: i64 =
                on_pool!(tx.conn(), |conn| sqlx::query_scalar(COUNT).fetch_one(conn).await?);
            if people > 0 {
                return Err(StoreError::Conflict);
            }
            on_pool!(tx.conn(), |conn| {
                sqlx::query(DROP_SETUP_TOKENS).execute(conn).await?;
            });
            on_pool!(tx.conn(), |conn| {
                let row = sqlx::query(INSERT)
                    .bind(id.to_string())
                    .bind(clean(&new.username))
                    .bind(&new.password_hash)
                    .bind(new.role.as_str())
                    .bind(now)
                    .fetch_one(conn)
                    .await?;
                read(&row)?
            })
        })
    }

    /// One person.
    pub async fn user(&self, id: UserId) -> Result<Option<UserRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_ID).bind(id.to_string()).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// One person, by the exact name.
    pub async fn by_username(&self, username: &str) -> Result<Option<UserRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(BY_NAME).bind(clean(username)).fetch_optional(pool).await?;
            row.as_ref().map(read).transpose()
        })
    }

    /// The people, oldest first, at most `limit`.
    pub async fn list(&self, limit: u32) -> Result<Vec<UserRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(ALL).bind(i64::from(limit)).fetch_all(pool).await?;
            rows.iter().map(read).collect()
        })
    }

    /// How many people there are; zero: set-up is required.
    pub async fn count(&self) -> Result<i64, StoreError> {
        Ok(on_pool!(self.base.db.reader(), |pool| {
            sqlx::query_scalar(COUNT).fetch_one(pool).await?
        }))
    }

    /// Replaces a password. Errors: [`StoreError::NotFound`].
    pub async fn set_password(&self, id: UserId, password_hash: &str) -> Result<(), StoreError> {
        let changed = on_pool!(self.base.db.writer(), |pool| {
            sqlx::query(SET_PASSWORD)
                .bind(id.to_string())
                .bind(password_hash)
                .execute(pool)
                .await?
                .rows_affected()
        });
        if changed == 1 { Ok(()) } else { Err(StoreError::NotFound) }
    }
}

fn read<R: Columns>(row: &R) -> Result<UserRow, StoreError> {
    let row = Reader::of(row, "users", "id");
    Ok(UserRow {
        id: row.parsed("id")?,
        username: row.text("username")?,
        password_hash: row.text("password_hash")?,
        role: row.parsed("role")?,
        created_at_ms: row.int("created_at_ms")?,
    })
}
