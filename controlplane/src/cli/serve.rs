//! `serve`: runs the server and says when it is ready.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use shared::clock::SystemClock;
use shared::ids::SystemIds;
use shared::lifecycle::{Ending, Lifecycle};

use super::exit::Failure;
use super::output::{line, print};
use super::{logging, offer};
use crate::app::{App, StartError, Surroundings};
use crate::http::session::new_setup_link;
use crate::options::{self, Options, Sources};
use crate::serve::{Server, start};

/// Runs until a signal.
pub async fn run(sources: Sources) -> Result<ExitCode, Failure> {
    let (options, _) = options::load(&sources)?;
    logging::start(&options.log)?;
    let grace = options.shutdown_grace;
    let lifecycle = Lifecycle::new();
    let server = server(options, &lifecycle, false).await?;
    offer::providers(&server.app, &offer::of_environment()).await?;
    announce(&server.app).await?;
    let ending = lifecycle.run_until_stopped(grace).await;
    server.app.store.close().await;
    Ok(match ending {
        Ending::Clean => ExitCode::SUCCESS,
        Ending::Failed => ExitCode::FAILURE,
    })
}

/// Builds and starts a server with the machine's clock.
pub(super) async fn server(
    options: Options,
    lifecycle: &Lifecycle,
    demo: bool,
) -> Result<Server, Failure> {
    let around = Surroundings {
        lifecycle: lifecycle.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds::new()),
    };
    Ok(start(options, around, demo).await?)
}

async fn announce(app: &App) -> Result<(), Failure> {
    let http = app.http.url();
    let quic = app.quic_address().map(|address| address.to_string());
    let setup_url = if app.store.users.count().await? == 0 {
        let link = new_setup_link(&app.store, app.clock.as_ref(), &http).await;
        Some(link.map_err(|problem| {
            Failure::from(StartError::service("the set-up link", problem.detail().to_owned()))
        })?)
    } else {
        None
    };
    if app.options.log.json {
        let mut ready = json!({"event": "ready", "http": http, "quic": quic});
        if let Some(url) = setup_url {
            ready["setup_url"] = url.into();
        }
        return line(&ready.to_string());
    }
    let quic = quic.as_deref().unwrap_or("-");
    let mut text =
        format!("\nHoldfast is ready\n\n  web and API  {http}\n  daemons      {quic} (UDP)\n");
    if let Some(url) = setup_url {
        text += &format!(
            "\nOpen this link once to create the administrator (valid for one hour):\n\n  {url}\n"
        );
    }
    print(&(text + "\nCtrl-C stops.\n"))
}
