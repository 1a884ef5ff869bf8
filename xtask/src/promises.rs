//! `cargo xtask promises`: the tests of numbered promises at full size, and their figures.
//!
//! They are the tests named `pNN_…`, in whatever package. Each prints a line `P22: …`; the lines
//! are shown again at the end as a table. One test at a time, since a figure is worth nothing
//! while something else has the machine.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{self, in_path, stage};
use crate::setup;
use crate::test::bin_dir;

#[derive(Args)]
pub struct Options {
    /// Only tests whose name contains one of these, such as `p22` or `p22_a_killed_keeper`.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// The small size, as in `cargo xtask test`.
    #[arg(long)]
    small: bool,
}

/// Builds, runs, and prints the table. Fails if a test failed or if no figure was printed.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    setup::postgres()?;
    setup::systemd();
    setup::strace();
    stage("the programs");
    command::run(command::cargo(root).args(["build", "--locked", "--workspace", "--bins"]))?;
    stage(if options.small { "promises, small" } else { "promises, whole" });
    let filters: Vec<String> = options.filters.iter().map(|f| f.to_lowercase()).collect();
    // One Postgres for the whole run; it stops with the command.
    let mut tests = Command::new(bin_dir(root).join("with-postgres"));
    tests.current_dir(root).arg(command::cargo(root).get_program());
    if in_path("cargo-nextest").is_some() {
        tests.args(["nextest", "run", "--locked", "--workspace", "--all-targets"]);
        tests.args(["--profile", "promises", "--no-capture", "-E", &expression(&filters)]);
    } else {
        tests.args(["test", "--locked", "--workspace", "--all-targets", "--no-fail-fast", "--"]);
        tests.args(["--nocapture", "--test-threads", "1"]);
        // The built-in harness knows parts of names only.
        let all = (0..10).map(|ten| format!("p{ten}")).collect();
        tests.args(if filters.is_empty() { all } else { filters });
    }
    tests.env("HOLDFAST_TRIALS", if options.small { "small" } else { "full" });
    let (figures, passed) = watch(&mut tests)?;
    stage("figures");
    figures.iter().for_each(|line| println!("{line}"));
    ensure!(passed, "a promise was not kept, see above");
    ensure!(!figures.is_empty(), "no test printed a figure");
    println!("\nAll of these were kept.");
    Ok(())
}

/// The tests of promises whose names contain any of `filters`; without filters, all.
fn expression(filters: &[String]) -> String {
    let promises = "test(/(^|::)p[0-9][0-9]_/)";
    if filters.is_empty() {
        return promises.to_owned();
    }
    let any: Vec<String> = filters.iter().map(|filter| format!("test(~{filter})")).collect();
    format!("{promises} & ({})", any.join(" | "))
}

/// Runs it, shows what it prints, and keeps the lines of figures in the order of their numbers;
/// whether it succeeded.
fn watch(command: &mut Command) -> Result<(Vec<String>, bool)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not start the tests")?;
    let mut output = BufReader::new(child.stdout.take().context("its output is a pipe")?);
    let mut figures = Vec::new();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).context("could not read the tests' output")? > 0 {
        // Tests may print any bytes; whoever watches gets them as they are.
        std::io::stdout().write_all(&line)?;
        figures.extend(figure(&String::from_utf8_lossy(&line)));
        line.clear();
    }
    figures.sort();
    figures.dedup();
    Ok((figures, child.wait()?.success()))
}

/// `P22: …` of a line. The test harness may have begun the line with the test's name.
fn figure(line: &str) -> Option<String> {
    let is_figure = |rest: &str| {
        let digits =
            rest.as_bytes().get(1..3).is_some_and(|two| two.iter().all(u8::is_ascii_digit));
        digits && rest.get(3..5) == Some(": ")
    };
    let start = line.match_indices('P').map(|(at, _)| at).find(|at| is_figure(&line[*at..]))?;
    let before = line[..start].chars().next_back();
    (!before.is_some_and(char::is_alphanumeric)).then(|| line[start..].trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{expression, figure};

    #[test]
    fn figures_are_found_in_what_tests_print() {
        assert_eq!(figure("P22: 30 of 30 killed\n").as_deref(), Some("P22: 30 of 30 killed"));
        let begun = "test p22_a_killed_keeper ... P22: p99 3.0 ms\n";
        assert_eq!(figure(begun).as_deref(), Some("P22: p99 3.0 ms"));
        for other in ["P22:", "P2: x", "PTY", "GP22: x", "Pé2: x", "promise P22 holds"] {
            assert_eq!(figure(other), None, "{other}");
        }
    }

    #[test]
    fn filters_choose_among_promises_only() {
        assert_eq!(expression(&[]), "test(/(^|::)p[0-9][0-9]_/)");
        let two = expression(&["p22".to_owned(), "p23_a".to_owned()]);
        assert_eq!(two, "test(/(^|::)p[0-9][0-9]_/) & (test(~p22) | test(~p23_a))");
    }
}
