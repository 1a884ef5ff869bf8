//! What may go wrong in a seed. Each has its own choice, so that every fault also meets the others'
//! absence.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The faults and the habits of one seed.
#[derive(Clone, Debug)]
pub struct Profile {
    seed: u64,
    /// Control planes on the one database.
    pub replicas: usize,
    /// Steps of the driver before the faults stop.
    pub steps: u32,
    /// Of a thousand steps, how many are a person's act, and how many a fault.
    pub acts: u32,
    /// See `acts`.
    pub faults: u32,
    /// Chats, about.
    pub chats: usize,
    /// Whether people want to be asked before anything is done.
    pub careful: bool,
    /// Viewers of each chat.
    pub viewers: usize,
    /// Tokens of the model's window; none: unknown.
    pub window: Option<u64>,
    /// Whether control planes die.
    pub crashes: bool,
    /// Whether the daemon dies, and whether its machine's power fails with it.
    pub daemon_crashes: bool,
    /// Whether the link is cut, loses, delays and repeats.
    pub link_faults: bool,
    /// Whether the model's answers break off, are refused and stall.
    pub model_faults: bool,
    /// Whether wall time jumps. Only with one control plane: several compare leases by one clock.
    pub clock_steps: bool,
    /// Whether hints between control planes are lost, late and repeated.
    pub hint_faults: bool,
    /// Whether a model names chats and turns.
    pub names: bool,
    /// Whether another model stands in for one that cannot answer.
    pub fallback: bool,
    /// Whether the workspace has a check that is run after edits.
    pub checks: bool,
}

impl Profile {
    /// Of this seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x0FF_1CE);
        let replicas = if rng.random_bool(0.4) { 2 } else { 1 };
        Self {
            seed,
            replicas,
            steps: rng.random_range(200..700),
            acts: rng.random_range(20..120),
            faults: rng.random_range(5..60),
            chats: rng.random_range(1..=3),
            careful: rng.random_bool(0.4),
            viewers: rng.random_range(1..=2),
            window: rng.random_bool(0.6).then_some(1_500),
            crashes: rng.random_bool(0.7),
            daemon_crashes: rng.random_bool(0.6),
            link_faults: rng.random_bool(0.6),
            model_faults: rng.random_bool(0.6),
            clock_steps: replicas == 1 && rng.random_bool(0.4),
            hint_faults: rng.random_bool(0.5),
            names: rng.random_bool(0.4),
            fallback: rng.random_bool(0.8),
            checks: rng.random_bool(0.6),
        }
    }

    /// Whether the point of this name is at work in the seed: in three of five.
    pub fn has(&self, point: &str) -> bool {
        let mut hash = DefaultHasher::new();
        (self.seed, point).hash(&mut hash);
        hash.finish() % 5 < 3
    }
}
