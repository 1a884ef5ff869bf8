//! How many streams a person may have open: each costs memory here and a socket there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use shared::ids::UserId;

use crate::http::code::Code;
use crate::http::problem::Problem;

/// Streams of one person: a few dozen tabs on a few devices.
const STREAMS_MAX: u32 = 256;

/// Counts open streams. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct StreamSeats {
    taken: Arc<Mutex<HashMap<UserId, u32>>>,
}

/// One open stream; dropping it frees the seat.
pub struct Seat {
    seats: StreamSeats,
    user: UserId,
}

impl StreamSeats {
    /// Takes a seat.
    ///
    /// # Errors
    ///
    /// `too_many_subscriptions` with the limit.
    pub fn take(&self, user: UserId) -> Result<Seat, Problem> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(user).or_default();
        if *count >= STREAMS_MAX {
            let detail = format!("{STREAMS_MAX} streams are open; close one first");
            return Err(Problem::new(Code::TooManyStreams, detail).with("limit", STREAMS_MAX));
        }
        *count += 1;
        Ok(Seat { seats: self.clone(), user })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    #[test]
    fn b31_the_streams_of_a_person_are_limited_and_freed() {
        let ids: &dyn IdSource = &CountingIds::default();
        let (seats, mira, noah) = (StreamSeats::default(), ids.id(), ids.id());
        let taken: Vec<Seat> = (0..STREAMS_MAX).map(|_| seats.take(mira).unwrap()).collect();
        assert_eq!(seats.take(mira).map(|_| ()).unwrap_err().code(), "too_many_subscriptions");
        seats.take(noah).unwrap();
        drop(taken);
        seats.take(mira).unwrap();
        assert!(seats.taken.lock().unwrap().is_empty());
    }
}
