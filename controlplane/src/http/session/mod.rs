//! The first administrator, log-ins, and who one is.

mod bootstrap;
mod login;
mod logout;
mod me;
mod setup;
mod setup_link;
mod view;

pub use bootstrap::*;
pub use login::*;
pub use logout::*;
pub use me::*;
pub use setup::*;
pub use setup_link::new_setup_link;
pub(super) use view::begin;
pub use view::{AuthKind, MeView, UserView};
