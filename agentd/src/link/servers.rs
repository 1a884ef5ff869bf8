//! Which server of the deployment to dial next.
//!
//! ```text
//! connected to X ──lost──► the others, in a drawn order, then all again and again, X among them
//! ```
//!
//! A deployment may have several servers; each tells of all. What was told last is kept in the state
//! directory, so that a daemon that starts while its own server is gone finds another. The address of
//! the join token always stays in: it may be that of a balancer, and the list may be old.

use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;

use super::dial::Target;
use crate::identity::{IdentityError, load_servers, save_servers};

/// Most servers that are remembered.
pub(super) const SERVERS_MAX: usize = 64;
/// Longest address, in bytes: a name, a colon and a port.
const ADDRESS_MAX_BYTES: usize = 260;

/// The servers, and which were tried since the last link.
pub(super) struct Servers {
    identity: PathBuf,
    first: Target,
    told: Vec<String>,
    tried: Vec<(String, u16)>,
}

impl Servers {
    /// The server of the join token and those that were told of when the daemon last ran.
    pub(super) fn load(identity: &Path, first: Target) -> Self {
        let told = load_servers(identity).unwrap_or_else(|error| {
            // It is only a shortcut: the next link tells it again.
            tracing::warn!("the list of servers is not used: {error}");
            Vec::new()
        });
        Self { identity: identity.to_owned(), first, told: checked(told), tried: Vec::new() }
    }

    /// Whether there is another one than that of the join token.
    pub(super) fn are_several(&self) -> bool {
        self.all().len() > 1
    }

    /// The next one to dial: one that was not tried since the last link, drawn.
    pub(super) fn next(&mut self, rng: &mut StdRng) -> Target {
        let fresh = |servers: &Self| -> Vec<Target> {
            let is_fresh = |target: &Target| !servers.tried.contains(&place(target));
            servers.all().into_iter().filter(is_fresh).collect()
        };
        let mut candidates = fresh(self);
        if candidates.is_empty() {
            // Round again; it does not begin with the one that failed just now.
            let last = self.tried.pop();
            self.tried.clear();
            candidates = fresh(self);
            candidates.retain(|target| Some(place(target)) != last);
        }
        if candidates.is_empty() {
            candidates = self.all();
        }
        let drawn = rng.random_range(0..candidates.len());
        let target = candidates.swap_remove(drawn);
        self.tried.push(place(&target));
        target
    }

    /// A link to `target` came up: when it is lost, the others are tried first.
    pub(super) fn connected(&mut self, target: &Target) {
        self.tried = vec![place(target)];
    }

    /// Takes over what a server says, durably. One that knows of no other says nothing, and what was
    /// told before stays: the others may come back.
    pub(super) fn learn(&mut self, told: Vec<String>) -> Result<(), IdentityError> {
        let told = checked(told);
        if told.is_empty() || told == self.told {
            return Ok(());
        }
        self.told = told;
        save_servers(&self.identity, &self.told)
    }

    fn all(&self) -> Vec<Target> {
        let mut all = vec![self.first.clone()];
        for address in &self.told {
            let Some((host, quic_port)) = split(address) else { continue };
            let target = Target { host, quic_port, http_port: self.first.http_port };
            if !all.iter().any(|known| place(known) == place(&target)) {
                all.push(target);
            }
        }
        all
    }
}

fn place(target: &Target) -> (String, u16) {
    (target.host.clone(), target.quic_port)
}

/// Host and port; an IPv6 address stands in brackets.
fn split(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    (!host.is_empty() && host.chars().all(plain)).then(|| (host.to_owned(), port))
}

/// What a server says is bounded, and what is no address is left out.
fn checked(mut told: Vec<String>) -> Vec<String> {
    told.retain(|address| address.len() <= ADDRESS_MAX_BYTES && split(address).is_some());
    told.truncate(SERVERS_MAX);
    told
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    use super::*;

    fn first() -> Target {
        Target { host: "one".to_owned(), quic_port: 1, http_port: 80 }
    }

    fn of(told: &[&str]) -> (tempfile::TempDir, Servers, StdRng) {
        let folder = tempfile::tempdir().unwrap();
        let mut servers = Servers::load(folder.path(), first());
        servers.learn(told.iter().map(|&address| address.to_owned()).collect()).unwrap();
        (folder, servers, StdRng::seed_from_u64(7))
    }

    #[test]
    fn every_server_is_tried_once_before_one_is_tried_twice() {
        let (_folder, mut servers, mut rng) = of(&["two:2", "[::3]:3", "one:1"]);
        for _ in 0..20 {
            let round: BTreeSet<_> = (0..3).map(|_| place(&servers.next(&mut rng))).collect();
            assert_eq!(round.len(), 3);
        }
    }

    #[test]
    fn who_was_lost_is_tried_last() {
        let (_folder, mut servers, mut rng) = of(&["two:2", "three:3"]);
        for _ in 0..20 {
            let up = servers.next(&mut rng);
            servers.connected(&up);
            let others = [servers.next(&mut rng), servers.next(&mut rng)];
            assert!(others.iter().all(|other| place(other) != place(&up)));
        }
    }

    #[test]
    fn the_list_outlives_the_daemon_and_the_only_server_is_tried_for_ever() {
        let (folder, servers, mut rng) = of(&["two:2"]);
        assert!(servers.are_several());
        drop(servers);
        let mut again = Servers::load(folder.path(), first());
        assert!(again.are_several());
        again.learn(vec![]).unwrap();
        assert!(again.are_several(), "nothing said is nothing changed");
        let alone = tempfile::tempdir().unwrap();
        let mut alone = Servers::load(alone.path(), first());
        for _ in 0..3 {
            assert_eq!(place(&alone.next(&mut rng)), place(&first()));
        }
    }

    #[test]
    fn nonsense_is_left_out() {
        let long = format!("{}:1", "x".repeat(300));
        let told = ["", "two", "two:", "two:0", "two:70000", "a b:1", ":1", &long, "good:9"];
        let (_folder, servers, _) = of(&told);
        assert_eq!(
            servers.all().iter().map(place).collect::<Vec<_>>(),
            [("one".to_owned(), 1), ("good".to_owned(), 9)]
        );
        let many: Vec<String> = (1..=1_000).map(|port| format!("h:{port}")).collect();
        assert_eq!(checked(many).len(), SERVERS_MAX);
    }
}
