//! The HTTP side: one table of routes, a file per endpoint, one error shape.
//!
//! ```text
//! server ► framing ► edge (id, host, origin, problems, headers) ► router ► authorize ► handler ► a service
//! ```
//!
//! A handler holds no SQL and no rule of the domain: it reads strictly, calls one service and shows
//! what comes back. The groups below say which right each route needs; a route in no group cannot
//! be reached.

pub mod api_keys;
mod assets;
pub mod attachments;
pub mod auth;
pub mod chats;
pub mod code;
mod docs;
pub mod edge;
pub mod enter;
pub mod files;
mod framing;
mod health;
pub mod hosts;
mod idempotency;
pub mod json;
pub mod metrics;
pub mod models;
mod operate;
pub mod page;
pub mod passwords;
pub mod problem;
pub mod processes;
pub mod providers;
pub mod ptys;
pub mod query;
mod raw;
mod routes;
pub mod server;
pub mod session;
pub mod settings;
mod state;
mod store_problem;
pub mod stream;
mod usage;
pub mod workspaces;

pub use routes::{document, router};
pub use state::HttpState;
