//! A turn at the database: from the first statement to the commit, or to the roll-back.
//!
//! A real run gives every turn at once, and a release build knows none.

use super::{Access, Denial, Fate};

/// The right to use the database. Keep it as long as its statement or transaction runs.
#[must_use]
pub struct Turn {
    #[cfg(debug_assertions)]
    given: Option<(std::sync::Arc<dyn super::simulation::Simulation>, super::simulation::Given)>,
}

/// Waits for a turn.
#[cfg(debug_assertions)]
pub async fn turn(access: Access) -> Turn {
    let Some(simulation) = super::simulation::installed() else { return Turn { given: None } };
    let given = simulation.ask(access).await;
    Turn { given: Some((simulation, given)) }
}

/// Waits for a turn.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub async fn turn(_access: Access) -> Turn {
    Turn {}
}

#[cfg(debug_assertions)]
impl Turn {
    /// What goes wrong instead; nothing may be asked of the database then.
    #[must_use]
    pub fn denied(&self) -> Option<Denial> {
        self.given.as_ref().and_then(|(_, given)| given.denied)
    }

    /// How the commit that follows is to end.
    pub async fn commit(&self) -> Fate {
        match &self.given {
            Some((simulation, given)) => simulation.commit(given.turn).await,
            None => Fate::Real,
        }
    }
}

#[cfg(debug_assertions)]
impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((simulation, given)) = &self.given {
            simulation.over(given.turn);
        }
    }
}

#[cfg(not(debug_assertions))]
impl Turn {
    /// What goes wrong instead; nothing may be asked of the database then.
    #[must_use]
    #[inline(always)]
    pub fn denied(&self) -> Option<Denial> {
        None
    }

    /// How the commit that follows is to end.
    #[inline(always)]
    pub async fn commit(&self) -> Fate {
        Fate::Real
    }
}
