//! Reads each source of settings into [`Found`] values with their origins. Knows no precedence.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{OptionError, Origin, nearest};
use super::setting::{Kind, SETTINGS, Setting};

/// A configuration file is never larger; more is somebody's log.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// A secret is never larger.
const SECRET_MAX_BYTES: u64 = 64 * 1024;
/// Variables that begin like settings and are none.
const OTHER_VARIABLES: &[&str] = &[
    "HOLDFAST_AGENTD",
    "HOLDFAST_CONFIG",
    // Those of agentd.
    "HOLDFAST_STATE_DIR",
    "HOLDFAST_LOG_FORMAT",
    "HOLDFAST_ROOT",
    "HOLDFAST_JOIN_TOKEN",
    "HOLDFAST_JOIN_TOKEN_FILE",
];

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A text, or a number as text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// One value of one source.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which setting.
    pub setting: &'static Setting,
    /// The value.
    pub raw: Raw,
    /// Where it stands.
    pub origin: Origin,
}

/// Reads the environment. `HOLDFAST_X` and `HOLDFAST_X_FILE` exclude each other.
pub fn from_env(env: &[(String, String)], errors: &mut Vec<OptionError>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut fail = |name: &str, message: String| {
        errors.push(OptionError { origin: Origin::Env(name.to_owned()), message });
    };
    for (name, value) in env {
        let origin = Origin::Env(name.clone());
        if let Some(setting) = SETTINGS.iter().find(|s| s.env_name() == *name) {
            found.push(Found { setting, raw: Raw::Text(value.clone()), origin });
        } else if let Some(setting) = secret_of_file_variable(name) {
            if env.iter().any(|(other, _)| *other == setting.env_name()) {
                fail(name, format!("{} is set too; keep one of the two", setting.env_name()));
                continue;
            }
            match read_secret(Path::new(value)) {
                Ok(text) => found.push(Found { setting, raw: Raw::Text(text), origin }),
                Err(message) => fail(name, message),
            }
        } else if let Some(message) = unknown_variable(name) {
            fail(name, message);
        }
    }
    // The name that every host of Postgres uses; our own variable wins.
    let database = Setting::at("database.url").filter(|s| !found.iter().any(|f| f.setting == *s));
    let url = env.iter().find(|(name, value)| name == "DATABASE_URL" && !value.is_empty());
    if let (Some(setting), Some((name, url))) = (database, url) {
        let origin = Origin::Env(name.clone());
        found.push(Found { setting, raw: Raw::Text(url.clone()), origin });
    }
    found
}

fn secret_of_file_variable(name: &str) -> Option<&'static Setting> {
    let base = name.strip_suffix("_FILE")?;
    SETTINGS.iter().find(|s| s.kind == Kind::Secret && s.env_name() == base)
}

/// A foreign `HOLDFAST_…` variable (an orchestrator makes such) is let be, unless it looks like ours.
fn unknown_variable(name: &str) -> Option<String> {
    let foreign = !name.starts_with("HOLDFAST_")
        || OTHER_VARIABLES.contains(&name)
        || name.starts_with("HOLDFAST_TEST_");
    if foreign {
        return None;
    }
    let names: Vec<String> = SETTINGS.iter().map(Setting::env_name).collect();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => Some(format!("unknown setting; did you mean {near}?")),
        None if name.contains("__") => {
            Some("unknown setting; `controlplane config print` lists them".to_owned())
        }
        None => None,
    }
}

/// Reads a file that must be there.
pub fn from_file(path: &Path, errors: &mut Vec<OptionError>) -> Vec<Found> {
    let at = |line, column| Origin::File { path: path.to_owned(), line, column };
    let text = match read_text(path, FILE_MAX_BYTES) {
        Ok(text) => text,
        Err(message) => {
            errors.push(OptionError { origin: at(1, 1), message });
            return Vec::new();
        }
    };
    // Editors of some systems put a byte order mark first; it means nothing here.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (table, syntax) = DeTable::parse_recoverable(text);
    let place = |offset: usize| {
        let (line, column) = line_and_column(text, offset);
        at(line, column)
    };
    for error in &syntax {
        let origin = place(error.span().map_or(0, |span| span.start));
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        errors.push(OptionError { origin, message });
    }
    let mut walk = Walk { place: &place, found: Vec::new(), errors };
    walk.table(table.get_ref(), "");
    walk.found
}

