//! Every store method, on SQLite and on Postgres.
//!
//! A test is written once and runs on both: [`on_both!`] makes two of it. Each run has a database
//! of its own. What is the same for both databases by construction (the two migration sets, the
//! text of every statement) is compared in [`schema`].

#[macro_use]
mod scene;

mod agents;
mod attachments;
mod chats;
mod claims;
mod concurrency;
mod cost;
mod limits;
mod links;
mod machine;
mod names;
mod notify;
mod opening_postgres;
mod opening_sqlite;
mod people;
mod providers;
mod queue;
mod schema;
mod steps;
mod traces;
mod waits;
mod workspaces;
