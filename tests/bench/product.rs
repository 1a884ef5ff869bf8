//! The release programs beside this one, set up and joined.

use std::time::Instant;

use anyhow::Result;
use tests::programs::{Programs, Setting};

/// Starts both programs with one workspace joined.
pub async fn start() -> Result<Programs> {
    let mut programs = Programs::start(Setting::default()).await?;
    programs.join().await?;
    Ok(programs)
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub fn now() -> Instant {
    Instant::now()
}
