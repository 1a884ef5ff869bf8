//! The program itself: exit codes, what goes to which stream, and nobody's stack trace.

mod bench;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use agentd::state_dir::StateDir;
use bench::Table;

fn agentd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentd"));
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn b98_the_command_line_answers_everything_with_a_code_and_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let state = state.to_str().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    let nowhere = dir.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let rows: [(&[&str], i32, &str); 15] = [
        (&["--no-such-flag"], 2, "--no-such-flag"),
        (&["statsu"], 2, "status"),
        (&["join"], 2, "URL"),
        (&["join", "http://x", "--state-dir", state], 2, "--token"),
        (&["run", "--state-dir"], 2, "value is required"),
        (&["run"], 78, "HOME is not set"),
        (&["run", "--state-dir", state], 78, "has not joined"),
        (&["run", "--state-dir", file], 78, "not a directory"),
        (&["status", "--state-dir", nowhere], 69, "no agentd runs"),
        (&["ps", "--json", "--state-dir", nowhere], 69, "no agentd runs"),
        (&["leave", "--state-dir", state], 78, "has not joined"),
        (&["leave", "--state-dir", nowhere], 78, "has not joined"),
        (&["join", "http://x", "--token", "nonsense", "--state-dir", state], 77, "token"),
        (
            &["join", "http://x", "--token-file", "/no/such/file", "--state-dir", state],
            78,
            "token file",
        ),
        (&["run", "--root", file, "--state-dir", state], 78, "not a directory"),
    ];
    let mut table = Table::new("B98");
    for (arguments, expected, text) in rows {
        let output = agentd(arguments).output().unwrap();
        let errors = errors(&output);
        table.row(format!("{arguments:?}: {errors}"), code(&output), expected);
        table.row(format!("{arguments:?} says {text:?}: {errors}"), errors.contains(text), true);
        let is_clean = !errors.contains("panicked") && !errors.contains("stack backtrace");
        table.row(format!("{arguments:?} is clean"), is_clean, true);
        table.row(format!("{arguments:?} prints nothing"), output.stdout.len(), 0);
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["completions", "bash"]]
    {
        let output = agentd(arguments).output().unwrap();
        table.row(format!("{arguments:?}"), (code(&output), output.stdout.is_empty()), (0, false));
    }
    table.finish();
}

