//! The Holdfast server: chats, the model loop, the database, the web UI.
//!
//! ```text
//!  browser, scripts ──► http ──► chat ──► tools ──► fleet ──► daemons
//!                         │       │  └──► llm ──► providers
//!                         └───────┴──► store (SQLite or Postgres)
//! ```
//!
//! [`app`] builds every service in order; [`cli`] is the command line; [`options`] the configuration.

#![deny(unsafe_code)]

pub mod addresses;
pub mod app;
pub mod chat;
pub mod cli;
pub mod fleet;
pub mod http;
pub mod jobs;
pub mod llm;
pub mod options;
pub mod secrets;
pub mod serve;
pub mod store;
mod text_enum;
pub mod time;
pub mod tools;
