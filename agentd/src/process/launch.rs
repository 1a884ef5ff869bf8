//! From a request to something that can be executed: every check that needs no process.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use shared::ids::ProcessId;
use shared::limits::{
    ARGUMENT_MAX_BYTES, ARGUMENTS_TOTAL_MAX_BYTES, PROCESS_OUTPUT_KEPT_BYTES, STDIN_WRITE_MAX_BYTES,
};
use shared::protocol::process::{Program, SandboxFacts, StartProcess, Stdin};
use shared::protocol::pty::OpenPty;

use super::cwd::{self, WorkingDirectory};
use super::environment::Environment;
use super::error::{SpawnCause, StartError};
use super::keeper::protocol::Refusal;
use super::sandbox;
use super::terminal::StartedTerminal;
use super::terminfo;

/// Longest command shown in lists, in bytes.
const COMMAND_SHOWN_BYTES: usize = 1_024;
/// Smallest output that can be asked to be kept, in bytes.
const OUTPUT_KEPT_MIN_BYTES: u64 = 4 * 1024;
/// Names the terminal to the programs in it.
const PTY_MARK: &str = "HOLDFAST_PTY_ID";
/// The POSIX shell.
const SHELL: &str = "/bin/sh";

/// Everything about a process that is checked and ready.
#[derive(Debug)]
pub(super) struct Launch {
    /// What is executed, with at least one slash: never searched for again. Or why nothing can be.
    pub(super) program: Result<CString, SpawnCause>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: WorkingDirectory,
    pub(super) stdin: Stdin,
    /// For people, cut.
    pub(super) command: String,
    /// As asked, for error messages.
    pub(super) name: String,
    pub(super) output_kept_bytes: u64,
    /// Present when it gets a terminal.
    pub(super) terminal: Option<StartedTerminal>,
    /// Present when it runs in a sandbox.
    pub(super) sandbox: Option<SandboxFacts>,
}

impl Launch {
    /// Checks `request` for a workspace at `root`.
    pub(super) fn check(
        request: &StartProcess,
        root: &Path,
        environment: &Environment,
    ) -> Result<Self, StartError> {
        let argv = match &request.program {
            Program::Shell { command } => {
                check_value("command", command)?;
                vec!["sh".to_owned(), "-c".to_owned(), command.clone()]
            }
            Program::Argv { argv } => argv.clone(),
        };
        for (index, argument) in argv.iter().enumerate() {
            check_value(&format!("argv[{index}]"), argument)?;
        }
        check_env(&request.env)?;
        if request.cwd.as_deref().is_some_and(|cwd| cwd.contains('\0')) {
            return Err(StartError::Invalid { what: "cwd".to_owned(), problem: "contains NUL" });
        }
        if let Stdin::Bytes { data } = &request.stdin
            && data.len() > STDIN_WRITE_MAX_BYTES
        {
            let what = format!("stdin has {} bytes and", data.len());
            return Err(StartError::Invalid { what, problem: "may have 1 MiB: write it in parts" });
        }
        let env = environment.of(request.process_id, request.chat_id.as_deref(), &request.env);
        check_total(&argv, &env)?;
        let cwd = cwd::open(root, request.cwd.as_deref())?;
        let name: String = argv.first().map_or("", String::as_str).chars().take(256).collect();
        let program = match &request.program {
            Program::Shell { .. } => Ok(PathBuf::from(SHELL)),
            Program::Argv { .. } => find(&argv, &env, &cwd.path),
        };
        let command = match &request.program {
            Program::Shell { command } => shown(command),
            Program::Argv { argv } => shown(&argv.join(" ")),
        };
        let kept = request.output_kept_bytes.unwrap_or(PROCESS_OUTPUT_KEPT_BYTES);
        Ok(Self {
            program: program.map(|path| c_string(path.into_os_string())),
            argv: argv.into_iter().map(|argument| c_string(argument.into())).collect(),
            env: env.into_iter().map(assignment).collect(),
            cwd,
            stdin: request.stdin.clone(),
            command,
            name,
            output_kept_bytes: kept.clamp(OUTPUT_KEPT_MIN_BYTES, PROCESS_OUTPUT_KEPT_BYTES),
            terminal: None,
            sandbox: None,
        })
    }

