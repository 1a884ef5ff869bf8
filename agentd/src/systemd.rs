//! What the service manager is told: ready, alive, where the daemon stands, stopping.
//!
//! ```text
//! STATUS=starting ──► READY=1 once the link is up, or the first try has failed: calls are served then
//!                     STATUS=connected to … │ no link: …      whenever that changes
//!                     WATCHDOG=1                              while the executor turns
//!                 ──► STOPPING=1                              processes go on
//! ```
//!
//! The watchdog is fed by a task of the one executor that does everything else, so that a daemon
//! that hangs is seen. Without a service manager nothing is told and no task is started.

use std::time::Duration;

use sd_notify::NotifyState;
use shared::lifecycle::Lifecycle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::link::{LinkHandle, LinkState, LinkStatus};
use crate::process::ProcessHandle;

/// The first try to connect decides when the daemon is ready; it may take no longer than this.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// How often the status line is renewed when the watchdog asks for nothing.
const BEAT: Duration = Duration::from_secs(30);
/// Longest status line, in bytes: it is shown in one line of a terminal.
const STATUS_MAX_BYTES: usize = 240;

/// Tells what the daemon does before it is ready.
pub fn starting() {
    notify(&[NotifyState::Status("starting: taking over what an earlier daemon left")]);
}

/// Tells why the program ends, so that `systemctl status` says it.
pub fn failed(text: &str) {
    notify(&[NotifyState::Status(&one_line(text))]);
}

/// Tells how the daemon stands until it stops.
pub fn follow(lifecycle: &Lifecycle, link: &LinkHandle, processes: ProcessHandle) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let follower = Follower { link: link.clone(), processes, is_ready: false };
    lifecycle.spawn_serving("systemd", follower.run(lifecycle.clone()));
}

struct Follower {
    link: LinkHandle,
    processes: ProcessHandle,
    is_ready: bool,
}

impl Follower {
    async fn run(mut self, lifecycle: Lifecycle) {
        let soft = lifecycle.soft();
        let watchdog = sd_notify::watchdog_enabled();
        let mut beat = tokio::time::interval(watchdog.map_or(BEAT, |limit| limit / 3));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut link = self.link.changed();
        let ready_limit = Instant::now() + READY_WITHIN;
        loop {
            let is_late = Instant::now() >= ready_limit;
            let status = link.borrow_and_update().clone();
            self.tell(&status, is_late);
            tokio::select! {
                () = soft.cancelled() => break,
                changed = link.changed() => if changed.is_err() { break },
                _ = beat.tick() => notify(&[NotifyState::Watchdog]),
                () = tokio::time::sleep_until(ready_limit), if !self.is_ready => {}
            }
        }
        let running = self.processes.running();
        let text = format!("stopping; {} on", count(running, "goes", "go"));
        notify(&[NotifyState::Stopping, NotifyState::Status(&text)]);
    }

    fn tell(&mut self, status: &LinkStatus, is_late: bool) {
        let text = status_line(status, self.processes.running());
        let is_decided = matches!(status.state, LinkState::Connected | LinkState::Waiting);
        if !self.is_ready && (is_decided || is_late) {
            self.is_ready = true;
            notify(&[NotifyState::Ready, NotifyState::Status(&text)]);
        } else {
            notify(&[NotifyState::Status(&text)]);
        }
    }
}

fn status_line(status: &LinkStatus, running: usize) -> String {
    let server = &status.server;
    let link = match (status.state, &status.fault) {
        (LinkState::Connected, _) => {
            format!("connected to {server} as {}", status.workspace_name)
        }
        (LinkState::Stopped, _) => "stopping".to_owned(),
        (_, Some(fault)) => format!("no link to {server}: {}", fault.text),
        (_, None) => format!("connecting to {server}"),
    };
    one_line(&format!("{}; {link}", count(running, "runs", "run")))
}

fn count(processes: usize, one: &str, many: &str) -> String {
    match processes {
        1 => format!("1 process {one}"),
        n => format!("{n} processes {many}"),
    }
}

/// A status line may carry no line break: what follows one would be read as another assignment.
fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean[..clean.floor_char_boundary(STATUS_MAX_BYTES)].to_owned()
}

fn notify(states: &[NotifyState<'_>]) {
    // Whoever does not listen is not waited for: a lost line is replaced by the next one.
    let _ = sd_notify::notify(states);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::FaultView;

    fn status(state: LinkState) -> LinkStatus {
        LinkStatus {
            state,
            since_ms: 0,
            server: "box:7443".to_owned(),
            workspace_id: "ws_00000000000000000000000001".parse().unwrap(),
            workspace_name: "big\nbox".to_owned(),
            certificate_ends_ms: 0,
            rtt_ms: None,
            clock_skew_ms: None,
            fault: None,
            failures: 0,
            next_try_ms: None,
        }
    }

    #[test]
    fn the_status_is_one_line_that_says_where_the_link_stands() {
        let line = status_line(&status(LinkState::Connected), 3);
        assert_eq!(line, "3 processes run; connected to box:7443 as big box");
        let fault = FaultView { name: "refused".to_owned(), text: "nobody listens".to_owned() };
        let waiting = LinkStatus { fault: Some(fault), ..status(LinkState::Waiting) };
        assert_eq!(status_line(&waiting, 1), "1 process runs; no link to box:7443: nobody listens");
        assert!(one_line(&"ä\n".repeat(1_000)).len() <= STATUS_MAX_BYTES);
    }
}
