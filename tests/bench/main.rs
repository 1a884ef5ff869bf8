//! The benchmarks of `cargo xtask bench`: each row beside its physical limit, measured in the same
//! run, and whether the goal of `docs/benchmarks.md` holds.
//!
//! ```text
//! limit, ours, limit, ours, …      ratios come from one run: absolute times move with the machine
//! ```
//!
//! Nothing here fails on a clock: a missed goal is printed, not an error. The programs measured are
//! the release binaries beside this one; the model is a mock in this process, so that one clock sees
//! the send and the receipt of a token.

mod exec;
mod footprint;
mod keepers;
mod limits;
mod link;
mod mock;
mod product;
mod ptys;
mod sample;
mod turn;

use clap::Parser;

use sample::Row;

/// Benchmarks of the two programs against the limits of this machine.
#[derive(Parser)]
struct Arguments {
    /// Prints JSON lines instead of the table.
    #[arg(long)]
    json: bool,
    /// Only groups whose name contains this: footprint, turn, exec, keepers, ptys.
    #[arg(long)]
    only: Option<String>,
    /// Runs as one of the limit programs instead; used by the benchmark itself.
    #[arg(long, hide = true)]
    limit: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(limit) = &arguments.limit {
        return limits::run(limit).await;
    }
    let wanted =
        |group: &str| arguments.only.as_ref().is_none_or(|only| group.contains(only.as_str()));
    let mut rows: Vec<Row> = Vec::new();
    if wanted("footprint") {
        rows.extend(footprint::rows().await?);
    }
    if wanted("turn") {
        rows.extend(turn::rows().await?);
    }
    if wanted("exec") {
        rows.extend(exec::rows().await?);
    }
    if wanted("keepers") {
        rows.extend(keepers::rows().await?);
    }
    if wanted("ptys") {
        rows.extend(ptys::rows().await?);
    }
    if arguments.json {
        for row in &rows {
            println!("{}", serde_json::to_string(row)?);
        }
    } else {
        sample::print_table(&rows);
    }
    // Beside the rows, so that they stay one JSON object a line.
    eprintln!("{}", sample::summary(&rows));
    Ok(())
}
