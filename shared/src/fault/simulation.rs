//! The other side of the points: whoever owns time, order and faults of one thread.
//!
//! Only in debug builds. Without an installed simulation every call here costs one look at a
//! thread-local value.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use super::{Access, Denial, Disk, Fate};

/// What a task waits for until the simulation lets it go on.
pub type Held<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A turn at the database that was given, and what goes wrong in it.
pub struct Given {
    /// Names it in [`Simulation::commit`] and [`Simulation::over`].
    pub turn: u64,
    /// None: it is done.
    pub denied: Option<Denial>,
}

/// Owns time, order and faults of the thread it is installed in.
pub trait Simulation: Send + Sync + 'static {
    /// A task passes a point; some: it waits here.
    fn pass(&self, name: &'static str) -> Option<Held<()>>;

    /// Whether the rare path is taken.
    fn rarely(&self, name: &'static str) -> bool;

    /// A task wants to use the database.
    fn ask(&self, access: Access) -> Held<Given>;

    /// A turn is about to commit.
    fn commit(&self, turn: u64) -> Held<Fate>;

    /// A turn is over, done or dropped.
    fn over(&self, turn: u64);

    /// Something was done to a file.
    fn disk(&self, path: &Path, what: Disk);
}

thread_local! {
    static INSTALLED: RefCell<Option<Arc<dyn Simulation>>> = const { RefCell::new(None) };
}

/// Removes the simulation from its thread when it is dropped.
pub struct Installed(());

/// Makes `simulation` the owner of this thread.
#[must_use]
pub fn install(simulation: Arc<dyn Simulation>) -> Installed {
    INSTALLED.with_borrow_mut(|installed| *installed = Some(simulation));
    Installed(())
}

impl Drop for Installed {
    fn drop(&mut self) {
        INSTALLED.with_borrow_mut(|installed| *installed = None);
    }
}

/// The owner of this thread.
pub(super) fn installed() -> Option<Arc<dyn Simulation>> {
    // A thread that ends has none.
    INSTALLED.try_with(|installed| installed.borrow().clone()).ok().flatten()
}

pub(super) async fn pass(name: &'static str) {
    let held = installed().and_then(|simulation| simulation.pass(name));
    if let Some(held) = held {
        held.await;
    }
}

pub(super) fn rarely(name: &'static str) -> bool {
    installed().is_some_and(|simulation| simulation.rarely(name))
}

pub(super) fn disk(path: &Path, what: Disk) {
    if let Some(simulation) = installed() {
        simulation.disk(path, what);
    }
}
