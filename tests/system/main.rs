//! The whole product, a story per file. Each starts both programs and plays a scripted model.

mod benchmarks;
mod beside;
mod clock;
mod cut;
mod daemon;
mod families;
mod interrupt;
mod locks;
mod newcomer;
mod plan;
mod provider_cuts;
mod queue;
mod restart;
mod resume;
mod slow_viewers;
mod stops;
mod terminals;
mod tools;
mod ui_stream;
