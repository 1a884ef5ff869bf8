//! The whole product, a story per file. Each starts both programs and plays a scripted model.

mod cut;
mod daemon;
mod interrupt;
mod newcomer;
mod queue;
mod restart;
mod resume;
mod terminals;
mod tools;
