//! Passwords: hashed with argon2id on a blocking thread, few at once, and throttled by name and by
//! address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use shared::lifecycle::Lifecycle;
use tokio::sync::Semaphore;

use super::code::Code;
use super::json::Hidden;
use super::problem::Problem;

/// Hashes at once: each takes 19 MiB and a core.
const HASHES_MAX: usize = 2;
const PASSWORD_MIN_CHARS: usize = 8;
/// A longer one costs work and adds nothing.
const PASSWORD_MAX_BYTES: usize = 1_024;
/// Failures that cost a name nothing.
const FREE_FAILURES: u32 = 5;
/// Failures that cost an address nothing: behind a proxy it is everybody's.
const FREE_FAILURES_OF_PEER: u32 = 50;
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Names and addresses that are remembered; the oldest give way.
const REMEMBERED_MAX: usize = 10_000;

/// Hashes and checks passwords.
pub struct Passwords {
    lifecycle: Lifecycle,
    at_once: Semaphore,
    failures: Mutex<HashMap<String, Failures>>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Passwords {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new(lifecycle: Lifecycle) -> Self {
        let at_once = Semaphore::new(HASHES_MAX);
        Self { lifecycle, at_once, failures: Mutex::default() }
    }

    /// Hashes a new password.
    ///
    /// # Errors
    ///
    /// `weak_password` for a length that is not accepted.
    pub async fn hash(&self, password: &Hidden) -> Result<String, Problem> {
        let text = password.expose().to_owned();
        if text.chars().count() < PASSWORD_MIN_CHARS || text.len() > PASSWORD_MAX_BYTES {
            let detail = format!(
                "a password has at least {PASSWORD_MIN_CHARS} characters and at most \
                 {PASSWORD_MAX_BYTES} bytes"
            );
            return Err(Problem::of_field(Code::WeakPassword, "/password", detail));
        }
        let _permit = self.at_once.acquire().await.map_err(Problem::internal)?;
        let hashed = self.lifecycle.blocking("password hash", move || {
            Argon2::default().hash_password(text.as_bytes()).map(|hash| hash.to_string())
        });
        hashed.await.map_err(Problem::internal)
    }

    /// Whether `password` is the one of `hash`. Without a hash (there is no such person) the same
    /// work is done, so that the time tells nothing.
    pub async fn is_right(&self, password: &Hidden, hash: Option<String>) -> bool {
        let Ok(_permit) = self.at_once.acquire().await else { return false };
        let text = password.expose().to_owned();
        let work = self.lifecycle.blocking("password check", move || match hash {
            Some(hash) => PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default().verify_password(text.as_bytes(), &hash).is_ok()
            }),
            None => {
                let _ = Argon2::default().hash_password(text.as_bytes());
                false
            }
        });
        work.await
    }

    /// Whether this name and this address may try now.
    ///
    /// # Errors
    ///
    /// `rate_limited` with the pause.
    pub fn may_try(&self, name: &str, peer: IpAddr, now: Instant) -> Result<(), Problem> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let free = [FREE_FAILURES, FREE_FAILURES_OF_PEER];
        let left = keys(name, peer)
            .iter()
            .zip(free)
            .filter_map(|(key, free)| failures.get(key).map(|found| (found, free)))
            .filter_map(|(found, free)| {
                let since = now.saturating_duration_since(found.last);
                pause(found.count, free).checked_sub(since)
            })
            .filter(|left| !left.is_zero())
            .max();
        match left {
            None => Ok(()),
            Some(left) => {
                Err(Problem::new(Code::RateLimited, "too many failed log-ins; wait a little")
                    .retry_after(left))
            }
        }
    }

    /// Notes how a try ended.
    pub fn tried(&self, name: &str, peer: IpAddr, is_right: bool, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, peer) {
            if is_right {
                failures.remove(&key);
                continue;
            }
            let entry = failures.entry(key).or_insert(Failures { count: 0, last: now });
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
        }
        if failures.len() > REMEMBERED_MAX {
            failures.retain(|_, f| now.saturating_duration_since(f.last) < PAUSE_MAX);
        }
        if failures.len() > REMEMBERED_MAX {
            failures.clear();
        }
    }
}

fn keys(name: &str, peer: IpAddr) -> [String; 2] {
    [format!("name {}", name.chars().take(64).collect::<String>()), format!("peer {peer}")]
}

/// Nothing for the `free` first failures, then 1 s, 2 s, 4 s, …
fn pause(failures: u32, free: u32) -> Duration {
    match failures.checked_sub(free) {
        None => Duration::ZERO,
        Some(over) => Duration::from_secs(1_u64 << over.min(16)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::clock::Clock;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_pause_doubles_after_five_failures_and_a_success_forgets_them() {
        let passwords = Passwords::new(Lifecycle::new());
        let mut now = shared::clock::SystemClock.now();
        for _ in 0..5 {
            passwords.may_try("mira", PEER, now).unwrap();
            passwords.tried("mira", PEER, false, now);
        }
        assert_eq!(passwords.may_try("mira", PEER, now).unwrap_err().code(), "rate_limited");
        now += Duration::from_secs(1);
        passwords.may_try("mira", PEER, now).unwrap();
        passwords.tried("mira", PEER, false, now);
        now += Duration::from_secs(1);
        assert!(passwords.may_try("mira", PEER, now).is_err(), "the second pause is longer");
        passwords.tried("mira", PEER, true, now);
        passwords.may_try("mira", PEER, now).unwrap();
    }

    #[test]
    fn memory_of_failures_is_bounded() {
        let passwords = Passwords::new(Lifecycle::new());
        let now = shared::clock::SystemClock.now();
        for n in 0..REMEMBERED_MAX * 2 {
            passwords.tried(&n.to_string(), PEER, false, now);
        }
        assert!(passwords.failures.lock().unwrap().len() <= REMEMBERED_MAX + 1);
    }
}
