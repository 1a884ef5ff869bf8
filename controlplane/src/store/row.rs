//! Reading columns, the same way from both drivers.
//!
//! A value that is not what the column must hold is [`StoreError::Corrupt`] with the table, the
//! column and the row's id, so that an operator can find it.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::error::StoreError;

/// A row of either database.
pub(crate) trait Columns {
    fn raw_text(&self, column: &str) -> Result<Option<String>, sqlx::Error>;
    fn raw_int(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    fn raw_bool(&self, column: &str) -> Result<bool, sqlx::Error>;
    fn raw_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error>;
}

macro_rules! columns {
    ($($row:ty),*) => {$(
        impl Columns for $row {
            fn raw_text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
                self.try_get(column)
            }
            fn raw_int(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
                self.try_get(column)
            }
            fn raw_bool(&self, column: &str) -> Result<bool, sqlx::Error> {
                self.try_get(column)
            }
            fn raw_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
                self.try_get(column)
            }
        }
    )*};
}
columns!(SqliteRow, PgRow);

/// One row of one table, with the id to name it by.
pub(crate) struct Reader<'a, R> {
    row: &'a R,
    table: &'static str,
    id: String,
}

impl<'a, R: Columns> Reader<'a, R> {
    /// Reads a row of `table`; `key` is the column that names the row.
    pub(crate) fn of(row: &'a R, table: &'static str, key: &'static str) -> Self {
        let id = row.raw_text(key).ok().flatten().unwrap_or_default();
        Self { row, table, id }
    }

    fn corrupt(&self, column: &'static str) -> StoreError {
        let id = self.id.clone();
        tracing::error!(table = self.table, column, row = %id, "a stored value is not valid");
        StoreError::Corrupt { table: self.table, column, id }
    }

    /// The text of a column that may be null.
    pub(crate) fn text_or_null(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.row.raw_text(column).map_err(|_| self.corrupt(column))
    }

    /// The text of a column.
    pub(crate) fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.text_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// The number of a column that may be null.
    pub(crate) fn int_or_null(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.row.raw_int(column).map_err(|_| self.corrupt(column))
    }

    /// The number of a column.
    pub(crate) fn int(&self, column: &'static str) -> Result<i64, StoreError> {
        self.int_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// The truth of a column.
    pub(crate) fn bool(&self, column: &'static str) -> Result<bool, StoreError> {
        self.row.raw_bool(column).map_err(|_| self.corrupt(column))
    }

    /// The bytes of a column that may be null.
    pub(crate) fn bytes_or_null(
        &self,
        column: &'static str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.row.raw_bytes(column).map_err(|_| self.corrupt(column))
    }

    /// The bytes of a column.
    pub(crate) fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.bytes_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// An id or an enum that may be null.
    pub(crate) fn parsed_or_null<T: FromStr>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        match self.text_or_null(column)? {
            Some(text) => text.parse().map(Some).map_err(|_| self.corrupt(column)),
            None => Ok(None),
        }
    }

    /// An id or an enum.
    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.parsed_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// JSON that may be null.
    pub(crate) fn json_or_null<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        match self.text_or_null(column)? {
            Some(text) => serde_json::from_str(&text).map(Some).map_err(|_| self.corrupt(column)),
            None => Ok(None),
        }
    }

    /// JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        self.json_or_null(column)?.ok_or_else(|| self.corrupt(column))
    }
}
