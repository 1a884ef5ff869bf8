//! The configuration: read once, checked whole, typed from then on.
//!
//! ```text
//! flags > environment > user file > system file > default
//! ```
//!
//! `--config FILE` stands for both files. Everything that is wrong is reported at once, with file,
//! line and column, and the nearest name for an unknown key.

mod error;
mod layer;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::chat::worker::LEASE_BOUNDS;
use crate::store::chats::RunningLimits;
use crate::store::{DatabaseUrl, ReplicaAddresses};

pub use error::{OptionError, OptionErrors, Origin, nearest};
pub use layer::{Found, Raw};
pub use setting::{Kind, SETTINGS, Setting, env_name};

/// Where settings are looked for. The one reader of the environment is `cli`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `(path of the setting, name of the flag, value)`.
    pub flags: Vec<(&'static str, &'static str, String)>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// `--config`: must be there, and stands for both files.
    pub config: Option<PathBuf>,
    /// Read if it is there.
    pub user_file: Option<PathBuf>,
    /// Read if it is there.
    pub system_file: Option<PathBuf>,
    /// Where data goes if nobody says; none: there is no home directory.
    pub default_data_dir: Option<PathBuf>,
}

/// The configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database, the keys and the lock are.
    pub data_dir: PathBuf,
    /// The log.
    pub log: LogOptions,
    /// The HTTP side.
    pub http: HttpOptions,
    /// Where daemons connect.
    pub quic_listen: SocketAddr,
    /// Which database.
    pub database_url: Option<DatabaseUrl>,
    /// The file of the key that seals secrets.
    pub master_key_file: Option<PathBuf>,
    /// How long a log-in lasts.
    pub session_lifetime: Duration,
    /// How long a replica owns its chats without renewing.
    pub replica_lease: Duration,
    /// Where this server is reached, as others are told.
    pub addresses: ReplicaAddresses,
    /// How many chats run at once.
    pub running: RunningLimits,
    /// How long running work may take to end.
    pub shutdown_grace: Duration,
}

/// The log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// One JSON object per line.
    pub json: bool,
    /// A level or a filter.
    pub filter: String,
}

/// The HTTP side.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Where browsers and programs connect.
    pub listen: SocketAddr,
    /// The address people use, without a trailing slash.
    pub public_url: Option<String>,
    /// More names under which the server may be called.
    pub allowed_hosts: Vec<String>,
    /// Longest wait for headers, and again for a body.
    pub read_timeout: Duration,
    /// Largest JSON body.
    pub body_limit_bytes: usize,
}

impl HttpOptions {
    /// The address that people open, without a trailing slash; `address` is where we really listen.
    #[must_use]
    pub fn url(&self, address: SocketAddr) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        if address.ip().is_unspecified() {
            return format!("http://localhost:{}", address.port());
        }
        format!("http://{address}")
    }
}

/// Every setting's winning value with its origin, for `config print`.
#[derive(Clone, Debug)]
pub struct Resolved {
    values: BTreeMap<&'static str, Found>,
}

impl Resolved {
    /// In the order of the table; secrets are masked, unset settings are left out.
    pub fn printable(&self) -> impl Iterator<Item = (&'static Setting, String, &Origin)> {
        SETTINGS.iter().filter_map(|setting| {
            let found = self.values.get(setting.path)?;
            let text = match (&found.raw, setting.kind) {
                (_, Kind::Secret) => "\"…\"".to_owned(),
                (Raw::Text(text), _) => format!("{text:?}"),
                (Raw::List(items), _) => format!("{items:?}"),
            };
            Some((setting, text, &found.origin))
        })
    }
}

/// Reads and checks every source.
///
/// # Errors
///
/// Everything that is wrong, in the order of the sources.
pub fn load(sources: &Sources) -> Result<(Options, Resolved), OptionErrors> {
    let mut errors = Vec::new();
    let mut layers = vec![flags(sources), layer::from_env(&sources.env, &mut errors)];
    match &sources.config {
        Some(path) => layers.push(layer::from_file(path, &mut errors)),
        None => {
            let files = [&sources.user_file, &sources.system_file];
            for path in files.into_iter().flatten().filter(|path| path.exists()) {
                layers.push(layer::from_file(path, &mut errors));
            }
        }
    }
    layers.push(defaults(sources.default_data_dir.as_deref()));

    let mut values = BTreeMap::new();
    for found in layers.into_iter().flatten() {
        // Shadowed values are checked too: a typo does not wait for the day it is uncovered.
        if let Err(message) = check(&found) {
            errors.push(OptionError { origin: found.origin.clone(), message });
        }
        values.entry(found.setting.path).or_insert(found);
    }
    if !values.contains_key("data_dir") {
        let message = "there is no home directory; say where data goes with --data-dir".to_owned();
        errors.push(OptionError { origin: Origin::Default, message });
    }
    if !errors.is_empty() {
        return Err(OptionErrors(errors));
    }
    let resolved = Resolved { values };
    Ok((typed(&resolved), resolved))
}

