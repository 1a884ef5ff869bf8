//! What a program gets of the daemon's environment: a list, not all of it.
//!
//! | For | Gets |
//! |---|---|
//! | a command of an agent ([`of`](Environment::of)) | allowed, then what keeps programs from asking and paging, then what was asked for, then the marks |
//! | a login shell of a person ([`login`](Environment::login)) | allowed, then who the user is and what the terminal can, then what was asked for, then the marks |
//!
//! A secret is in neither: what is not on the list stays with the daemon, and what the daemon itself
//! was given (`HOLDFAST_…`) is never on it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

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
    "PNPM_HOME",
    "BUN_INSTALL",
    "PYENV_ROOT",
    "CONDA_PREFIX",
    "VIRTUAL_ENV",
    "SDKMAN_DIR",
    "ANDROID_HOME",
    "DOCKER_HOST",
    "KUBECONFIG",
    "LD_LIBRARY_PATH",
    "PKG_CONFIG_PATH",
    "NIX_PATH",
    "NIX_PROFILES",
    "NIX_SSL_CERT_FILE",
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
/// Of the allowed ones, those that say nothing of whose they are.
const NOBODYS: &[&str] = &[
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "NIX_SSL_CERT_FILE",
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
/// The daemon's own settings, its join token among them: never passed on, also when somebody asks
/// for all of them by name.
const OWN_PREFIX: &str = "HOLDFAST_";
/// Set for commands of agents: nobody is there to page, to answer a prompt, to see a colour or to
/// use an editor. `CI` is not among them: too many programs do something else in continuous
/// integration.
const NOT_INTERACTIVE: &[(&str, &str)] = &[
    ("TERM", "dumb"),
    ("NO_COLOR", "1"),
    ("CLICOLOR", "0"),
    ("CARGO_TERM_COLOR", "never"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GH_PAGER", "cat"),
    ("MANPAGER", "cat"),
    ("SYSTEMD_PAGER", "cat"),
    // Empty is how this one is turned off.
    ("AWS_PAGER", ""),
    // Takes the text that git proposes, such as that of a merge.
    ("GIT_EDITOR", "true"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GCM_INTERACTIVE", "never"),
    ("SSH_ASKPASS_REQUIRE", "never"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("PIP_NO_INPUT", "1"),
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ("NO_UPDATE_NOTIFIER", "1"),
];
/// Set for terminals, which have an emulator at their other end.
const TERMINAL: &[(&str, &str)] = &[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
/// Names the process in its own environment and in that of everything it starts. Daemons that it
/// leaves behind are found by it.
pub(super) const PROCESS_MARK: &str = "HOLDFAST_PROCESS_ID";
/// Names the chat it runs for.
const CHAT_MARK: &str = "HOLDFAST_CHAT_ID";
/// When the daemon has no `PATH` of its own.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// When the user has no shell of their own.
const DEFAULT_SHELL: &str = "/bin/sh";

/// The part of the daemon's environment that programs get. Read once at the start.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    user: LoginUser,
}

/// Whose programs they are, as the system's user database says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginUser {
    /// The login name; empty: not known.
    pub name: String,
    /// The home directory; empty: not known.
    pub home: PathBuf,
    /// The shell; empty: not known.
    pub shell: PathBuf,
}

/// What a person's terminal executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginShell {
    /// Absolute.
    pub program: PathBuf,
    /// What it is told to be: with a dash in front, it reads the profile.
    pub name: String,
}

impl LoginUser {
    /// The user with the id `uid`; empty when the database does not have one.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
        found.ok().flatten().map_or_else(Self::default, |user| Self {
            name: user.name,
            home: user.dir,
            shell: user.shell,
        })
    }
}

impl Environment {
    /// The allowed part of this process's environment, for programs of this process's user.
    #[must_use]
    pub fn read() -> Self {
        Self::filter(std::env::vars_os())
            .of_user(LoginUser::of(rustix::process::geteuid().as_raw()))
    }

    /// The allowed part of `all`.
    pub fn filter(all: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut variables: BTreeMap<OsString, OsString> =
            all.into_iter().filter(|(name, _)| is_allowed(name)).collect();
        variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        Self { variables, user: LoginUser::default() }
    }

    /// The same, for programs of `user`.
    #[must_use]
    pub fn of_user(self, user: LoginUser) -> Self {
        Self { user, ..self }
    }

    /// For programs of a user who is not this process's: what is this process's user's is left out.
    #[must_use]
    pub fn as_user(mut self, user: LoginUser) -> Self {
        self.variables.retain(|name, _| {
            let name = name.to_str().unwrap_or_default();
            NOBODYS.contains(&name) || name.starts_with("LC_")
        });
        for (name, value) in [
            ("USER", OsString::from(&user.name)),
            ("LOGNAME", OsString::from(&user.name)),
            ("HOME", user.home.clone().into()),
            ("SHELL", user.shell.clone().into()),
        ] {
            self.variables.insert(name.into(), value);
        }
        self.of_user(user)
    }

    /// Also passes on the variables that `names` of `all` name, except the daemon's own.
    #[must_use]
    pub fn with(
        mut self,
        names: &[String],
        all: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let asked = all.into_iter().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                !name.starts_with(OWN_PREFIX) && names.iter().any(|asked| asked == name)
            })
        });
        self.variables.extend(asked);
        self
    }

    /// The environment of a command: allowed, not interactive, asked for, marks. Later ones win.
    pub(super) fn of(
        &self,
        process: ProcessId,
        chat: Option<&str>,
        asked: &BTreeMap<String, String>,
    ) -> BTreeMap<OsString, OsString> {
        let mut variables = self.variables.clone();
        variables.extend(pairs(NOT_INTERACTIVE));
        finish(variables, process, chat, asked)
    }

    /// The environment of a person's terminal: allowed, who the user is, what the terminal can,
    /// asked for, marks. Later ones win. What else a person has comes from the shell's profile.
    #[must_use]
    pub fn login(
        &self,
        process: ProcessId,
        chat: Option<&str>,
        asked: &BTreeMap<String, String>,
    ) -> BTreeMap<OsString, OsString> {
        let mut variables = self.variables.clone();
        variables.extend(pairs(TERMINAL));
        let LoginUser { name, home, .. } = &self.user;
        if !name.is_empty() {
            variables.insert("USER".into(), name.into());
            variables.insert("LOGNAME".into(), name.into());
        }
        if home.is_absolute() {
            variables.insert("HOME".into(), home.into());
        }
        variables.insert("SHELL".into(), self.login_shell().program.into());
        finish(variables, process, chat, asked)
    }

    /// The user's own shell, else the daemon's `SHELL`, else the system's; as a login shell.
    #[must_use]
    pub fn login_shell(&self) -> LoginShell {
        let inherited = self.variables.get(OsStr::new("SHELL")).map(PathBuf::from);
        let candidates = [Some(self.user.shell.clone()), inherited];
        let usable = |path: &PathBuf| {
            path.is_absolute() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
        };
        let program = candidates.into_iter().flatten().find(usable);
        let program = program.unwrap_or_else(|| Path::new(DEFAULT_SHELL).to_owned());
        let file = program.file_name().unwrap_or_default().to_string_lossy();
        LoginShell { name: format!("-{file}"), program }
    }
}

