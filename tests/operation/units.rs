//! The packaged unit under a real systemd.

use anyhow::{Result, ensure};
use shared::protocol::process::{Exit, ProcessState};
use shared::testing::bad_input::BadInput;
use tests::gate::Gate;

use crate::scene::{Scene, UNIT};

/// A process that works until it is told to leave, says so, and ends with 7.
const WORKER: &str =
    "mkfifo leave left; echo up; read word < leave; echo bye; echo now > left; exit 7";

fn kill(pid: u32, signal: nix::sys::signal::Signal) -> Result<()> {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid)?), signal)?;
    Ok(())
}

fn is_exit_7(state: &ProcessState) -> bool {
    matches!(state, ProcessState::Exited { exit: Exit::Code { code: 7 }, .. })
}

/// Whatever ends the daemon, or stops it, or replaces it: systemd has another one there, and the
/// processes have not noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_outlive_kill_watchdog_upgrade_and_stop_of_the_service() -> Result<()> {
    let Some(scene) = Scene::open().await? else { return Ok(()) };
    // Real watchdog, short: a hang of half a minute is too long for a test.
    scene.unit("WatchdogSec=3\nRestartSec=100ms")?;
    scene.start().await?;
    let shown = scene.systemd.show(UNIT)?;
    ensure!(shown.get("StatusText").contains("connected to 127.0.0.1"), "{shown:?}");
    ensure!(shown.get("KillMode") == "process" && shown.get("Delegate") == "yes", "{shown:?}");
    let worker = scene.remote.shell(WORKER).await?;

    let before = scene.remote.instance();
    kill(scene.main_pid()?, nix::sys::signal::Signal::SIGKILL)?;
    let killed = scene.remote.another(before).await?;
    ensure!(scene.remote.view(worker).await?.state == ProcessState::Running, "killed");

    // It hangs: nobody feeds the watchdog, systemd ends it and starts another.
    kill(scene.main_pid()?, nix::sys::signal::Signal::SIGSTOP)?;
    let hung = scene.remote.another(Some(killed)).await?;
    ensure!(scene.remote.view(worker).await?.state == ProcessState::Running, "hung");
    ensure!(scene.systemd.show(UNIT)?.number("NRestarts") == 2);

    // Another file, other bytes, the same program.
    let binary = scene.systemd.folder().join("bin/agentd");
    let copy = scene.systemd.folder().join("copy");
    std::fs::copy(&binary, &copy)?;
    std::io::Write::write_all(&mut std::fs::File::options().append(true).open(&copy)?, b"\0")?;
    scene.install(&copy)?;
    scene.systemd.must(&["restart", UNIT])?;
    let upgraded = scene.remote.another(Some(hung)).await?;
    ensure!(scene.remote.view(worker).await?.state == ProcessState::Running, "upgraded");
    let exe = std::fs::read_link(format!("/proc/{}/exe", scene.main_pid()?))?;
    ensure!(exe == binary, "the new file runs: {exe:?}");

    // Stopped for good, and the worker ends while no daemon is there.
    scene.systemd.must(&["stop", UNIT])?;
    ensure!(scene.systemd.show(UNIT)?.get("ActiveState") == "inactive");
    std::fs::write(scene.root().join("leave"), "now\n")?;
    ensure!(std::fs::read_to_string(scene.root().join("left"))? == "now\n");
    scene.systemd.must(&["start", UNIT])?;
    scene.remote.another(Some(upgraded)).await?;
    let ended = scene.remote.ended(worker).await?;
    ensure!(is_exit_7(&ended.state), "{ended:?}");
    ensure!(scene.remote.output(worker).await?.0 == b"up\nbye\n");
    Ok(())
}

