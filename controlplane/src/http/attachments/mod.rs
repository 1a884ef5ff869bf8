//! Files that are attached to chats.

mod download;
mod list;
mod remove;
mod upload;
mod view;

pub use download::*;
pub use list::*;
pub use remove::*;
pub use upload::*;
pub use view::AttachmentView;
