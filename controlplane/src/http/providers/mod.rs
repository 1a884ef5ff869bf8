//! Model providers: where the models are, and with which key.

mod create;
mod delete;
mod list;
mod patch;
mod test;
mod view;

pub use create::*;
pub use delete::*;
pub use list::*;
pub use patch::*;
pub use test::*;
pub(crate) use view::seal;
pub use view::{KindBody, ProviderView, settings};
