//! `cargo xtask check`: everything that can be judged without running the product.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::command::{self, in_path, stage};
use crate::{setup, tidy};

/// Crates that must never be in the tree, whoever asks for them: one TLS stack, no C tool chains.
const NEVER: &[&str] = &["openssl-sys", "native-tls", "aws-lc-sys", "aws-lc-rs", "bincode"];
/// Crates that must not be in the daemon's tree: it stays small.
const NEVER_IN_AGENTD: &[&str] = &["sqlx", "axum", "reqwest", "hyper"];

/// Runs every check; the first that fails ends it.
pub fn run(root: &Path) -> Result<()> {
    stage("formatting");
    command::run(command::cargo(root).args(["fmt", "--all", "--check"]))?;
    stage("house rules");
    tidy::run(root)?;
    stage("clippy");
    command::run(command::cargo(root).args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    stage("dependencies");
    dependencies(root)?;
    stage("docs");
    command::run(
        command::cargo(root)
            .args(["doc", "--locked", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    stage("web: types, lint, generated API types");
    setup::packages(root)?;
    command::run(command::web(root, "npm").args(["run", "--silent", "typecheck"]))?;
    command::run(command::web(root, "npm").args(["run", "--silent", "lint"]))?;
    stage("generated files");
    generated(root)?;
    println!("\nEverything is clean.");
    Ok(())
}

/// `deny.toml` through cargo-deny where it is installed; the bans of it that matter most always.
fn dependencies(root: &Path) -> Result<()> {
    let tree = |package: &str| {
        command::output(command::cargo(root).args([
            "tree",
            "--locked",
            "--package",
            package,
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))
    };
    for (package, never) in
        [("agentd", NEVER), ("controlplane", NEVER), ("agentd", NEVER_IN_AGENTD)]
    {
        let tree = tree(package)?;
        for name in never {
            let found = tree.lines().any(|line| line.split(' ').next() == Some(name));
            ensure!(!found, "{package} depends on {name}, which deny.toml bans");
        }
    }
    if in_path("cargo-deny").is_some() {
        command::run(command::cargo(root).args([
            "deny",
            "--all-features",
            "check",
            "bans",
            "licenses",
            "sources",
        ]))
    } else {
        println!(
            "cargo-deny is not installed (cargo install cargo-deny); the bans were checked, licences were not"
        );
        Ok(())
    }
}

/// The OpenAPI document and the web's types must be what the code says.
fn generated(root: &Path) -> Result<()> {
    let document = command::output(command::cargo(root).args([
        "run",
        "--locked",
        "--quiet",
        "-p",
        "controlplane",
        "--",
        "openapi",
    ]))?;
    let committed = root.join("docs/api.json");
    let have = std::fs::read_to_string(&committed)
        .with_context(|| format!("could not read {}", committed.display()))?;
    ensure!(
        have.trim_end() == document.trim_end(),
        "docs/api.json is stale: cargo run -p controlplane -- openapi > docs/api.json"
    );
    let types = root.join("web/src/lib/api/schema.d.ts");
    let before =
        std::fs::read(&types).with_context(|| format!("could not read {}", types.display()))?;
    command::run(command::web(root, "npm").args(["run", "--silent", "api"]))?;
    let after = std::fs::read(&types)?;
    ensure!(before == after, "web/src/lib/api/schema.d.ts was stale and is now renewed: commit it");
    Ok(())
}
