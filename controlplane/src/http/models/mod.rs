//! Models: which of a provider's can answer, and how.

mod create;
mod delete;
mod list;
mod patch;
mod view;

pub use create::*;
pub use delete::*;
pub use list::*;
pub use patch::*;
pub use view::ModelView;
pub(super) use view::check_fallback;