    /// As [`check`](Self::check), for a sandbox that is held by `facts`.
    pub(super) fn check_sandboxed(
        request: &StartProcess,
        facts: SandboxFacts,
        root: &Path,
        environment: &Environment,
    ) -> Result<Self, StartError> {
        let mut request = request.clone();
        let scratch = sandbox::scratch_path(request.process_id).to_string_lossy().into_owned();
        let own = ["TMPDIR", "TMP", "TEMP"].map(|name| (name.to_owned(), scratch.clone()));
        request.env.extend(own);
        // A status need not write its index down.
        request.env.insert("GIT_OPTIONAL_LOCKS".to_owned(), "0".to_owned());
        let launch = Self::check(&request, root, environment)?;
        Ok(Self { sandbox: Some(facts), ..launch })
    }

    /// As [`check`](Self::check), for a terminal: the login shell when no program is asked for, and
    /// the environment of a person.
    pub(super) fn check_terminal(
        request: &OpenPty,
        root: &Path,
        environment: &Environment,
    ) -> Result<Self, StartError> {
        let process = ProcessId::from_ulid(request.pty_id.ulid());
        let as_process = StartProcess {
            process_id: process,
            program: request.program.clone().unwrap_or(Program::Argv { argv: Vec::new() }),
            cwd: request.cwd.clone(),
            env: request.env.clone(),
            stdin: Stdin::Closed,
            chat_id: request.chat_id.clone(),
            output_kept_bytes: request.output_kept_bytes,
        };
        let mut launch = Self::check(&as_process, root, environment)?;
        let mut env = environment.login(process, request.chat_id.as_deref(), &request.env);
        let asked = env.get(OsStr::new("TERM")).map(|term| term.to_string_lossy().into_owned());
        let term = terminfo::known(asked.unwrap_or_default(), &env);
        env.insert("TERM".into(), term.clone().into());
        env.insert(PTY_MARK.into(), request.pty_id.to_string().into());
        match &request.program {
            None => {
                let shell = environment.login_shell();
                launch.command = shown(&shell.program.to_string_lossy());
                launch.name = launch.command.clone();
                launch.argv = vec![c_string(shell.name.into())];
                launch.program =
                    executable(&shell.program).map(|()| c_string(shell.program.into_os_string()));
            }
            Some(Program::Argv { argv }) => {
                let found = find(argv, &env, &launch.cwd.path);
                launch.program = found.map(|path| c_string(path.into_os_string()));
            }
            Some(Program::Shell { .. }) => {}
        }
        launch.env = env.into_iter().map(assignment).collect();
        launch.terminal = Some(StartedTerminal { size: request.size, term });
        Ok(launch)
    }
}

/// What was tried, for the text of an error that comes later.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    name: String,
    path: PathBuf,
    /// Arguments and environment together.
    bytes: usize,
}

impl Attempt {
    pub(super) fn of(launch: &Launch) -> Self {
        let program = launch.program.as_deref().map(std::ffi::CStr::to_bytes).unwrap_or_default();
        let strings = launch.argv.iter().chain(&launch.env);
        Self {
            name: launch.name.clone(),
            path: OsStr::from_bytes(program).into(),
            bytes: strings.map(|string| string.as_bytes().len() + 9).sum(),
        }
    }

    /// An attempt of an earlier daemon, of which the shown command is known.
    pub(super) fn shown(command: &str) -> Self {
        Self { name: command.to_owned(), ..Self::default() }
    }

    /// Why it was not executed.
    pub(super) fn error(&self, refusal: Refusal) -> StartError {
        use rustix::io::Errno;
        let error = std::io::Error::from_raw_os_error(refusal.errno);
        match Errno::from_raw_os_error(refusal.errno) {
            Errno::MFILE | Errno::NFILE => StartError::TooManyOpenFiles,
            Errno::AGAIN | Errno::NOMEM => StartError::NoRoom(error),
            Errno::TOOBIG => {
                let what = "argv and env together".to_owned();
                StartError::TooLarge { what, bytes: self.bytes }
            }
            _ if refusal.is_sandbox => StartError::Sandbox(error.to_string()),
            _ if !refusal.is_exec => StartError::Prepare(error),
            _ => {
                let cause = cause(&self.path, refusal.errno);
                StartError::Spawn { program: self.name.clone(), cause }
            }
        }
    }
}

