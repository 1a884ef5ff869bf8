//! Files of a workspace.

mod delete;
mod edit;
mod glob;
mod list;
mod read;
mod search;
mod view;
mod write;

pub use delete::*;
pub use edit::*;
pub use glob::*;
pub use list::*;
pub use read::*;
pub use search::*;
pub use view::PathView;
pub use write::*;
