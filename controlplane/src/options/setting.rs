//! The table of settings: the one place that names them, their kinds and their defaults.
//!
//! A setting's path is its place in the TOML file (`http.listen`), and, in capitals with `__` for
//! the dot, its environment variable (`HOLDFAST_HTTP__LISTEN`). A secret may also be given as
//! `…_file` or `…_FILE`: the path of a file that holds it.

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its place in the file, with dots.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default, as it would be written; none: there is none, or it depends on other settings.
    pub default: Option<&'static str>,
    /// What it is for, one sentence.
    pub doc: &'static str,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is never printed.
    Secret,
    /// A path of the file system.
    Path,
    /// `host:port` with a numeric host.
    Address,
    /// `host:port`; the host may be a name.
    Place,
    /// A number from 1 on.
    Count,
    /// `http://…` or `https://…` without a path.
    Origin,
    /// A list of texts; in the environment with commas.
    List,
    /// A number with `ms`, `s`, `m`, `h` or `d`.
    Duration,
    /// A number with `B`, `KiB`, `MiB` or `GiB`.
    Bytes,
    /// One of these.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// What is expected, for an error's text.
    #[must_use]
    pub fn expects(self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Address => "an address with a port such as \"127.0.0.1:7070\"".to_owned(),
            Self::Place => "a host and a port such as \"replica-1:7443\"".to_owned(),
            Self::Count => "a number from 1 to 1000000".to_owned(),
            Self::Origin => "an address such as \"https://holdfast.example\"".to_owned(),
            Self::List => "a list of texts such as [\"one\", \"two\"]".to_owned(),
            Self::Duration => {
                "a duration such as \"30s\"; the units are ms, s, m, h and d".to_owned()
            }
            Self::Bytes => "a size such as \"1MiB\"; the units are B, KiB, MiB and GiB".to_owned(),
            Self::Choice(options) => format!("one of {}", options.join(", ")),
        }
    }
}

impl Setting {
    /// The environment variable that mirrors it.
    #[must_use]
    pub fn env_name(&self) -> String {
        env_name(self.path)
    }

    /// The setting at `path`.
    #[must_use]
    pub fn at(path: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.path == path)
    }
}

/// `http.listen` → `HOLDFAST_HTTP__LISTEN`.
#[must_use]
pub fn env_name(path: &str) -> String {
    format!("HOLDFAST_{}", path.replace('.', "__").to_ascii_uppercase())
}

/// Every setting, in the order of `config print`.
pub const SETTINGS: &[Setting] = &[
    Setting {
        path: "data_dir",
        kind: Kind::Path,
        default: None,
        doc: "Where the database, the keys and the lock are.",
    },
    Setting {
        path: "log.format",
        kind: Kind::Choice(&["human", "json"]),
        default: Some("human"),
        doc: "How the log and the ready line are written.",
    },
    Setting {
        path: "log.level",
        kind: Kind::Text,
        default: Some("info"),
        doc: "A level, or a filter such as `info,controlplane::http=debug`.",
    },
    Setting {
        path: "http.listen",
        kind: Kind::Address,
        default: Some("127.0.0.1:7070"),
        doc: "Where browsers and programs connect.",
    },
    Setting {
        path: "http.public_url",
        kind: Kind::Origin,
        default: None,
        doc: "The address people use, where a proxy stands in front.",
    },
    Setting {
        path: "http.allowed_hosts",
        kind: Kind::List,
        default: Some(""),
        doc: "More names under which the server may be called.",
    },
    Setting {
        path: "http.read_timeout",
        kind: Kind::Duration,
        default: Some("30s"),
        doc: "Longest wait for a request's headers, and again for its body.",
    },
    Setting {
        path: "http.body_limit",
        kind: Kind::Bytes,
        default: Some("4MiB"),
        doc: "Largest JSON body of a request.",
    },
    Setting {
        path: "quic.listen",
        kind: Kind::Address,
        default: Some("127.0.0.1:7443"),
        doc: "Where daemons connect, over UDP.",
    },
    Setting {
        path: "quic.public_address",
        kind: Kind::Place,
        default: None,
        doc: "Where daemons reach this server, host:port; told to every daemon, so that it finds another server when one is gone. None: the address of quic.listen, unless that is any address.",
    },
    Setting {
        path: "database.url",
        kind: Kind::Secret,
        default: None,
        doc: "`postgres://…` or `sqlite:PATH`; none: SQLite in the data directory.",
    },
    Setting {
        path: "secrets.master_key_file",
        kind: Kind::Path,
        default: None,
        doc: "The key that seals secrets at rest; none: `master.key` in the data directory.",
    },
    Setting {
        path: "login.session_lifetime",
        kind: Kind::Duration,
        default: Some("30d"),
        doc: "How long a log-in lasts.",
    },
    Setting {
        path: "replica.lease",
        kind: Kind::Duration,
        default: Some("10s"),
        doc: "How long a replica owns its chats without renewing, 1s to 300s: so soon another takes over.",
    },
    Setting {
        path: "replica.address",
        kind: Kind::Place,
        default: None,
        doc: "Where other servers on the same Postgres reach this one over UDP, host:port. None: the address of quic.listen, or the one with which the database is reached.",
    },
    Setting {
        path: "chats.running_max",
        kind: Kind::Count,
        default: None,
        doc: "Chats that run at once in the whole deployment; more wait in a queue. None: no limit.",
    },
    Setting {
        path: "chats.running_max_per_user",
        kind: Kind::Count,
        default: None,
        doc: "Chats of one user that run at once; more wait in a queue. None: no limit.",
    },
    Setting {
        path: "shutdown.grace",
        kind: Kind::Duration,
        default: Some("20s"),
        doc: "How long running work may take to end after a stop.",
    },
];
