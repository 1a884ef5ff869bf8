//! A scenario file instead of a model, for demonstrations and for tests of automations.
//!
//! A step is a function of the history alone (see [`play`]): the number of the user's messages
//! picks the turn, the assistant's messages since pick the step. So any replica, before or after a
//! restart, plays on where the history stands, and its tool calls are real ones.
//! `docs/scripted-provider.md` is the page for people.

mod play;
mod scenario;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::unfold;

use super::classify::Teller;
use super::{Event, EventStream, Prompt, Provider, ProviderError, ProviderErrorKind};
use play::{Cue, Script};
use scenario::{Failure, Scenario};

/// Silence after which a stalled step fails, as with a real provider.
const SILENCE: Duration = Duration::from_secs(120);
/// Places whose failures are counted; over it, all of them are forgotten.
const PLACES_MAX: usize = 1_024;

/// How often each place of each chat has failed on purpose since this program started.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// Whether the place fails once more; `times` none: always.
    fn again(&self, place: String, times: Option<u32>) -> bool {
        let Some(times) = times else { return true };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= PLACES_MAX && !counts.contains_key(&place) {
            counts.clear();
        }
        let count = counts.entry(place).or_default();
        *count = count.saturating_add(1);
        *count <= times
    }
}

/// Plays one scenario.
pub(super) struct Scripted {
    scenario: Scenario,
    failures: Arc<Failures>,
}

impl Scripted {
    /// Reads the scenario at `path`; none: the built-in one.
    pub(super) fn open(
        path: Option<&str>,
        failures: Arc<Failures>,
        teller: &Teller,
    ) -> Result<Self, ProviderError> {
        let scenario = match path.map(str::trim).filter(|path| !path.is_empty()) {
            None => Scenario::demo(),
            Some(path) => {
                Scenario::open(path.strip_prefix("file://").unwrap_or(path)).map_err(|error| {
                    teller.error(ProviderErrorKind::Config, &format!("{}: {error}.", teller.who))
                })?
            }
        };
        Ok(Self { scenario, failures })
    }
}

#[async_trait]
impl Provider for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    async fn stream(&self, prompt: Prompt) -> Result<EventStream, ProviderError> {
        let script = play::script(&self.scenario, &prompt);
        let place = format!("{}/{}", prompt.cache_key, prompt.messages.len());
        let player = Player { script, place, failures: Arc::clone(&self.failures), is_over: false };
        Ok(unfold(player, |mut player| async move { Some((player.next().await?, player)) }).boxed())
    }

    async fn models(&self) -> Result<Vec<String>, ProviderError> {
        Ok(vec!["scripted".to_owned()])
    }
}

struct Player {
    script: Script,
    place: String,
    failures: Arc<Failures>,
    is_over: bool,
}

impl Player {
    async fn next(&mut self) -> Option<Result<Event, ProviderError>> {
        while !self.is_over {
            match self.script.pop()? {
                Cue::Event(event) => return Some(Ok(event)),
                Cue::Pause(pause) => tokio::time::sleep(pause).await,
                Cue::Stall => {
                    tokio::time::sleep(SILENCE).await;
                    self.is_over = true;
                    return Some(Err(silent()));
                }
                Cue::Fail(failure) => {
                    if self.failures.again(self.place.clone(), failure.times) {
                        self.is_over = true;
                        return Some(Err(error(&failure)));
                    }
                }
            }
        }
        None
    }
}

fn error(failure: &Failure) -> ProviderError {
    ProviderError {
        kind: failure.kind.0,
        message: failure
            .message
            .clone()
            .unwrap_or_else(|| "The scenario says that the model fails here.".to_owned()),
        status: None,
        retry_after: failure.retry_after_ms.map(Duration::from_millis),
        request_id: Some("scripted".to_owned()),
    }
}

fn silent() -> ProviderError {
    ProviderError {
        kind: ProviderErrorKind::StreamSilent,
        message: format!("The scenario said nothing for {} s.", SILENCE.as_secs()),
        status: None,
        retry_after: None,
        request_id: Some("scripted".to_owned()),
    }
}