struct Walk<'a> {
    place: &'a dyn Fn(usize) -> Origin,
    found: Vec<Found>,
    errors: &'a mut Vec<OptionError>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, section: &str) {
        for (key, value) in table {
            let origin = (self.place)(key.span().start);
            let name = key.get_ref();
            let path =
                if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
            if let Some(setting) = Setting::at(&path) {
                self.value(setting, value, origin);
            } else if let Some(setting) = secret_of_file_key(&path) {
                self.secret_file(setting, value, origin);
            } else if SETTINGS.iter().any(|s| is_below(s.path, &path)) {
                match value.get_ref() {
                    DeValue::Table(table) => self.table(table, &path),
                    other => {
                        self.fail(origin, format!("[{path}] is a table, not {}", a(other)));
                    }
                }
            } else {
                self.unknown(section, name, origin);
            }
        }
    }

    fn value(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>, origin: Origin) {
        let raw = match (setting.kind, value.get_ref()) {
            (Kind::List, DeValue::Array(items)) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map(Raw::List),
            (Kind::List, _) => None,
            (Kind::Count, DeValue::Integer(number)) => Some(Raw::Text(number.to_string())),
            (_, DeValue::String(text)) => Some(Raw::Text(text.to_string())),
            _ => None,
        };
        match raw {
            Some(raw) => self.found.push(Found { setting, raw, origin }),
            None => {
                let (path, expects) = (setting.path, setting.kind.expects());
                self.fail(origin, format!("{path} takes {expects}, not {}", a(value.get_ref())));
            }
        }
    }

    fn secret_file(
        &mut self,
        setting: &'static Setting,
        value: &Spanned<DeValue<'_>>,
        origin: Origin,
    ) {
        let read = value
            .get_ref()
            .as_str()
            .ok_or_else(|| format!("{}_file takes a path", setting.path))
            .and_then(|path| read_secret(Path::new(path)));
        match read {
            Ok(text) => self.found.push(Found { setting, raw: Raw::Text(text), origin }),
            Err(message) => self.fail(origin, message),
        }
    }

    fn unknown(&mut self, section: &str, name: &str, origin: Origin) {
        let names: Vec<&str> = SETTINGS
            .iter()
            .filter_map(|s| if section.is_empty() { Some(s.path) } else { below(s.path, section) })
            .map(|rest| rest.split('.').next().unwrap_or(rest))
            .collect();
        let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
        let hint = match nearest(name, names) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => "; `controlplane config print` lists every key".to_owned(),
        };
        self.fail(origin, format!("unknown key \"{}\"{place}{hint}", short(name)));
    }

    fn fail(&mut self, origin: Origin, message: String) {
        self.errors.push(OptionError { origin, message });
    }
}

fn secret_of_file_key(path: &str) -> Option<&'static Setting> {
    Setting::at(path.strip_suffix("_file")?).filter(|setting| setting.kind == Kind::Secret)
}

fn is_below(path: &str, section: &str) -> bool {
    below(path, section).is_some()
}

fn below<'a>(path: &'a str, section: &str) -> Option<&'a str> {
    path.strip_prefix(section)?.strip_prefix('.')
}

fn a(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn short(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

/// Both 1-based; the column counts characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let before = String::from_utf8_lossy(before);
    let line_start = before.rfind('\n').map_or(0, |index| index + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn read_secret(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::PermissionsExt;
    let text = read_text(path, SECRET_MAX_BYTES)?;
    let mode = std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(format!("{shown} can be read by others; run: chmod 600 {shown}"));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_text(path: &Path, limit_bytes: u64) -> Result<String, String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if meta.is_dir() {
        return Err(format!("{shown} is a directory; name a file"));
    }
    if meta.len() > limit_bytes {
        return Err(format!("{shown} has {} bytes; at most {limit_bytes} are read", meta.len()));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!("{shown} is not UTF-8 at byte {}", error.utf8_error().valid_up_to())
    })
}
