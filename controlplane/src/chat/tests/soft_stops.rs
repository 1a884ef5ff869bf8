//! The program is asked to stop at every place around the end of an answer: wherever the engine, or
//! somebody who watches, passes a point or uses the database.

use std::sync::{Mutex, PoisonError};

use serde_json::json;
use shared::fault::simulation::{Given, Held, Simulation, install};
use shared::fault::{Access, Disk, Fate};
use tokio::sync::watch;

use super::doubles::Act;
use super::*;

/// Places over all turns that must be reached.
const PLACES_MIN: usize = 100;

/// Counts the places from the model's answer on, and stops the program at one of them.
#[derive(Clone, Default)]
struct Places {
    count: Arc<Mutex<Count>>,
    stopped: watch::Sender<bool>,
}

#[derive(Default)]
struct Count {
    passed: usize,
    /// The place, counted from 1, and what is stopped there; none: nothing is counted.
    stop: Option<(usize, Lifecycle)>,
}

impl Places {
    fn begin(&self, nth: usize, lifecycle: Lifecycle) {
        self.stopped.send_replace(false);
        *self.count.lock().unwrap() = Count { passed: 0, stop: Some((nth, lifecycle)) };
    }

    /// How many were passed.
    fn end(&self) -> usize {
        std::mem::take(&mut *self.count.lock().unwrap()).passed
    }

    fn passes(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((nth, lifecycle)) = count.stop.clone() else { return };
        count.passed += 1;
        if count.passed == nth {
            lifecycle.stop();
            self.stopped.send_replace(true);
        }
    }
}

impl Simulation for Places {
    fn pass(&self, _: &'static str) -> Option<Held<()>> {
        self.passes();
        None
    }

    fn rarely(&self, _: &'static str) -> bool {
        false
    }

    fn ask(&self, _: Access) -> Held<Given> {
        self.passes();
        Box::pin(std::future::ready(Given { turn: 0, denied: None }))
    }

    fn commit(&self, _: u64) -> Held<Fate> {
        self.passes();
        Box::pin(std::future::ready(Fate::Real))
    }

    fn over(&self, _: u64) {
        self.passes();
    }

    fn disk(&self, _: &std::path::Path, _: Disk) {}
}

/// One round: the turn, stopped at the place if it comes there, and what the next start makes of it.
/// How many places there were.
async fn stopped_at(world: &mut World, places: &Places, nth: usize, expected: &[&str]) -> usize {
    let before = world.tools.ledger().len();
    places.begin(nth, world.engine.lifecycle.clone());
    let chat = world.begin("go").await;
    let mut stopped = places.stopped.subscribe();
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => {}
        _ = world.until_rest(chat) => {}
    }
    world.engine.lifecycle.clone().shut_down(PATIENCE).await;
    let passed = places.end();
    let row = world.row(chat).await;
    assert!(row.last_error.is_none(), "place {nth}: {row:?}");
    assert_ne!(row.status, ChatStatus::Error, "place {nth}");
    let live = world.store.replicas.live().await.unwrap();
    assert!(live.is_empty(), "place {nth}: the lease is released, so anybody may take what it had");
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, expected, "stopped at place {nth}");
    let ran = world.tools.ledger().len() - before;
    assert_eq!(ran, expected.iter().filter(|line| line.starts_with("tool")).count());
    passed
}

/// Every place of one kind of turn; how many.
async fn every_place(
    answers: impl Fn(bool) -> Vec<Act> + Send + 'static,
    expected: &[&str],
) -> usize {
    let mut world = World::new().await;
    let places = Places::default();
    let _installed = install(Arc::new(places.clone()));
    let model = Arc::clone(&world.model);
    world.model.improvise(move |_| {
        let answered = model.last_prompt().messages.last().map(|it| it.role) == Some(Role::Tool);
        answers(answered)
    });
    let (mut nth, mut reached) = (1, 0);
    // Until the turn was over before the place was reached.
    loop {
        let passed = stopped_at(&mut world, &places, nth, expected).await;
        if passed < nth {
            return reached;
        }
        (nth, reached) = (nth + 1, reached + 1);
    }
}

/// Class: completion races with shutdown; the chat is left failed, running or answered twice.
#[tokio::test]
async fn a_soft_stop_at_each_of_a_hundred_places_around_the_end_of_an_answer_loses_nothing() {
    let text = every_place(
        |_| vec![Act::Text("whole"), Act::Text("answer")],
        &["user: go", "assistant: whole answer"],
    );
    let call = every_place(
        |answered| match answered {
            true => vec![Act::Text("it ran")],
            false => vec![Act::Text("I run"), Act::call("a", "act", json!({"what": "a"}))],
        },
        &["user: go", "assistant: I run +a", r#"tool: a={"did":"a"}"#, "assistant: it ran"],
    );
    let calls = every_place(
        |answered| match answered {
            true => vec![Act::Text("both ran")],
            false => vec![
                Act::call("a", "act", json!({"what": "a"})),
                Act::call("b", "look", json!({"what": "b"})),
            ],
        },
        &[
            "user: go",
            "assistant: +a +b",
            r#"tool: a={"did":"a"} b={"did":"b"}"#,
            "assistant: both ran",
        ],
    );
    let places = [text.await, call.await, calls.await];
    println!("soft stops: {places:?} places of turns with a text, with a call, with two");
    assert!(places.iter().sum::<usize>() >= PLACES_MIN, "only {places:?}");
}