fn pairs(fixed: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    fixed.iter().map(|(name, value)| ((*name).into(), (*value).into()))
}

fn finish(
    mut variables: BTreeMap<OsString, OsString>,
    process: ProcessId,
    chat: Option<&str>,
    asked: &BTreeMap<String, String>,
) -> BTreeMap<OsString, OsString> {
    variables.extend(asked.iter().map(|(name, value)| (name.into(), value.into())));
    variables.insert(PROCESS_MARK.into(), process.to_string().into());
    if let Some(chat) = chat {
        variables.insert(CHAT_MARK.into(), chat.into());
    }
    variables
}

fn is_allowed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    ALLOWED.contains(&name) || ALLOWED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(all: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn id() -> ProcessId {
        "proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap()
    }

    fn value<'a>(of: &'a BTreeMap<OsString, OsString>, name: &str) -> Option<&'a str> {
        of.get(OsStr::new(name)).and_then(|value| value.to_str())
    }

    #[test]
    fn secrets_of_the_daemon_stay_with_it() {
        let all = os(&[
            ("ANTHROPIC_API_KEY", "k"),
            ("HOLDFAST_JOIN_TOKEN", "t"),
            ("LC_ALL", "C"),
            ("HOME", "/h"),
        ]);
        let env = Environment::filter(all);
        let asked = BTreeMap::from([("TERM".to_owned(), "xterm".to_owned())]);
        for of in [env.of(id(), Some("chat_x"), &asked), env.login(id(), Some("chat_x"), &asked)] {
            assert_eq!(value(&of, "ANTHROPIC_API_KEY"), None);
            assert_eq!(value(&of, "HOLDFAST_JOIN_TOKEN"), None);
            assert_eq!(value(&of, "LC_ALL"), Some("C"));
            assert_eq!(value(&of, "TERM"), Some("xterm"), "what was asked for wins");
            assert_eq!(value(&of, "PATH"), Some(DEFAULT_PATH));
            assert_eq!(value(&of, PROCESS_MARK), Some("proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K"));
            assert_eq!(value(&of, CHAT_MARK), Some("chat_x"));
        }
    }

    #[test]
    fn a_command_is_kept_from_asking_and_a_login_shell_is_not() {
        let env = Environment::filter(os(&[("HOME", "/daemon")])).of_user(LoginUser {
            name: "ada".to_owned(),
            home: "/home/ada".into(),
            shell: "/bin/sh".into(),
        });
        let (command, login) =
            (env.of(id(), None, &BTreeMap::new()), env.login(id(), None, &BTreeMap::new()));
        for (name, wanted) in NOT_INTERACTIVE {
            assert_eq!(value(&command, name), Some(*wanted), "{name}");
        }
        for name in ["NO_COLOR", "PAGER", "GIT_EDITOR", "DEBIAN_FRONTEND"] {
            assert_eq!(value(&login, name), None, "{name}");
        }
        assert_eq!(value(&login, "TERM"), Some("xterm-256color"));
        assert_eq!(value(&login, "USER"), Some("ada"));
        assert_eq!(value(&login, "HOME"), Some("/home/ada"));
        assert_eq!(value(&login, "SHELL"), Some("/bin/sh"));
        let shell = LoginShell { program: "/bin/sh".into(), name: "-sh".to_owned() };
        assert_eq!(env.login_shell(), shell);
        assert_eq!(Environment::filter([]).login_shell(), shell, "without a user");
    }

    #[test]
    fn another_user_gets_nothing_that_is_the_daemons_users() {
        let all = os(&[("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0"), ("LANG", "C")]);
        let ada =
            LoginUser { name: "ada".to_owned(), home: "/home/ada".into(), shell: "/bin/sh".into() };
        let of = Environment::filter(all).as_user(ada).of(id(), None, &BTreeMap::new());
        assert_eq!((value(&of, "HOME"), value(&of, "USER")), (Some("/home/ada"), Some("ada")));
        assert_eq!((value(&of, "XDG_RUNTIME_DIR"), value(&of, "LANG")), (None, Some("C")));
    }

    #[test]
    fn what_an_operator_names_is_passed_on_but_never_the_daemons_own() {
        let all = os(&[("DATABASE_URL", "d"), ("HOLDFAST_JOIN_TOKEN", "t"), ("OTHER", "o")]);
        let names = ["DATABASE_URL".to_owned(), "HOLDFAST_JOIN_TOKEN".to_owned()];
        let env = Environment::filter([]).with(&names, all);
        let of = env.of(id(), None, &BTreeMap::new());
        assert_eq!(value(&of, "DATABASE_URL"), Some("d"));
        assert_eq!((value(&of, "HOLDFAST_JOIN_TOKEN"), value(&of, "OTHER")), (None, None));
    }
}
