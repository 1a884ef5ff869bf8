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

mod bare;
mod commits;
mod exec;
mod footprint;
mod keepers;
mod limits;
mod link;
mod many;
mod mock;
mod product;
mod ptys;
mod replicas;
mod sample;
mod turn;
mod viewers;

use clap::Parser;

use sample::Row;

/// Benchmarks of the two programs against the limits of this machine.
#[derive(Parser)]
struct Arguments {
    /// Prints JSON lines instead of the table.
    #[arg(long)]
    json: bool,
    /// Only groups whose name contains this: footprint, turn, exec, keepers, ptys, replicas,
    /// commits, viewers, many.
    #[arg(long)]
    only: Option<String>,
    /// A few samples of everything: whether it runs, not how fast.
    #[arg(long, hide = true)]
    smoke: bool,
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
    sample::be_small(arguments.smoke);
    let wanted =
        |group: &str| arguments.only.as_ref().is_none_or(|only| group.contains(only.as_str()));
    // A group that fails takes no other with it: what was measured is printed, then the failure.
    let (mut rows, mut failed) = (Vec::<Row>::new(), Vec::new());
    let mut take = |group: &'static str, measured: anyhow::Result<Vec<Row>>| match measured {
        Ok(measured) => rows.extend(measured),
        Err(error) => {
            eprintln!("{group}: {error:#}");
            failed.push(group);
        }
    };
    if wanted("footprint") {
        take("footprint", footprint::rows().await);
    }
    if wanted("turn") {
        take("turn", turn::rows().await);
    }
    if wanted("exec") {
        take("exec", exec::rows().await);
    }
    if wanted("keepers") {
        take("keepers", keepers::rows().await);
    }
    if wanted("ptys") {
        take("ptys", ptys::rows().await);
    }
    if wanted("replicas") {
        take("replicas", replicas::rows().await);
    }
    if wanted("commits") {
        take("commits", commits::rows().await);
    }
    if wanted("viewers") {
        take("viewers", viewers::rows().await);
    }
    if wanted("many") {
        take("many", many::rows().await);
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
    anyhow::ensure!(failed.is_empty(), "no rows of: {}", failed.join(", "));
    Ok(())
}
