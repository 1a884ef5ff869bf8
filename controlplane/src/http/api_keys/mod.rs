//! API keys: made, listed, revoked.

mod create;
mod delete;
mod list;
mod view;

pub use create::*;
pub use delete::*;
pub use list::*;
pub use view::ApiKeyView;
