//! Where the configuration comes from: the flags, the environment, the files. The one reader of
//! the environment.

use std::path::PathBuf;

use super::args::{Common, LogFormat, ServeFlags};
use super::exit::Failure;
use crate::options::Sources;

const SYSTEM_FILE: &str = "/etc/holdfast/config.toml";

/// Gathers every source.
///
/// # Errors
///
/// When one of our variables is not text.
pub fn of(common: &Common, serve: Option<&ServeFlags>) -> Result<Sources, Failure> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().map(str::to_owned) else { continue };
        if !name.starts_with("HOLDFAST_") && name != "DATABASE_URL" {
            continue;
        }
        match value.into_string() {
            Ok(value) => env.push((name, value)),
            Err(_) => return Err(Failure::usage(format!("{name} is not valid UTF-8"))),
        }
    }
    env.sort();
    Ok(Sources {
        flags: flags(common, serve),
        env,
        config: common.config.clone(),
        user_file: xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("holdfast/config.toml")),
        system_file: Some(PathBuf::from(SYSTEM_FILE)),
        default_data_dir: default_data_dir(),
    })
}

fn flags(common: &Common, serve: Option<&ServeFlags>) -> Vec<(&'static str, &'static str, String)> {
    let format = common.log_format.map(|format| match format {
        LogFormat::Human => "human".to_owned(),
        LogFormat::Json => "json".to_owned(),
    });
    let all = [
        ("data_dir", "--data-dir", common.data_dir.clone()),
        ("database.url", "--database-url", common.database_url.clone()),
        ("log.format", "--log-format", format),
        ("http.listen", "--http", serve.and_then(|flags| flags.http.clone())),
        ("quic.listen", "--quic", serve.and_then(|flags| flags.quic.clone())),
    ];
    all.into_iter().filter_map(|(path, flag, value)| Some((path, flag, value?))).collect()
}

/// As a service: the directory that systemd made for us. Otherwise the user's state directory.
fn default_data_dir() -> Option<PathBuf> {
    match std::env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty()) {
        Some(dir) => Some(PathBuf::from(dir)),
        None => xdg("XDG_STATE_HOME", ".local/state").map(|dir| dir.join("holdfast")),
    }
}

fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let dir = std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    dir.or_else(|| Some(home()?.join(below_home)))
}