fn flags(sources: &Sources) -> Vec<Found> {
    let find = |(path, flag, value): &(&'static str, &'static str, String)| {
        let setting = Setting::at(path)?;
        Some(Found { setting, raw: Raw::Text(value.clone()), origin: Origin::Flag(flag) })
    };
    sources.flags.iter().filter_map(find).collect()
}

fn defaults(data_dir: Option<&Path>) -> Vec<Found> {
    let text = |setting: &'static Setting| match setting.path {
        "data_dir" => data_dir.map(|dir| dir.display().to_string()),
        _ => setting.default.map(str::to_owned),
    };
    SETTINGS
        .iter()
        .filter_map(|setting| {
            Some(Found { setting, raw: Raw::Text(text(setting)?), origin: Origin::Default })
        })
        .collect()
}

fn check(found: &Found) -> Result<(), String> {
    let expects = || format!("{} takes {}", found.setting.path, found.setting.kind.expects());
    let text = match &found.raw {
        Raw::List(_) => return Ok(()),
        Raw::Text(text) => text,
    };
    let fits = match found.setting.kind {
        Kind::List => true,
        Kind::Text | Kind::Secret | Kind::Path => !text.is_empty() && !text.contains('\0'),
        Kind::Address => text.parse::<SocketAddr>().is_ok(),
        Kind::Place => is_place(text),
        Kind::Count => count(text).is_some(),
        Kind::Origin => is_origin(text),
        Kind::Duration => duration(text).is_some(),
        Kind::Bytes => bytes(text).is_some(),
        Kind::Choice(options) => options.contains(&text.as_str()),
    };
    if !fits {
        return Err(expects());
    }
    let lease = LEASE_BOUNDS.0..=LEASE_BOUNDS.1;
    if found.setting.path == "replica.lease" && duration(text).is_none_or(|d| !lease.contains(&d)) {
        return Err(format!("{text} is not between 1s and 300s"));
    }
    if found.setting.path == "database.url" {
        // Never with the text: it may hold a password.
        text.parse::<DatabaseUrl>().map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn typed(resolved: &Resolved) -> Options {
    let text = |path: &str| match resolved.values.get(path).map(|found| &found.raw) {
        Some(Raw::Text(text)) => Some(text.clone()),
        _ => None,
    };
    // `check` has refused every text that the parsers below would; the defaults pass it too.
    let address = |path: &str| text(path).and_then(|t| t.parse().ok()).unwrap_or(UNREACHABLE);
    let time = |path: &str| text(path).as_deref().and_then(duration).unwrap_or_default();
    Options {
        data_dir: text("data_dir").unwrap_or_default().into(),
        log: LogOptions {
            json: text("log.format").as_deref() == Some("json"),
            filter: text("log.level").unwrap_or_default(),
        },
        http: HttpOptions {
            listen: address("http.listen"),
            public_url: text("http.public_url").map(|url| url.trim_end_matches('/').to_owned()),
            allowed_hosts: list(resolved.values.get("http.allowed_hosts")),
            read_timeout: time("http.read_timeout"),
            body_limit_bytes: text("http.body_limit").as_deref().and_then(bytes).unwrap_or(0),
        },
        quic_listen: address("quic.listen"),
        database_url: text("database.url").and_then(|url| url.parse().ok()),
        master_key_file: text("secrets.master_key_file").map(PathBuf::from),
        session_lifetime: time("login.session_lifetime"),
        replica_lease: time("replica.lease"),
        addresses: ReplicaAddresses {
            replicas: text("replica.address"),
            daemons: text("quic.public_address"),
        },
        running: RunningLimits {
            deployment: text("chats.running_max").as_deref().and_then(count),
            user: text("chats.running_max_per_user").as_deref().and_then(count),
        },
        shutdown_grace: time("shutdown.grace"),
    }
}

const UNREACHABLE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn list(found: Option<&Found>) -> Vec<String> {
    match found.map(|found| &found.raw) {
        Some(Raw::List(items)) => items.clone(),
        Some(Raw::Text(text)) => {
            text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()
        }
        None => Vec::new(),
    }
}

fn is_place(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_named = inner.is_none() && host.contains(':');
        let host = inner.unwrap_or(host);
        !host.is_empty()
            && host.len() <= 253
            && host.chars().all(plain)
            && !is_named
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=1_000_000).contains(count))
}

fn is_origin(text: &str) -> bool {
    let uri: Result<http::Uri, _> = text.parse();
    uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
    })
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim()))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    number.checked_mul(factor).and_then(|bytes| usize::try_from(bytes).ok())
}
