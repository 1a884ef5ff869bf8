//! Where the database is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// The text does not say where the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database URL must be `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; \
     special characters in a password are percent-encoded"
)]
pub struct InvalidDatabaseUrl;

/// Where the database is. Shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file; it is made if it is missing.
    Sqlite(PathBuf),
    /// A server, by its whole URL, password included.
    Postgres(String),
}

impl DatabaseUrl {
    /// Host and port of the server, where it is reached over the network.
    #[must_use]
    pub fn server_address(&self) -> Option<(String, u16)> {
        let Self::Postgres(url) = self else { return None };
        let options = url.parse::<PgConnectOptions>().ok()?;
        let has_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
        (!has_socket).then(|| (options.get_host().to_owned(), options.get_port()))
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path == ":memory:" || path.contains('?') {
                return Err(InvalidDatabaseUrl);
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(InvalidDatabaseUrl);
        }
        text.parse::<PgConnectOptions>().map_err(|_| InvalidDatabaseUrl)?;
        Ok(Self::Postgres(text.to_owned()))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => match url.parse::<PgConnectOptions>() {
                Ok(options) => f.write_str(&server(&options)),
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A server as people may see it: without the password.
pub(super) fn server(options: &PgConnectOptions) -> String {
    let place = match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("postgres://{}@{place}:{}/{database}", options.get_username(), options.get_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_server_are_told_apart() {
        let file = |path: &str| Ok(DatabaseUrl::Sqlite(PathBuf::from(path)));
        assert_eq!("sqlite:/a/b.db".parse(), file("/a/b.db"));
        assert_eq!("sqlite:///a/b.db".parse(), file("/a/b.db"));
        assert_eq!("sqlite:b.db".parse(), file("b.db"));
        assert!(matches!("postgres://u:p@h/d".parse(), Ok(DatabaseUrl::Postgres(_))));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "sqlite:", "sqlite::memory:", "mysql://h/d", "/a/b.db", "postgres://h:x/d"]
        {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(InvalidDatabaseUrl), "{text}");
        }
    }

    #[test]
    fn a_server_on_the_network_has_an_address() {
        let of = |text: &str| text.parse::<DatabaseUrl>().unwrap().server_address();
        assert_eq!(of("postgres://u@db.example:5433/h"), Some(("db.example".into(), 5433)));
        assert_eq!(of("postgres://u@localhost/h?host=/run/postgresql"), None);
        assert_eq!(of("sqlite:/a.db"), None);
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgres://ada:hunter2@db.example:5433/holdfast".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://ada@db.example:5433/holdfast");
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}
