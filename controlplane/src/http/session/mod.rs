//! The first administrator, log-ins, and who one is.

mod bootstrap;
mod login;
mod logout;
mod me;
mod setup;
mod view;

pub use bootstrap::*;
pub use login::*;
pub use logout::*;
pub use me::*;
pub use setup::*;
pub use view::{AuthKind, MeView, UserView};