#[test]
fn b98_a_reader_that_goes_away_and_a_narrow_terminal_are_no_crash() {
    let mut table = Table::new("B98 streams");
    let mut child = agentd(&["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take()); // before it has written, or in the middle
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let status = child.wait().unwrap().code();
    table.row("head".to_owned(), matches!(status, Some(0 | 141)), true);
    table.row("quiet".to_owned(), errors.contains("panicked"), false);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status =
        agentd(&["completions", "zsh"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    table.row("a full disk".to_owned(), status.code(), Some(1));
    let output =
        agentd(&["--help"]).env("COLUMNS", "10").env("LANG", "xx_YY.bad").output().unwrap();
    table.row("ten columns, a bad locale".to_owned(), code(&output), 0);
    let dir = tempfile::tempdir().unwrap();
    let output = agentd(&["doctor", "--json", "--state-dir", dir.path().to_str().unwrap()])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    table.row("JSON alone".to_owned(), (json.is_array(), code(&output)), (true, 1));
    table.finish();
}

#[test]
fn b97_b101_a_state_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let text = path.to_str().unwrap();
    let mut table = Table::new("B97, B101");
    let state = StateDir::open(&path).unwrap();
    for _ in 0..3 {
        let output = agentd(&["run", "--state-dir", text]).output().unwrap();
        let pid = std::process::id().to_string();
        table.row("B101 started twice".to_owned(), code(&output), 3);
        table.row("B101 names the holder".to_owned(), errors(&output).contains(&pid), true);
    }
    drop(state);
    std::fs::write(path.join("format"), "9").unwrap();
    let output = agentd(&["run", "--state-dir", text]).output().unwrap();
    let newer = (code(&output), errors(&output).contains("newer agentd"));
    table.row("B101 from a newer version".to_owned(), newer, (78, true));
    std::fs::remove_file(path.join("format")).unwrap();
    let output = agentd(&["run", "--state-dir", text]).output().unwrap();
    table.row("free again".to_owned(), code(&output), 78);

    std::fs::create_dir(path.join("identity/enrolment.json")).unwrap();
    let output = agentd(&["run", "--state-dir", text]).output().unwrap();
    table.row("a directory for a file".to_owned(), code(&output), 78);
    std::fs::remove_dir(path.join("identity/enrolment.json")).unwrap();
    std::fs::write(path.join("identity/device.key"), "x").unwrap();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path.join("identity/device.key"), open).unwrap();
    let output = agentd(&["run", "--state-dir", text]).output().unwrap();
    table.row("a key that all can read".to_owned(), code(&output), 78);
    table.row("is named".to_owned(), errors(&output).contains("device.key"), true);
    table.finish();
}

#[tokio::test]
async fn status_and_ps_are_answered_by_the_running_daemon() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    // Longer than a socket address may be.
    let long = dir.path().join("d".repeat(120));
    let state = StateDir::open(&long).unwrap();
    let lifecycle = shared::lifecycle::Lifecycle::new();
    let parts = agentd::daemon::DaemonParts {
        lifecycle: lifecycle.clone(),
        clock: std::sync::Arc::new(shared::clock::SystemClock),
        ids: std::sync::Arc::new(shared::ids::SystemIds::new()),
        environment: agentd::process::Environment::read(),
        keepers: agentd::process::KeeperProgram::at(env!("CARGO_BIN_EXE_agentd")),
    };
    let root = dir.path().join("root");
    let daemon = agentd::daemon::Daemon::open(state.layout(), &root, parts).await.unwrap();
    daemon.listen(state.layout(), None).unwrap();
    let socket = state.layout().socket();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let ids = shared::ids::SystemIds::new();
    let id = |ids: &shared::ids::SystemIds| (ids as &dyn shared::ids::IdSource).ulid();
    let request = shared::protocol::process::StartProcess {
        process_id: shared::ids::ProcessId::from_ulid(id(&ids)),
        chat_id: Some("chat_seven".to_owned()),
        ..bench::shell("sleep 600 # \u{1b}[31m")
    };
    let op = shared::ids::OpId::from_ulid(id(&ids));
    let begun = std::future::ready(Ok(()));
    daemon.dispatch.processes.start(op, &request, begun).await.unwrap();

    let text = long.to_str().unwrap().to_owned();
    let ask = move |command: &'static str, json: bool| {
        let text = text.clone();
        let job = move || {
            let mut arguments = vec![command, "--state-dir", &text];
            if json {
                arguments.push("--json");
            }
            agentd(&arguments).output().unwrap()
        };
        async move { shared::lifecycle::Lifecycle::new().blocking("ask", job).await }
    };
    let status = ask("status", true).await;
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((json["processes_running"].as_u64(), code(&status)), (Some(1), 0));
    assert_eq!(json["pid"], std::process::id());
    let ps = String::from_utf8(ask("ps", false).await.stdout).unwrap();
    assert!(ps.contains("running") && ps.contains("sleep 600 #"), "{ps}");
    assert!(!ps.contains('\u{1b}'), "control characters stay away from the terminal");
    let wanted = ["AGE", "CHAT", "chat_seven", "0s"];
    assert!(wanted.iter().all(|word| ps.contains(word)), "{ps}");
    let listed: serde_json::Value = serde_json::from_slice(&ask("ps", true).await.stdout).unwrap();
    lifecycle.stop();
    drop(daemon);
    lifecycle.shut_down(std::time::Duration::from_secs(10)).await;
    assert!(!socket.exists(), "it is taken away at an orderly end");

    // No daemon, and the process goes on: both commands still know.
    let down = ask("ps", true).await;
    assert_eq!((code(&down), errors(&down).contains("no agentd runs")), (0, true));
    let json: serde_json::Value = serde_json::from_slice(&down.stdout).unwrap();
    assert_eq!(json, listed, "the same as while the daemon ran");
    let status = ask("status", true).await;
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        (json["is_running"].as_bool(), json["processes_running"].as_u64()),
        (Some(false), Some(1))
    );
    assert_eq!(code(&status), 69);
    let text = String::from_utf8(ask("status", false).await.stdout).unwrap();
    assert!(text.contains("does not run") && text.contains("1 running"), "{text}");
    let process_id = request.process_id;
    let pids = bench::member_pids(process_id);
    let keeper = pidfd(parent_of(pids[0]));
    bench::end_processes(&state.layout().processes());
    // It writes down how its process ended, and leaves.
    let mut fds = [rustix::event::PollFd::new(&keeper, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
    let ps = String::from_utf8(ask("ps", false).await.stdout).unwrap();
    assert!(ps.contains("signal 9"), "{ps}");
}

fn pidfd(pid: i32) -> std::os::fd::OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}
