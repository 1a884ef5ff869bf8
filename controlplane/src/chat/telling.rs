//! Hints between the replicas of one deployment, over the database.
//!
//! Two tasks: one says what was committed here, one hears what was committed elsewhere. Neither is
//! needed for anything to be right: whoever waits for a hint also polls.

use std::sync::Arc;
use std::time::Duration;

use shared::ids::ReplicaId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::hints::{Hint, Hints, Outbox, decode, encode};
use crate::store::{StoreError, WakeStore, Wakes};

/// Pause before a database that did not answer is asked again.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for one text to be sent; behind it the next ones collect.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends what is collected until [`Hints::finish`] or `hard`. `name` is this process's own.
pub async fn tell_others(
    outbox: Arc<Outbox>,
    wakes: WakeStore,
    name: String,
    hard: CancellationToken,
) {
    let telling = async {
        while let Some(hints) = outbox.take().await {
            for text in encode(&name, &hints) {
                let sent = tokio::time::timeout(SEND_TIMEOUT, wakes.send(&text)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    tracing::debug!("a hint was not sent; others find out by themselves");
                }
            }
        }
    };
    hard.run_until_cancelled(telling).await;
}

/// Applies what others say until `soft`. After every gap, and after this replica's own lease began
/// anew, everything counts as changed.
pub async fn hear_others(
    hints: Hints,
    wakes: WakeStore,
    name: String,
    mut standing: watch::Receiver<Option<ReplicaId>>,
    soft: CancellationToken,
) {
    let hearing = async {
        loop {
            let listener = match wakes.listen().await {
                Ok(Some(listener)) => listener,
                Ok(None) => return,
                Err(error) => {
                    note(&error);
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                    continue;
                }
            };
            hints.apply(Hint::Everything);
            standing.borrow_and_update();
            tokio::select! {
                error = hear(&hints, listener, &name) => {
                    note(&error);
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
                // A lease that was lost says that the connection may be dead without knowing it.
                () = renewed(&mut standing) => {}
            }
        }
    };
    soft.run_until_cancelled(hearing).await;
}

async fn renewed(standing: &mut watch::Receiver<Option<ReplicaId>>) {
    let before = *standing.borrow();
    let is_new = |now: &Option<ReplicaId>| now.is_some() && before.is_some() && *now != before;
    if standing.wait_for(is_new).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn hear(hints: &Hints, mut listener: Wakes, name: &str) -> StoreError {
    loop {
        match listener.next().await {
            Ok(Some(text)) => decode(&text, name).into_iter().for_each(|hint| hints.apply(hint)),
            Ok(None) => hints.apply(Hint::Everything),
            Err(error) => return error,
        }
    }
}

fn note(error: &StoreError) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "hints of other replicas are not heard now; it is tried again"
    );
}
