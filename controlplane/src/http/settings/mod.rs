//! What an administrator sets for the whole deployment.

mod get;
mod patch;
mod view;

pub use get::*;
pub use patch::*;
pub use view::SettingsView;
