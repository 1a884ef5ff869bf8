//! `setup-link`: a new one-time link for the first administrator.

use std::process::ExitCode;

use super::exit::Failure;
use super::offline::Offline;
use super::output::line;
use crate::app::HTTP_URL_SETTING;
use crate::http::session::new_setup_link;
use crate::options::Sources;

/// Makes the link and prints it. Older links stay valid until they expire.
pub async fn run(sources: Sources) -> Result<ExitCode, Failure> {
    let offline = Offline::open(&sources).await?;
    if offline.store.users.count().await? > 0 {
        let text = "there is an administrator already; `controlplane admin user set-password` \
                    gives a new password";
        return Err(Failure::failed(text));
    }
    let url = offline.store.settings.value(HTTP_URL_SETTING).await?;
    let url = url.and_then(|url| String::from_utf8(url).ok()).unwrap_or_else(|| offline.url());
    let link = new_setup_link(&offline.store, offline.clock.as_ref(), &url).await;
    line(&link.map_err(|problem| Failure::failed(problem.detail().to_owned()))?)?;
    Ok(ExitCode::SUCCESS)
}
