//! P34: directories that go away, or become read-only, under a daemon and under its processes.

use anyhow::{Result, ensure};
use shared::protocol::process::{Exit, ProcessState, StartProcess};
use tests::fleet::shell;

use crate::host::ByHand;

const WORKER: &str = "mkfifo ../leave; echo up; read word < ../leave; echo bye; exit 7";

fn is_exit_7(state: &ProcessState) -> bool {
    matches!(state, ProcessState::Exited { exit: Exit::Code { code: 7 }, .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p34_deleted_directories_end_nothing_and_loop_nothing() -> Result<()> {
    let mut host = ByHand::start().await?;
    host.sh("mkdir -p root/sub")?;
    let request = StartProcess { cwd: Some("sub".to_owned()), ..shell(WORKER) };
    let worker = host.remote().start(request).await?;
    host.remote().first_output(worker).await?;

    // Its working directory goes, and the daemon: the process runs on and its end is known.
    host.sh("rm -rf root/sub")?;
    let before = host.remote().instance();
    host.kill()?;
    host.spawn()?;
    host.remote().another(before).await?;
    ensure!(host.remote().view(worker).await?.state == ProcessState::Running);
    host.sh("echo now > root/leave")?;
    let ended = host.remote().ended(worker).await?;
    ensure!(is_exit_7(&ended.state), "{ended:?}");
    ensure!(host.remote().output(worker).await?.0 == b"up\nbye\n");

    // The whole workspace goes under the running daemon: an answer for each, and it lives.
    host.sh("rm -rf root")?;
    let refused = host.remote().start(shell("echo no")).await;
    ensure!(refused.is_err(), "{refused:?}");
    let refused = host.remote().write("new", b"x").await;
    ensure!(refused.is_err(), "{refused:?}");
    ensure!(host.remote().ended(worker).await?.state == ended.state);

    // A daemon that is started without its workspace says so once, in a way that is not tried again.
    host.kill()?;
    host.spawn()?;
    let (code, said) = host.ended()?;
    ensure!(code == Some(78) && said.contains("root"), "{code:?}: {said}");

    // The workspace is there again: so is everything else.
    host.sh("mkdir root")?;
    let before = host.remote().instance();
    host.spawn()?;
    host.remote().another(before).await?;
    ensure!(host.remote().ended(worker).await?.state == ended.state);
    let again = host.remote().shell("echo again").await?;
    host.remote().ended(again).await?;
    ensure!(host.remote().output(again).await?.0 == b"again\n");
    println!(
        "P34: a deleted working directory, a deleted workspace, a start without it (exit code 78) and with it \
         again: 0 processes lost, 0 crash loops"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p34_a_workspace_that_becomes_read_only_stops_no_process() -> Result<()> {
    let script = r#"
        mkdir "$1/disk"; mount -t tmpfs tmpfs "$1/disk"; cp -a "$1/state" "$1/disk/state"
        mount -t tmpfs tmpfs "$1/root""#;
    let Some(mut host) = ByHand::start_in(script).await? else { return Ok(()) };
    host.remote().write("file", b"old\n").await?;
    let command = "mkfifo leave; echo up; read word < leave; echo bye; exit 7";
    let worker = host.remote().shell(command).await?;
    host.remote().first_output(worker).await?;
    host.sh("mount -o remount,ro root")?;
    let refused = host.remote().write("file", b"new\n").await.unwrap_err().to_string();
    ensure!(refused.contains("read-only") || refused.contains("Read-only"), "{refused}");
    ensure!(host.sh("cat root/file")? == "old\n");
    let before = host.remote().instance();
    host.kill()?;
    host.spawn()?;
    host.remote().another(before).await?;
    let reader = host.remote().shell("cat file").await?;
    host.remote().ended(reader).await?;
    ensure!(host.remote().output(reader).await?.0 == b"old\n");
    host.sh("echo now > root/leave")?;
    let ended = host.remote().ended(worker).await?;
    ensure!(is_exit_7(&ended.state), "{ended:?}");
    host.sh("mount -o remount,rw root")?;
    host.remote().write("file", b"new\n").await?;
    ensure!(host.sh("cat root/file")? == "new\n");
    println!(
        "P34: a read-only remount: writes refused and the old file whole, reads and processes go on, 0 lost"
    );
    Ok(())
}
