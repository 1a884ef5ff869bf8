//! What the product and its tests need beyond Rust: found, installed where that is possible, or
//! explained. Nothing is installed without saying so first.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, in_path, stage};

/// Lowest Node that the web's tools accept.
const NODE_MAJOR_MIN: u32 = 20;

/// Node's packages and the built web UI, which the server carries.
pub fn web(root: &Path) -> Result<()> {
    stage("web: packages and build");
    node()?;
    packages(root)?;
    command::run(command::web(root, "npm").args(["run", "--silent", "build"]))
}

/// Node's packages, exactly as the lock file says; skipped when they are already that.
pub fn packages(root: &Path) -> Result<()> {
    let lock = root.join("web/package-lock.json");
    let stamp = root.join("web/node_modules/.holdfast-lock");
    let wanted =
        std::fs::read(&lock).with_context(|| format!("could not read {}", lock.display()))?;
    if std::fs::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    command::run(command::web(root, "npm").args(["ci", "--no-audit", "--no-fund"]))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))
}

/// Node itself: it cannot be installed from here, so its absence is explained.
fn node() -> Result<()> {
    if in_path("node").is_none() || in_path("npm").is_none() {
        bail!(
            "Node {NODE_MAJOR_MIN} or newer with npm is needed to build the web UI and was not found.\n\
             Install it from your distribution (Debian: apt install nodejs npm) or from nodejs.org, then run this again."
        );
    }
    let version = command::output(Command::new("node").arg("--version"))?;
    let major =
        version.trim().trim_start_matches('v').split('.').next().and_then(|n| n.parse().ok());
    if major.is_none_or(|major: u32| major < NODE_MAJOR_MIN) {
        bail!("Node {} is too old: the web UI needs {NODE_MAJOR_MIN} or newer", version.trim());
    }
    Ok(())
}

/// Postgres binaries for the store's tests. `HOLDFAST_TEST_POSTGRES_URL` replaces them.
pub fn postgres() -> Result<()> {
    stage("tests: Postgres");
    if std::env::var_os("HOLDFAST_TEST_POSTGRES_URL").is_some() {
        println!("using the server of HOLDFAST_TEST_POSTGRES_URL");
        return Ok(());
    }
    if let Some(initdb) = find_initdb() {
        println!("found {}", initdb.display());
        return Ok(());
    }
    install("postgresql", "the store is tested on Postgres as well as on SQLite")?;
    find_initdb().map(|_| ()).context("postgresql was installed, but no initdb was found")
}

/// A Chromium for the browser tests; its path.
pub fn chromium() -> Result<PathBuf> {
    stage("tests: Chromium");
    if let Some(browser) = find_chromium() {
        println!("found {}", browser.display());
        return Ok(browser);
    }
    install("chromium", "the web UI is tested in a real browser")?;
    find_chromium().context("chromium was installed, but no browser was found")
}

/// A systemd to boot in namespaces, for the tests of the packaged units. Without it, or without
/// root, they say that they were skipped: so its absence is no error.
pub fn systemd() {
    stage("tests: systemd");
    let is_there = || {
        ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"].iter().any(|p| Path::new(p).exists())
    };
    if !is_there()
        && let Err(error) = install("systemd", "the packaged units are tested under a real one")
    {
        println!("{error:#}\nThe tests under systemd are skipped.");
    } else if is_there() {
        println!("found; its tests need root and are skipped without");
    }
}

/// A tracer, which kills programs at chosen system calls. Without it those tests say that they were
/// skipped: so its absence is no error.
pub fn strace() {
    stage("tests: strace");
    if in_path("strace").is_none()
        && let Err(error) = install("strace", "programs are killed at chosen system calls")
    {
        println!("{error:#}\nThe tests that need it are skipped.");
    } else {
        println!("found");
    }
}

fn find_initdb() -> Option<PathBuf> {
    if let Some(initdb) = in_path("initdb") {
        return Some(initdb);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|version| version.path().join("bin/initdb"))
        .filter(|initdb| initdb.is_file())
        .collect();
    found.sort();
    found.pop()
}

fn find_chromium() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("HOLDFAST_TEST_CHROMIUM") {
        return Some(path.into());
    }
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]
        .into_iter()
        .find_map(in_path)
}

/// Installs a Debian package as root or by password-less sudo; explains otherwise.
fn install(package: &str, why: &str) -> Result<()> {
    println!("{package} is missing: {why}.");
    let explain = || {
        format!(
            "{package} is needed ({why}) and cannot be installed from here. Install it by hand\n\
             (Debian, Ubuntu: sudo apt-get install {package}) and run this again."
        )
    };
    if in_path("apt-get").is_none() {
        bail!("{}", explain());
    }
    let is_root = command::output(Command::new("id").arg("-u"))?.trim() == "0";
    let prefix: &[&str] = if is_root {
        &[]
    } else if Command::new("sudo").args(["-n", "true"]).status().is_ok_and(|s| s.success()) {
        &["sudo", "-n"]
    } else {
        bail!("{}", explain());
    };
    println!("Installing it with apt-get now.");
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> =
            prefix.iter().copied().chain(["apt-get"]).chain(arguments.iter().copied()).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive");
        command::run(&mut command)
    };
    apt(&["update", "-q"])?;
    apt(&["install", "-y", "-q", "--no-install-recommends", package]).with_context(explain)
}
