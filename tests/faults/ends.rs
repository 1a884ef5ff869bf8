//! One turn through an end of the control plane that no fault point chose.

use std::time::Duration;

use anyhow::{Context, Result};
use tests::gate::Hit;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::play;
use crate::stage::{Crashed, Place, Program, Stage, Victim, WEDGED};
use crate::turn::Turn;

/// A turn that was played while something else might kill the control plane.
pub struct Died {
    pub turn: Turn,
    pub chat: String,
    /// From the new start to the end of the turn; none: it lived through the turn.
    pub recovery: Option<Duration>,
    /// The furthest that either program had come: `w4`; empty if it died before the first.
    pub window: String,
}

/// A turn in which the control plane was asked to stop.
pub struct Stopped {
    pub turn: Turn,
    pub chat: String,
    /// From the signal to the end of the program; none: the place was not reached.
    pub drain: Option<Duration>,
}

impl Stage {
    /// One turn, which what `arm` makes of the control plane's pid may cut short by killing it.
    pub async fn until_it_dies<T>(&mut self, arm: impl FnOnce(u32) -> Result<T>) -> Result<Died> {
        let turn = self.next_turn().await?;
        let _armed = arm(self.programs.server_pid()?)?;
        self.server.begin(None);
        self.daemon.begin(None);
        let end = self.programs.server_end()?;
        let whole = self.player(&turn);
        let mut whole = std::pin::pin!(whole);
        let mut end = std::pin::pin!(end);
        let waiting = async {
            tokio::select! {
                biased;
                _ended = &mut end => None,
                chat = &mut whole => match chat {
                    Ok(chat) => Some(Ok(chat)),
                    // What the client sees of a death comes a moment before the death is seen.
                    Err(error) => {
                        let died = tokio::time::timeout(WEDGED, &mut end).await.is_ok();
                        (!died).then_some(Err(error))
                    }
                },
            }
        };
        let lived = tokio::time::timeout(WEDGED, waiting).await.with_context(|| self.wedged())?;
        let windows = [self.server.seen(), self.daemon.seen()];
        if let Some(chat) = lived {
            let (chat, recovery) = (chat?, None);
            return Ok(Died { turn, chat, recovery, window: String::new() });
        }
        let window = windows.iter().filter_map(|seen| last_window(seen)).max();
        self.programs.kill_server()?;
        let (chat, recovery) = self.go_on(&turn).await?;
        Ok(Died { turn, chat, recovery: Some(recovery), window: window.unwrap_or_default() })
    }

    /// One turn with SIGTERM while the control plane stands at `place`, where it is let go then.
    pub async fn stop_at(&mut self, place: &Place) -> Result<Stopped> {
        let turn = self.next_turn().await?;
        let Some((hit, client)) = self.hold(place, &turn).await? else {
            let chat = self.player(&turn).await?;
            return Ok(Stopped { turn, chat, drain: None });
        };
        let end = self.programs.server_end()?;
        let asked = Instant::now();
        self.programs.ask_server_to_stop()?;
        hit.release();
        tokio::time::timeout(WEDGED, end).await.with_context(|| self.wedged())??;
        let drain = asked.elapsed();
        drop(client);
        self.programs.kill_server()?;
        let (chat, _) = self.go_on(&turn).await?;
        Ok(Stopped { turn, chat, drain: Some(drain) })
    }

    /// The places that the control plane passes after it was killed at `first`.
    pub async fn recovery_of(&mut self, first: &Place) -> Result<Vec<Place>> {
        let run = self.crash_at(first, Victim::Server, async |_| Ok(())).await?;
        self.judge(&format!("killed at {first}"), &run.turn, &run.chat).await?;
        let place = |(point, nth)| Place { program: Program::Server, point, nth };
        Ok(self.server.seen().into_iter().map(place).collect())
    }

    /// Killed at `first`, and at `second` of what it does after its new start.
    pub async fn crash_twice(&mut self, first: &Place, second: &Place) -> Result<Crashed> {
        let turn = self.next_turn().await?;
        let Some((hit, client)) = self.hold(first, &turn).await? else {
            let chat = self.player(&turn).await?;
            return Ok(Crashed { turn, chat, reached: false });
        };
        self.programs.kill_server()?;
        drop((hit, client));
        self.server.begin(Some((second.point.clone(), second.nth)));
        // Some places of a recovery lie before it is ready, and it is held there.
        let ready = self.programs.start_server_unwatched()?;
        let player = self.player(&turn);
        let logs = self.programs.logs();
        let whole = async move {
            ready.await.with_context(logs)?;
            player.await
        };
        let mut whole = std::pin::pin!(whole);
        let hit = tokio::select! {
            biased;
            hit = self.server.held() => hit,
            chat = &mut whole => {
                self.server.begin(None);
                return Ok(Crashed { turn, chat: chat?, reached: false });
            }
        };
        self.programs.kill_server()?;
        drop(hit);
        let (chat, _) = self.go_on(&turn).await?;
        Ok(Crashed { turn, chat, reached: true })
    }

    /// Begins the turn and holds it at `place`, with the client that waits for its end; none: the turn
    /// ended first.
    async fn hold(
        &mut self,
        place: &Place,
        turn: &Turn,
    ) -> Result<Option<(Hit, JoinSet<Result<String>>)>> {
        self.daemon.begin(None);
        self.server.begin(Some((place.point.clone(), place.nth)));
        let mut client = JoinSet::new();
        client.spawn(self.player(turn));
        tokio::select! {
            biased;
            hit = self.server.held() => Ok(Some((hit, client))),
            _ended = client.join_next() => {
                // Nobody waits for it any more: what comes there later goes on.
                self.server.begin(None);
                Ok(None)
            }
        }
    }

    /// Starts again after an end, and goes on to the end of the turn.
    async fn go_on(&mut self, turn: &Turn) -> Result<(String, Duration)> {
        self.server.begin(None);
        self.daemon.begin(None);
        let start = Instant::now();
        let ready = self.programs.start_server_unwatched()?;
        ready.await.with_context(|| self.programs.not_ready())?;
        let chat = self.player(turn).await?;
        Ok((chat, start.elapsed()))
    }

    /// A client that asks, with a key that makes a repeat harmless, and waits for the end of the turn; the
    /// chat's id.
    fn player(&self, turn: &Turn) -> impl Future<Output = Result<String>> + Send + use<> {
        let (api, workspace_id) = (self.programs.api.clone(), self.programs.workspace_id.clone());
        let (turn, mode) = (turn.clone(), self.mode);
        let logs = self.programs.logs();
        async move {
            let whole = play(&api, &workspace_id, &turn, mode);
            let whole = tokio::time::timeout(WEDGED, whole).await;
            let whole = whole.with_context(|| format!("the turn is wedged\n{}", logs()))?;
            whole.with_context(logs)
        }
    }
}

/// The window of the last fault point that names one: `w4 running` is of `w4`.
fn last_window(seen: &[(String, usize)]) -> Option<String> {
    let mut windows = seen.iter().rev().filter_map(|(point, _)| point.split(' ').next());
    windows.find(|word| word.starts_with('w')).map(str::to_owned)
}
