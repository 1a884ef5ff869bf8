//! Starts a server: listens, builds the services, and hands their tasks to the lifecycle.
//!
//! The order matters: the data directory is taken and the addresses are bound before the database is
//! touched, so that a server that cannot serve changes nothing.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::app::{App, StartError, Surroundings, lock_data_dir};
use crate::http::stream::check_accesses;
use crate::http::{router, server};
use crate::jobs;
use crate::options::Options;

/// A server that serves.
pub struct Server {
    /// Its services.
    pub app: App,
    /// Where it listens for HTTP.
    pub http: SocketAddr,
}

/// Starts a server. It serves when this returns, until the lifecycle's soft stop.
///
/// # Errors
///
/// The first thing that cannot be had; nothing is left running.
pub async fn start(
    options: Options,
    around: Surroundings,
    demo: bool,
) -> Result<Server, StartError> {
    let lock = lock_data_dir(&options.data_dir)?;
    let listen = options.http.listen;
    let refuse = |error: std::io::Error| StartError::listen("http", listen, &error);
    let listener = TcpListener::bind(listen).await.map_err(refuse)?;
    let http = listener.local_addr().map_err(refuse)?;
    let header_timeout = options.http.read_timeout;

    let app = App::build(options, around, http, demo, lock).await?;
    app.listen_for_daemons().await?;
    app.remember_addresses().await?;

    let lifecycle = app.lifecycle.clone();
    app.drive_chats();
    lifecycle.spawn_serving("lists of the fleet", app.clone().tell_lists_of_the_fleet());
    lifecycle.spawn_serving("accesses of streams", check_accesses(app.clone()));
    lifecycle.spawn_serving("cleanup", jobs::cleanup(app.clone()));
    let serving = server::serve(listener, router(&app), lifecycle.clone(), header_timeout);
    lifecycle.spawn_vital("http", serving);
    Ok(Server { app, http })
}