/// Why the program at `path` was not executed with `errno`.
pub(super) fn cause(path: &Path, errno: i32) -> SpawnCause {
    use rustix::io::Errno;
    match Errno::from_raw_os_error(errno) {
        // The program was found before: what is missing is the interpreter that it names.
        Errno::NOENT if path.exists() => SpawnCause::NoInterpreter,
        Errno::NOENT | Errno::NOTDIR => SpawnCause::NotFound,
        Errno::ACCESS | Errno::PERM if path.is_dir() => SpawnCause::IsDirectory,
        Errno::ISDIR => SpawnCause::IsDirectory,
        Errno::ACCESS | Errno::PERM => SpawnCause::PermissionDenied,
        Errno::NOEXEC | Errno::LIBBAD | Errno::INVAL => SpawnCause::ExecFormat,
        Errno::TXTBSY => SpawnCause::TextBusy,
        _ => SpawnCause::Other(errno),
    }
}

/// Finds the program as a shell would: with a slash it is a path from the working directory, else
/// it is looked up in the child's `PATH`.
fn find(
    argv: &[String],
    env: &BTreeMap<OsString, OsString>,
    cwd: &Path,
) -> Result<PathBuf, SpawnCause> {
    let Some(name) = argv.first().filter(|name| !name.is_empty()) else {
        return Err(SpawnCause::NotFound);
    };
    if name.contains('/') {
        let path = cwd.join(name);
        return executable(&path).map(|()| path);
    }
    let mut refused = SpawnCause::NotFound;
    let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    for dir in std::env::split_paths(&path) {
        let candidate = cwd.join(dir).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(SpawnCause::NotFound) => {}
            // One that may not be executed does not hide one further on.
            Err(cause) => refused = cause,
        }
    }
    Err(refused)
}

fn executable(path: &Path) -> Result<(), SpawnCause> {
    let meta = std::fs::metadata(path).map_err(|error| match error.raw_os_error() {
        Some(errno) if rustix::io::Errno::from_raw_os_error(errno) == rustix::io::Errno::ACCESS => {
            SpawnCause::PermissionDenied
        }
        _ => SpawnCause::NotFound,
    })?;
    if meta.is_dir() {
        return Err(SpawnCause::IsDirectory);
    }
    let allowed = rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if allowed { Ok(()) } else { Err(SpawnCause::PermissionDenied) }
}

fn check_value(what: &str, value: &str) -> Result<(), StartError> {
    if value.contains('\0') {
        return Err(StartError::Invalid { what: what.to_owned(), problem: "contains NUL" });
    }
    // The kernel counts the closing NUL.
    if value.len() >= ARGUMENT_MAX_BYTES {
        return Err(StartError::TooLarge { what: what.to_owned(), bytes: value.len() });
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), StartError> {
    for (index, (name, value)) in env.iter().enumerate() {
        let invalid = |problem| StartError::Invalid { what: format!("env[{index}]"), problem };
        if name.is_empty() {
            return Err(invalid("has an empty name"));
        }
        if name.contains(['=', '\0']) {
            return Err(invalid("has a name with = or NUL"));
        }
        if value.contains('\0') {
            return Err(invalid("contains NUL"));
        }
        let bytes = name.len() + 1 + value.len();
        if bytes >= ARGUMENT_MAX_BYTES {
            return Err(StartError::TooLarge { what: format!("env[{index}]"), bytes });
        }
    }
    Ok(())
}

/// Arguments, environment, and the pointers to them, as the kernel counts.
fn check_total(argv: &[String], env: &BTreeMap<OsString, OsString>) -> Result<(), StartError> {
    const EACH: usize = 1 + size_of::<usize>();
    let argv: usize = argv.iter().map(|argument| argument.len() + EACH).sum();
    let env: usize = env.iter().map(|(name, value)| name.len() + value.len() + 1 + EACH).sum();
    let bytes = argv + env;
    if bytes > ARGUMENTS_TOTAL_MAX_BYTES {
        let what = "argv and env together".to_owned();
        return Err(StartError::TooLarge { what, bytes });
    }
    Ok(())
}

fn shown(command: &str) -> String {
    command[..command.floor_char_boundary(COMMAND_SHOWN_BYTES)].to_owned()
}

fn assignment((name, value): (OsString, OsString)) -> CString {
    let mut text = name.into_vec();
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    c_string(OsString::from_vec(text))
}

fn c_string(text: OsString) -> CString {
    // NULs were refused before; the daemon's own environment cannot hold one.
    CString::new(text.into_vec()).unwrap_or_default()
}
