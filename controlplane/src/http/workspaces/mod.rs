//! Workspaces and the tokens with which their daemons join.

mod create;
mod delete;
mod edit_check;
mod get;
mod join_token;
mod list;
mod patch;
mod view;

pub use create::*;
pub use delete::*;
pub use edit_check::EditCheckBody;
pub use get::*;
pub use join_token::*;
pub use list::*;
pub use patch::*;
pub use view::{WorkspaceStatus, WorkspaceView, link};
