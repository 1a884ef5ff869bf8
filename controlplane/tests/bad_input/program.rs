//! B97 and B98: the program from outside.

use std::io::{BufRead, Read};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use controlplane::app::StartError;

use super::rows::Rows;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_controlplane"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

#[test]
fn b96_to_b98_the_program_says_what_is_wrong_and_ends_with_the_documented_code() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[http]\nlistne = 'x'\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let mut rows = Rows::default();
    let mut row = |name: &str, command: &mut Command, code: i32, says: &str| {
        let (found, stdout, stderr) = run(command);
        let quiet = !stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE");
        let told = stderr.contains(says) || stdout.contains(says);
        rows.fact(name, found == code && told && quiet, &format!("{found}: {stdout}{stderr}"));
    };
    let serve = |http: &str| {
        let mut command = program();
        command.args(["serve", "--http", http, "--quic", "127.0.0.1:0", "--data-dir"]).arg(&data);
        command
    };
    row("B98 unknown flag", program().args(["serve", "--htpp", "x"]), 2, "--http");
    row("B98 unknown command", program().arg("serv"), 2, "serve");
    row("B98 missing value", program().args(["serve", "--http"]), 2, "--http");
    row("B98 nothing", &mut program(), 2, "Usage");
    row("B98 help", program().arg("--help"), 0, "Usage");
    row("B98 version", program().arg("--version"), 0, "controlplane");
    row("B98 no home", program().args(["config", "check"]), 78, "--data-dir");
    let home = dir.path().to_str().unwrap();
    row(
        "B98 bad locale",
        program().env("HOME", home).env("LC_ALL", "xx_XX.nope").args(["config", "check"]),
        0,
        "well",
    );
    row("B98 ten columns", program().env("COLUMNS", "10").args(["serve", "--help"]), 0, "--http");
    let check = |command: &mut Command| {
        command.arg("--config").arg(&config);
    };
    let mut command = program();
    command.env("HOME", home).args(["config", "check"]);
    check(&mut command);
    row(
        "B96 config check",
        &mut command,
        78,
        "config.toml:2:1: unknown key \"listne\" in [http]; did you mean \"listen\"?",
    );
    let mut command = serve("127.0.0.1:0");
    check(&mut command);
    row("B96 serve with a bad file", &mut command, 78, "did you mean");
    row("B97 address in use", &mut serve(&taken.1.to_string()), 69, "in use");
    row("B97 no such address", &mut serve("192.0.2.1:7070"), 69, "192.0.2.1");
    row("B97 not an address", &mut serve("localhost"), 78, "http.listen takes");
    row(
        "B97 data dir is a file",
        program().args(["serve", "--data-dir"]).arg(&file),
        78,
        "cannot be used",
    );
    row(
        "healthcheck of nobody",
        program().args(["healthcheck", "--url", "http://127.0.0.1:1", "--data-dir"]).arg(&data),
        69,
        "not ready",
    );
    row("openapi", program().arg("openapi"), 0, "\"openapi\": \"3.1.0\"");
    rows.fact("B97 no half start", !data.join("holdfast.db").exists(), "a database was made");
    rows.report("B96 B97 B98");
}

/// EACCES, EAFNOSUPPORT and EADDRNOTAVAIL, as the system says them.
#[test]
fn b97_an_address_that_cannot_be_had_is_told_with_what_to_do() {
    let mut rows = Rows::default();
    for (name, address, errno, says) in [
        ("B97 privileged port", "127.0.0.1:80", 13, "ports under 1024 need a right"),
        ("B97 IPv6 is off", "[::1]:7070", 97, "IPv6 is off"),
        ("B97 no IPv6 address", "[::1]:7070", 99, "pass an IPv4 one"),
        ("B97 no such address", "192.0.2.1:7070", 99, "no such address"),
    ] {
        let error = std::io::Error::from_raw_os_error(errno);
        let told = StartError::listen("http", address.parse().unwrap(), &error).to_string();
        rows.fact(name, told.contains(says) && told.contains(address), &told);
    }
    if let Some((code, told)) = serve_on_port_80() {
        rows.fact(
            "B97 a real privileged port",
            code == 77 && told.contains("under 1024"),
            &format!("{code}: {told}"),
        );
    }
    rows.report("B97");
}

/// The server's certificates are its own, in the database; what a person can break is the key that
/// opens them.
#[test]
fn b97_a_key_that_cannot_be_used_is_named_and_nothing_is_half_started() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let key = data.join("master.key");
    let serve = || {
        let mut command = program();
        command.args(["serve", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log-format"]);
        command.arg("json").arg("--data-dir").arg(&data);
        command
    };
    let mut rows = Rows::default();
    let mut row = |name: &str, says: &str| {
        let (found, stdout, stderr) = run(&mut serve());
        let is_quiet = !stdout.contains("ready") && !stderr.contains("panicked");
        let told = found == 78 && stderr.contains(says) && is_quiet;
        rows.fact(name, told, &format!("{found}: {stdout}{stderr}"));
    };
    let write = |text: &str, mode: u32| {
        std::fs::write(&key, text).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(&data).unwrap();
    write(&"0a".repeat(32), 0o644);
    row("B97 key readable by all", "run `chmod 600");
    write("-----BEGIN PRIVATE KEY-----", 0o600);
    row("B97 key of another kind", "64 hexadecimal digits");
    let is_untouched = !data.join("holdfast.db").exists();
    // A server with a key of its own, which is stopped when it is ready.
    std::fs::remove_file(&key).unwrap();
    let mut child = serve().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("\"ready\"")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready.is_some(), "it never was ready");
    write(&"0b".repeat(32), 0o600);
    row("B97 certificate and another deployment's key", "sealed with another master key");
    rows.fact("B97 no half start, bad key", is_untouched, "a database was made");
    rows.report("B97 keys");
}

/// Serves on port 80 as somebody who may not; none: everybody may here, or nobody can be made who
/// may not.
fn serve_on_port_80() -> Option<(i32, String)> {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?;
    if first.trim().parse::<u16>().ok()? <= 80 {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), all).unwrap();
    let mut command = program();
    command.args(["serve", "--http", "127.0.0.1:80", "--quic", "127.0.0.1:0", "--data-dir"]);
    command.arg(dir.path().join("data"));
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output.status.code().unwrap_or(-1), told))
}

#[test]
fn b98_a_reader_that_goes_away_is_no_panic() {
    let mut child =
        program().arg("openapi").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0_u8; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    let mut rows = Rows::default();
    let found = format!("{output:?}");
    rows.fact("B98 as a shell says it of SIGPIPE", output.status.code() == Some(141), &found);
    rows.fact("B98 and nothing else", output.stderr.is_empty(), &found);
    rows.report("B98 pipe");
}