/// B101: what cannot work is said in the status line, once, and systemd does not try for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b101_a_state_that_cannot_be_used_is_a_clear_status_and_no_storm() -> Result<()> {
    let Some(scene) = Scene::open().await? else { return Ok(()) };
    let mut table = BadInput::new();
    let mut failures = Vec::new();
    let mut row = |name: &str, holds: bool, seen: String| {
        table.check(&format!("B101 {name}"), holds);
        if !holds {
            failures.push(format!("{name}: {seen}"));
        }
    };
    let state = scene.state();
    let refused = |code: u32, text: &str| -> Result<(bool, String)> {
        let started = scene.systemd.systemctl(&["start", UNIT])?;
        let shown = scene.systemd.show(UNIT)?;
        let holds = !started.status.success()
            && shown.get("ActiveState") == "failed"
            && shown.number("ExecMainStatus") == code
            && shown.number("NRestarts") == 0
            && shown.get("StatusText").contains(text);
        let seen = format!(
            "{} {} {} restarts, {:?}",
            shown.get("ActiveState"),
            shown.get("ExecMainStatus"),
            shown.get("NRestarts"),
            shown.get("StatusText")
        );
        scene.systemd.must(&["reset-failed", UNIT])?;
        Ok((holds, seen))
    };

    // Started twice: systemd's own start is idempotent, and one by hand is told who holds it.
    scene.start().await?;
    scene.systemd.must(&["start", UNIT])?;
    let pid = scene.systemd.show(UNIT)?.number("MainPID");
    let mut second =
        scene.systemd.inside(&scene.systemd.folder().join("bin/agentd").to_string_lossy());
    let second = second.args(["run", "--state-dir", "/var/lib/holdfast"]).output()?;
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    row(
        "started twice",
        second.status.code() == Some(3) && text.contains(&format!("pid {pid}")),
        text,
    );
    scene.systemd.must(&["stop", UNIT])?;

    std::fs::write(state.join("format"), "9")?;
    let (holds, seen) = refused(78, "newer agentd")?;
    row("from a newer version", holds, seen);
    std::fs::write(state.join("format"), "1")?;

    // systemd gives a state directory to the service's user; this one it is not told of.
    scene.unit("StateDirectory=\nEnvironment=STATE_DIRECTORY=/var/lib/other")?;
    let other = scene.systemd.var_lib().join("other");
    std::fs::create_dir(&other)?;
    std::os::unix::fs::chown(&other, Some(4_242), Some(4_242))?;
    let (holds, seen) = refused(77, "belongs to user 4242")?;
    row("of another user", holds, seen);
    std::fs::remove_dir(&other)?;

    // Missing where none may be made.
    scene.unit("StateDirectory=\nEnvironment=STATE_DIRECTORY=/proc/none/state")?;
    let (holds, seen) = refused(78, "cannot be created")?;
    row("missing", holds, seen);

    scene.unit("StateDirectory=\nEnvironment=STATE_DIRECTORY=/var/lib/holdfast\nReadOnlyPaths=/var/lib/holdfast")?;
    let (holds, seen) = refused(78, "Read-only")?;
    row("read-only", holds, seen);

    // A daemon that dies of itself again and again is given up.
    let failed = scene.tell_failure()?;
    scene.unit(
        "RestartSec=10ms\nExecStart=\nExecStart=/bin/sh -c 'kill -KILL $$$$'\n\
         [Unit]\nOnFailure=told.service",
    )?;
    scene.systemd.must(&["start", "--no-block", UNIT])?;
    ensure!(std::fs::read_to_string(failed)? == "failed\n");
    let shown = scene.systemd.show(UNIT)?;
    let restarts = shown.number("NRestarts");
    row("a crash loop ends", (1..=10).contains(&restarts), format!("{restarts} restarts"));
    scene.systemd.must(&["reset-failed", UNIT])?;

    // Stopped, and killed, in the middle of its start.
    let mut gate = Gate::open(&scene.systemd.folder().join("gate"))?;
    let (name, path) = gate.env();
    scene.unit(&format!("RestartSec=100ms\nEnvironment={name}={path}"))?;
    gate.begin(Some(("start locked".to_owned(), 1)));
    scene.systemd.must(&["start", "--no-block", UNIT])?;
    let held = gate.held().await;
    scene.systemd.must(&["stop", UNIT])?;
    drop(held);
    let shown = scene.systemd.show(UNIT)?;
    let seen = format!("{} {}", shown.get("ActiveState"), shown.get("Result"));
    row("stopped during its start", shown.get("ActiveState") == "inactive", seen);

    gate.begin(Some(("start locked".to_owned(), 1)));
    let before = scene.remote.instance();
    scene.systemd.must(&["start", "--no-block", UNIT])?;
    let held = gate.held().await;
    kill(scene.main_pid()?, nix::sys::signal::Signal::SIGKILL)?;
    drop(held);
    gate.begin(None);
    let again = scene.remote.another(before).await;
    row("killed during its start", again.is_ok(), format!("{again:?}"));

    table.report("B101");
    println!(
        "B101: {} under systemd",
        if failures.is_empty() { "all as documented" } else { "FAILED" }
    );
    let context = failures.join("\n");
    ensure!(context.is_empty(), "{context}\n{}", scene.systemd.logged());
    Ok(())
}

/// What systemd says of a unit file that it was asked to check; none: it said nothing. A key of a
/// newer systemd than this one's is no mistake, and the other names are expected to be known.
fn said_of(kind: &str, text: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    // The program itself need not be installed for it.
    let unit = text
        .replace("ExecStart=agentd ", "ExecStart=/bin/true ")
        .replace("ExecStart=/usr/bin/agentd ", "ExecStart=/bin/true ");
    ensure!(unit != text, "the unit starts agentd");
    std::fs::write(folder.path().join("agentd.service"), unit)?;
    let output = std::process::Command::new("systemd-analyze")
        .args([kind, "--man=no", "verify"])
        .arg(folder.path().join("agentd.service"))
        // A user's manager wants one; it is only looked at.
        .env("XDG_RUNTIME_DIR", folder.path())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines: Vec<String> = said
        .lines()
        .filter(|line| !line.contains("Unknown key 'DelegateSubgroup'"))
        .map(str::to_owned)
        .collect();
    if !output.status.success() {
        lines.push(output.status.to_string());
    }
    Ok(lines)
}

#[test]
fn systemd_understands_every_line_of_both_packaged_units() -> Result<()> {
    if std::process::Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("units: skipped, systemd-analyze is not installed");
        return Ok(());
    }
    for (kind, folder) in [("--user", "user"), ("--system", "system")] {
        let path = format!("{}/../packaging/systemd/{folder}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(format!("{path}/agentd.service"))?;
        let said = said_of(kind, &text)?;
        ensure!(said.is_empty(), "{folder}: {said:?}");
        // The control: a word that is wrong is seen.
        let said = said_of(kind, &text.replace("KillMode=process", "KillMode=procesess"))?;
        ensure!(said.iter().any(|line| line.contains("procesess")), "{folder}: {said:?}");
    }
    Ok(())
}
