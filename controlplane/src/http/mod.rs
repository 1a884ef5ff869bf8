//! The HTTP side.
pub mod code;
pub mod json;
pub mod problem;
