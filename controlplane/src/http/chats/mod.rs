//! Chats: begun, spoken in, steered, watched.

mod answers;
mod approvals;
mod archive;
mod compact;
mod content;
mod create;
mod edit;
mod fork;
mod get;
mod interrupt;
mod list;
mod messages;
mod patch;
mod queue;
mod rules;
mod send;
mod tool_results;
mod view;

pub use answers::*;
pub use approvals::*;
pub use archive::*;
pub use compact::*;
pub use content::PartBody;
pub use create::*;
pub use edit::*;
pub use fork::*;
pub use get::*;
pub use interrupt::*;
pub use list::*;
pub use messages::*;
pub use patch::*;
pub use queue::*;
pub use rules::*;
pub use send::*;
pub use tool_results::*;
pub use view::ChatView;
