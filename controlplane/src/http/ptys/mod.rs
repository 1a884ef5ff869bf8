//! PTYs of a workspace: opened, watched, typed into, searched, recorded.
//!
//! ```text
//! browser ◄── text: attached, resized, writer …      ┌── outgoing ◄── events ◄── daemon
//!         ◄── binary: screen, output            socket
//!         ──► text: input, resize, take, ack …       └── incoming ──► voice ───► daemon
//! ```
//!
//! `docs/design/015-terminals-http.md` has the messages and the rules of the flow.

mod attach;
mod close;
mod get;
mod incoming;
mod input;
mod list;
mod message;
mod open;
mod outgoing;
mod output;
mod recording;
mod screen;
mod search;
mod session;
mod view;

pub use attach::*;
pub use close::*;
pub use get::*;
pub use input::*;
pub use list::*;
pub use message::{PtySaid, PtyTold};
pub use open::*;
pub use output::*;
pub use recording::*;
pub use screen::*;
pub use search::*;
pub use view::PtyView;
