//! What a child gets of the daemon's environment: a list, not all of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use shared::ids::ProcessId;

/// Passed on as they are.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "VIRTUAL_ENV",
    "NIX_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];
/// Passed on with everything that begins so.
const ALLOWED_PREFIXES: &[&str] = &["LC_", "XDG_"];
/// Set for every process: nobody is there to page, to answer a prompt or to see a colour.
const FIXED: &[(&str, &str)] = &[
    ("TERM", "dumb"),
    ("NO_COLOR", "1"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];
/// Names the process in its own environment and in that of everything it starts. Daemons that it
/// leaves behind are found by it.
pub(super) const PROCESS_MARK: &str = "HOLDFAST_PROCESS_ID";
/// Names the chat it runs for.
const CHAT_MARK: &str = "HOLDFAST_CHAT_ID";
/// When the daemon has no `PATH` of its own.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The part of the daemon's environment that children get. Read once at the start.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The allowed part of this process's environment.
    #[must_use]
    pub fn read() -> Self {
        Self::filter(std::env::vars_os())
    }

    /// The allowed part of `all`.
    pub fn filter(all: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut variables: BTreeMap<OsString, OsString> =
            all.into_iter().filter(|(name, _)| is_allowed(name)).collect();
        variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        Self { variables }
    }

    /// The environment of one process: allowed, fixed, asked for, marks. Later ones win.
    pub(super) fn of(
        &self,
        process: ProcessId,
        chat: Option<&str>,
        asked: &BTreeMap<String, String>,
    ) -> BTreeMap<OsString, OsString> {
        let mut variables = self.variables.clone();
        let fixed = FIXED.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        variables.extend(fixed);
        variables.extend(asked.iter().map(|(name, value)| (name.into(), value.into())));
        variables.insert(PROCESS_MARK.into(), process.to_string().into());
        if let Some(chat) = chat {
            variables.insert(CHAT_MARK.into(), chat.into());
        }
        variables
    }
}

fn is_allowed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    ALLOWED.contains(&name) || ALLOWED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_daemon_stay_with_it() {
        let all = [
            ("ANTHROPIC_API_KEY", "k"),
            ("HOLDFAST_JOIN_TOKEN", "t"),
            ("LC_ALL", "C"),
            ("HOME", "/h"),
        ];
        let env = Environment::filter(all.map(|(name, value)| (name.into(), value.into())));
        let asked = BTreeMap::from([("TERM".to_owned(), "xterm".to_owned())]);
        let id: ProcessId = "proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap();
        let of = env.of(id, Some("chat_x"), &asked);
        let value = |name: &str| of.get(OsStr::new(name)).and_then(|value| value.to_str());
        assert_eq!(value("ANTHROPIC_API_KEY"), None);
        assert_eq!(value("HOLDFAST_JOIN_TOKEN"), None);
        assert_eq!(value("LC_ALL"), Some("C"));
        assert_eq!(value("TERM"), Some("xterm"), "what was asked for wins");
        assert_eq!(value("PATH"), Some(DEFAULT_PATH));
        assert_eq!(value(PROCESS_MARK), Some("proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K"));
        assert_eq!(value(CHAT_MARK), Some("chat_x"));
    }
}
