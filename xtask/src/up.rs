//! `cargo xtask up`: from a checkout to a running product, in one command.
//!
//! ```text
//! web build, cargo build ──► controlplane serve ──ready──► admin join ──► agentd join ──► URL
//! ```
//!
//! The state lies under `.holdfast/`, so a second start goes on where the first ended.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::command::{self, stage};
use crate::setup;
use crate::test::bin_dir;

#[derive(Args)]
pub struct Options {
    /// Address of the web UI and the API.
    #[arg(long, default_value = "127.0.0.1:7070")]
    http: String,
    /// Address that daemons dial, UDP.
    #[arg(long, default_value = "127.0.0.1:7443")]
    quic: String,
}

/// Builds, starts both programs, and stays until Ctrl-C, a hang-up or a request to end.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    setup::web(root)?;
    stage("the two programs");
    // The whole workspace, so that `test` finds what `up` has built: features are united per build.
    command::run(command::cargo(root).args(["build", "--locked", "--workspace", "--bins"]))?;
    let bins = bin_dir(root);
    let state = root.join(".holdfast");
    let server_dir = state.join("server");
    std::fs::create_dir_all(&server_dir)
        .with_context(|| format!("could not make {}", server_dir.display()))?;

    stage("control plane");
    // From here on a signal ends the two programs too: left alone, they would hold their addresses.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD])?;
    let mut server = Stopped(
        Command::new(bins.join("controlplane"))
            .args([
                "serve",
                "--log-format",
                "json",
                "--http",
                &options.http,
                "--quic",
                &options.quic,
                "--data-dir",
            ])
            .arg(&server_dir)
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start controlplane")?,
    );
    let lines = BufReader::new(server.0.stdout.take().context("its output is piped")?).lines();
    let ready = ready_line(lines)?;
    let url = ready["http"].as_str().context("the ready line has no http")?.to_owned();

    stage("workspace: this checkout");
    let mut daemon = Stopped(daemon(root, &bins, &state, &server_dir, &url)?);

    println!("\nHoldfast runs at {url}");
    match ready["setup_url"].as_str() {
        Some(link) => println!("Open this link once to create the administrator:\n\n    {link}\n"),
        None => println!("Log in as before.\n"),
    }
    println!(
        "This checkout is joined as a workspace. Ctrl-C stops both programs; the state stays in .holdfast/."
    );
    for signal in signals.forever() {
        if signal != SIGCHLD {
            println!("\nStopping both programs.");
            return Ok(());
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("the control plane ended with {status}");
        }
        if let Some(status) = daemon.0.try_wait()? {
            bail!("the daemon ended with {status}");
        }
    }
    Ok(())
}

/// The daemon of this checkout: enrolled on the first start, only run on the later ones.
fn daemon(root: &Path, bins: &Path, state: &Path, server_dir: &Path, url: &str) -> Result<Child> {
    let daemon_dir = state.join("agentd");
    let mut agentd = Command::new(bins.join("agentd"));
    if daemon_dir.join("identity").exists() {
        agentd.arg("run");
    } else {
        let name =
            root.file_name().map_or("workspace".into(), |name| name.to_string_lossy().into_owned());
        let token = command::output(
            Command::new(bins.join("controlplane"))
                .args(["admin", "token", "create", "--workspace", &name, "--data-dir"])
                .arg(server_dir),
        )?;
        agentd.args(["join", url, "--token", token.trim()]).arg("--root").arg(root);
    }
    agentd.arg("--state-dir").arg(&daemon_dir).spawn().context("could not start agentd")
}

/// Reads log lines until the one that says that the server serves; the rest goes to our output.
fn ready_line(
    mut lines: impl Iterator<Item = std::io::Result<String>> + Send + 'static,
) -> Result<serde_json::Value> {
    while let Some(line) = lines.next() {
        let line = line?;
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&line)
            && value["event"] == "ready"
        {
            std::thread::spawn(move || lines.flatten().for_each(|line| println!("{line}")));
            return Ok(value);
        }
        println!("{line}");
    }
    bail!("the control plane ended before it was ready; its message is above")
}

/// A child that is asked to end with us, however we end.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // Ctrl-C reaches the whole group by itself; a signal to us alone, or an error of ours, does not.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}
