//! `cargo xtask planted`: tests that are worth their name fail when the promise is broken.
//!
//! Each bug is a small patch under `tests/planted/`. It is applied to a copy of the checkout, what it
//! touches is built, and the named test must fail; then it is taken back. Nothing of a bug is ever in
//! the product. A unit test keeps the patches applicable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{self, stage};

/// One bug and who must notice.
struct Bug {
    /// Of the patch, without `.patch`.
    name: &'static str,
    /// Arguments of `cargo test` that build the tests.
    target: &'static [&'static str],
    /// The test that must fail.
    test: &'static str,
}

const SIM: &[&str] = &["-p", "tests", "--test", "sim"];
const SIM_TEST: &str = "whatever_goes_wrong_nothing_is_lost_and_nothing_runs_twice";

/// Those of one program are together: then the other one is not built anew each time.
const BUGS: [Bug; 14] = [
    Bug { name: "01-ack-before-commit", target: SIM, test: SIM_TEST },
    Bug { name: "02-intent-after-dispatch", target: SIM, test: SIM_TEST },
    Bug { name: "07-wake-before-commit", target: SIM, test: SIM_TEST },
    Bug {
        name: "03-where-without-epoch",
        target: &["-p", "tests", "--test", "stores"],
        test: "a_stale_worker_changes_nothing_in_any_state",
    },
    Bug {
        name: "11-origin-unchecked-when-missing",
        target: &["-p", "controlplane", "--test", "bad_input"],
        test: "b25_upgrades_are_for_our_own_pages_and_for_keys",
    },
    Bug {
        name: "08-resume-replays-from-one-before",
        target: &["-p", "controlplane", "--lib"],
        test: "a_viewer_that_resumes_within_an_episode_gets_only_what_is_new",
    },
    Bug {
        name: "13-viewer-without-bound",
        target: &["-p", "controlplane", "--lib"],
        test: "a_viewer_that_never_reads_is_given_up_and_a_slow_one_is_not",
    },
    Bug {
        name: "14-redirect-followed",
        target: &["-p", "controlplane", "--lib"],
        test: "b91_statuses_are_classified_and_pauses_are_sane",
    },
    Bug {
        name: "04-daemon-ignores-the-epoch",
        target: &["-p", "agentd", "--lib"],
        test: "an_older_epoch_is_refused_also_after_a_restart",
    },
    Bug {
        name: "05-journal-without-fsync",
        target: &["-p", "agentd", "--lib"],
        test: "what_is_acknowledged_is_on_the_disk_with_its_name",
    },
    Bug {
        name: "06-rename-without-directory-fsync",
        target: &["-p", "agentd", "--lib"],
        test: "what_is_acknowledged_is_on_the_disk_with_its_name",
    },
    Bug {
        name: "09-containment-by-prefix",
        target: &["-p", "agentd", "--lib"],
        test: "b61_no_path_leads_out_of_the_workspace",
    },
    Bug {
        name: "10-write-follows-links",
        target: &["-p", "agentd", "--lib"],
        test: "b61_no_path_leads_out_of_the_workspace",
    },
    Bug {
        name: "12-kill-by-bare-pid",
        target: &["-p", "agentd", "--test", "identities"],
        test: "p23_a_number_that_was_reused_is_never_signalled",
    },
];

#[derive(Args)]
pub struct Options {
    /// Only bugs whose name contains one of these, such as `07` or `fsync`.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Plants one bug after the other and prints who caught it. Fails if one was not caught.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let place = root.join("target/planted");
    let tree = place.join("tree");
    let chosen = |bug: &&Bug| {
        options.filters.is_empty() || options.filters.iter().any(|f| bug.name.contains(f))
    };
    let mut lines = Vec::new();
    let mut caught = 0;
    for bug in BUGS.iter().filter(chosen) {
        stage(bug.name);
        // Anew each time: a bug may write where it should not, and the copy is near.
        copy(root, &tree)?;
        let patch = patch(root, bug);
        command::run(apply(&tree, &patch).arg("--whitespace=nowarn"))?;
        let began = now();
        let ended = test(&tree, &place.join("build"), bug);
        let seconds = began.elapsed().as_secs();
        command::run(apply(&tree, &patch).arg("--reverse"))?;
        let is_caught = ended?;
        caught += usize::from(is_caught);
        let word = if is_caught { "caught by" } else { "NOT CAUGHT by" };
        lines.push(format!("{:36} {word} {} in {seconds} s", bug.name, bug.test));
    }
    lines.sort();
    stage("planted bugs");
    lines.iter().for_each(|line| println!("{line}"));
    println!("planted: {caught} of {} caught", lines.len());
    ensure!(!lines.is_empty(), "no bug has such a name");
    ensure!(caught == lines.len(), "a test did not notice that its promise was broken");
    Ok(())
}

/// Builds the tests, which must succeed, and runs the one, which must fail. Whether it did.
fn test(tree: &Path, build: &Path, bug: &Bug) -> Result<bool> {
    let cargo = || {
        let mut cargo = command::cargo(tree);
        cargo.env("CARGO_TARGET_DIR", build).arg("test").args(bug.target);
        // Nobody looks at its backtraces, and it is built and linked faster without.
        for package in ["shared", "agentd", "controlplane", "tests"] {
            cargo.args(["--config", &format!("profile.dev.package.{package}.debug=0")]);
        }
        cargo
    };
    command::run(cargo().arg("--no-run"))?;
    let output = cargo()
        .args(["--", bug.test])
        .stderr(Stdio::null())
        .output()
        .context("could not start the test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!text.contains("running 0 tests"), "there is no test {}", bug.test);
    Ok(!output.status.success() && text.contains("test result: FAILED"))
}

/// Brings the files that git knows into `tree`; what is the same there keeps its time.
fn copy(root: &Path, tree: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = command::output(&mut list)?;
    let names: BTreeSet<&str> = names.split('\0').filter(|name| !name.is_empty()).collect();
    for name in &names {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(content) = std::fs::read(&from) else { continue };
        if std::fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        let folder = to.parent().context("a file has a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(&to, content)?;
    }
    // A repository of its own, or git would look at the checkout around it.
    command::run(Command::new("git").current_dir(tree).args(["init", "--quiet"]))?;
    // What has gone from the checkout, or has another name there.
    let mut others = Command::new("git");
    others.current_dir(tree).args(["ls-files", "-z", "--others", "--exclude-standard"]);
    let there = command::output(&mut others)?;
    let mut gone = there.split('\0').filter(|name| !name.is_empty() && !names.contains(name));
    gone.try_for_each(|name| Ok(std::fs::remove_file(tree.join(name))?))
}

fn patch(root: &Path, bug: &Bug) -> PathBuf {
    root.join("tests/planted").join(format!("{}.patch", bug.name))
}

fn apply(tree: &Path, patch: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(tree).arg("apply").arg(patch);
    git
}

#[expect(clippy::disallowed_methods, reason = "a figure for people")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::{BUGS, apply, patch};
    use crate::command;

    #[test]
    fn every_planted_bug_still_fits_the_code() {
        let root = command::root().unwrap();
        for bug in &BUGS {
            let patch = patch(&root, bug);
            let checked = apply(&root, &patch).arg("--check").output().unwrap();
            let errors = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{} has to be made anew: {errors}", bug.name);
        }
    }
}
