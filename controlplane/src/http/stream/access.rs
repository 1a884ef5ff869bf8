//! Streams end when the credential that opened them does: logged out, revoked, expired, or its
//! owner gone.
//!
//! ```text
//! stream ──watch──► Accesses ──every 2 s, or at once when told──► the credential's row
//!    ▲                 └── verdict ──┐
//!    └── close 4401 / 4403 ◄─────────┘
//! ```
//!
//! The row decides; [`Accesses::recheck`] is a hint that saves the wait on this replica. One task
//! asks, once per credential and round, however many streams hang on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::ids::{ApiKeyId, SessionId, UserId};
use tokio::sync::{Notify, watch};

use crate::app::App;
use crate::http::auth::{self, Caller, Via};

/// With the time a round takes, well under the five seconds within which a stream must end.
const EVERY: Duration = Duration::from_secs(2);

/// How a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Valid,
    /// It is gone: close code 4401.
    Ended,
    /// It is there and may no longer look: close code 4403.
    Forbidden,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Credential {
    Session(SessionId),
    ApiKey(ApiKeyId),
}

/// The credentials that streams hang on. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Accesses {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    watched: Mutex<HashMap<Credential, Watched>>,
    recheck: Notify,
}

struct Watched {
    user: UserId,
    streams: u32,
    verdict: watch::Sender<Verdict>,
}

/// One stream's hold on its credential.
pub struct Access {
    accesses: Accesses,
    credential: Credential,
    verdict: watch::Receiver<Verdict>,
}

impl Access {
    /// Waits until the stream must end. Cancel-safe.
    pub async fn ended(&mut self) -> Verdict {
        let ended = self.verdict.wait_for(|verdict| *verdict != Verdict::Valid).await;
        // The sender lives as long as any stream watches.
        ended.map_or(Verdict::Ended, |verdict| *verdict)
    }
}

impl Accesses {
    /// Watches the credential of `caller`.
    #[must_use]
    pub fn watch(&self, caller: &Caller) -> Access {
        let credential = match &caller.via {
            Via::Session(id) => Credential::Session(*id),
            Via::ApiKey(id, _) => Credential::ApiKey(*id),
        };
        let mut watched = self.watched();
        let entry = watched.entry(credential).or_insert_with(|| Watched {
            user: caller.user_id,
            streams: 0,
            verdict: watch::Sender::new(Verdict::Valid),
        });
        entry.streams += 1;
        let verdict = entry.verdict.subscribe();
        drop(watched);
        Access { accesses: self.clone(), credential, verdict }
    }

    /// Something was revoked: look now.
    pub fn recheck(&self) {
        self.shared.recheck.notify_one();
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<Credential, Watched>> {
        self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, credential: Credential, verdict: Verdict) {
        if let Some(entry) = self.watched().get(&credential) {
            entry.verdict.send_if_modified(|now| std::mem::replace(now, verdict) != verdict);
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let mut watched = self.accesses.watched();
        if let Some(entry) = watched.get_mut(&self.credential) {
            entry.streams -= 1;
            if entry.streams == 0 {
                watched.remove(&self.credential);
            }
        }
    }
}

/// Looks at every watched credential, again and again until the soft stop.
pub async fn check_accesses(app: App) {
    let (accesses, soft) = (app.http.accesses.clone(), app.lifecycle.soft());
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            () = accesses.shared.recheck.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        let watched: Vec<(Credential, UserId)> = accesses
            .watched()
            .iter()
            .map(|(credential, entry)| (*credential, entry.user))
            .collect();
        for (credential, user) in watched {
            let still = match credential {
                Credential::Session(id) => auth::session_stands(&app, id, user).await,
                Credential::ApiKey(id) => auth::key_stands(&app, id, user).await,
            };
            match still {
                Ok(verdict) => accesses.judge(credential, verdict),
                // Unknown is not ended: a database that is away must not throw everybody out.
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not look whether a stream may go on"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::UserRole;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    #[tokio::test]
    async fn every_stream_of_a_credential_ends_with_it_and_others_go_on() {
        let ids: &dyn IdSource = &CountingIds::default();
        let caller = |via| Caller {
            user_id: ids.id(),
            username: "mira".to_owned(),
            role: UserRole::Member,
            via,
        };
        let accesses = Accesses::default();
        let (session, key): (SessionId, ApiKeyId) = (ids.id(), ids.id());
        let page = caller(Via::Session(session));
        let (mut one, mut two) = (accesses.watch(&page), accesses.watch(&page));
        let script = accesses.watch(&caller(Via::ApiKey(key, Vec::new())));
        accesses.judge(Credential::Session(session), Verdict::Ended);
        assert_eq!((one.ended().await, two.ended().await), (Verdict::Ended, Verdict::Ended));
        assert_eq!(*script.verdict.borrow(), Verdict::Valid);
        drop((one, two, script));
        assert!(accesses.watched().is_empty(), "nothing is left behind");
    }
}
