//! Chats: begun, spoken in, steered, watched.

mod archive;
mod compact;
mod content;
mod create;
mod get;
mod interrupt;
mod list;
mod messages;
mod patch;
mod queue;
mod send;
mod view;

pub use archive::*;
pub use compact::*;
pub use content::PartBody;
pub use create::*;
pub use get::*;
pub use interrupt::*;
pub use list::*;
pub use messages::*;
pub use patch::*;
pub use queue::*;
pub use send::*;
pub use view::ChatView;
