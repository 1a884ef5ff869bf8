//! Processes of a workspace: started, watched, read, signalled by a person or a program.

mod follow;
mod get;
mod list;
mod output;
mod search;
mod signal;
mod start;
mod stdin;
mod stop;
mod view;

pub use follow::*;
pub use get::*;
pub use list::*;
pub use output::*;
pub use search::*;
pub use signal::*;
pub use start::*;
pub use stdin::*;
pub use stop::*;
pub use view::{ExitView, ProcessErrorView, ProcessStateView, ProcessView, Standing};
