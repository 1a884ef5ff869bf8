//! Bad input over HTTP and WebSocket, row by row of the catalogue: against a real server on a real
//! port, since half of the rows are bytes that no client library would send.
//!
//! Each test is one group of rows and prints `passed N/N`. A row names its number, what is sent and
//! what must come back: a status and the stable code. After each group the server still answers.

mod access;
mod attachments;
mod bodies;
mod chats;
mod documents;
mod program;
mod rows;
mod settings;
mod sockets;
mod transport;
mod world;
