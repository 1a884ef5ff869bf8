//! Races of viewers that others paid for, at every place where they can happen.

use std::future::Future;
use std::pin::Pin;

use super::*;

/// What an answer is made of, in the order of the product.
const STEPS: usize = 7;

fn take_step(world: &mut World, step: usize) {
    match step {
        0 => drop(world.say(Role::User, "hi")),
        1 => world.commit(|state, _, _| {
            state.head.status = ChatStatus::Running;
            state.attempt += 1;
        }),
        2 => world.open(),
        3 => world.delta(0, "fir"),
        4 => world.delta(0, "st"),
        5 => drop(world.say(Role::Assistant, "first")),
        _ => {
            world.writer = None;
            world.commit(|state, _, _| state.head.status = ChatStatus::Waiting);
        }
    }
}

/// What was said and is not stored after so many steps.
fn said(steps: usize) -> &'static str {
    match steps {
        4 => "fir",
        5 => "first",
        _ => "",
    }
}

type Next = Pin<Box<dyn Future<Output = (Subscription, Result<Vec<Envelope>, StreamEnd>)>>>;

/// A viewer whose reads are polled once at a time.
struct Watcher {
    client: ClientState,
    next: Next,
    /// What had been said when it came.
    known: &'static str,
}

impl Watcher {
    fn come(world: &World, known: &'static str) -> Self {
        let stream = world.subscribe(&ClientState::default());
        Self { client: ClientState::default(), next: read_on(stream), known }
    }

    /// One poll; whether something came.
    async fn look(&mut self) -> bool {
        let Poll::Ready((stream, batch)) = poll!(&mut self.next) else { return false };
        for envelope in batch.unwrap() {
            self.client.apply(&envelope);
            if matches!(envelope.event, ChatEvent::Ready) {
                self.is_told_what_was_said();
            }
        }
        self.next = read_on(stream);
        true
    }

    /// Never running and empty: what had been said before it came is there with the snapshot.
    fn is_told_what_was_said(&self) {
        let shown: String = self.client.preview.values().map(|part| part.text.as_str()).collect();
        let stored = self.client.history().iter().any(|it| it.role == Role::Assistant);
        assert!(stored || shown.starts_with(self.known), "{shown:?} instead of {:?}", self.known);
    }

    async fn look_at_everything(&mut self) {
        let mut quiet = 0;
        while quiet < 4 {
            quiet = if self.look().await { 0 } else { quiet + 1 };
        }
    }
}

fn read_on(mut stream: Subscription) -> Next {
    Box::pin(async move {
        let batch = stream.next().await;
        (stream, batch)
    })
}

/// Comes after `came` steps, looks between the others where `looks` has a bit, and reads everything
/// after `until`.
async fn watched(came: usize, looks: usize, until: usize) {
    let mut world = World::new();
    (0..came).for_each(|step| take_step(&mut world, step));
    let mut watcher = Watcher::come(&world, said(came));
    for step in came..until {
        // A read takes two polls, so a step may lie in the middle of one.
        if looks >> (step - came) & 1 == 1 {
            watcher.look().await;
        }
        take_step(&mut world, step);
    }
    watcher.look_at_everything().await;
    let client = &watcher.client;
    let shown: String = client.preview.values().map(|part| part.text.as_str()).collect();
    let place = format!("came after {came}, looked at {looks:b}, read after {until}");
    assert!(client.ready, "{place}");
    assert_eq!(shown, said(until), "{place}");
    let answers = client.history().iter().filter(|it| it.role == Role::Assistant).count();
    assert_eq!(answers, usize::from(until > 5), "{place}");
    let running = (2..STEPS).contains(&until);
    assert_eq!(client.status == Some(ChatStatus::Running), running, "{place}");
}

/// Class: `running` was announced before buffering was on (first parts lost).
#[tokio::test(start_paused = true)]
async fn a_viewer_at_every_interleaving_is_never_shown_running_and_empty() {
    let mut tried = 0;
    for came in 0..=STEPS {
        for until in came..=STEPS {
            for looks in 0..1_usize << (until - came) {
                watched(came, looks, until).await;
                tried += 1;
            }
        }
    }
    println!("{tried} interleavings of a viewer and an answer");
    assert_eq!(tried, 502, "every place to come, to look and to read");
}

/// Class: a buffer kept committed parts, and replayed them behind the message.
#[tokio::test(start_paused = true)]
async fn after_each_commit_the_buffer_holds_only_what_is_not_committed() {
    let mut world = World::new();
    let mut stored = Vec::new();
    for nth in 0..20 {
        world.begin_attempt();
        let text = format!("answer {nth}");
        for piece in text.split_inclusive(' ') {
            world.delta(0, piece);
        }
        world.say(Role::Assistant, &text);
        stored.push(text);
        // The writer is still there, as in the moment between the commit and its drop.
        for old in [true, false] {
            let mut fresh = ClientState::default();
            let mut stream = world.subscribe(&fresh);
            names(&mut stream, &mut fresh).await;
            assert!(fresh.ready && fresh.preview.is_empty(), "{nth}, {old}: {:?}", fresh.preview);
            assert_eq!(fresh.history().len(), stored.len());
            world.writer = None;
        }
        // What another step says is there again, and alone.
        world.begin_attempt();
        world.delta(0, "next");
        let mut fresh = ClientState::default();
        names(&mut world.subscribe(&fresh), &mut fresh).await;
        let shown: Vec<&str> = fresh.preview.values().map(|part| part.text.as_str()).collect();
        assert_eq!(shown, ["next"]);
        world.writer = None;
    }
}

/// Everything that one viewer is told, in order.
async fn told(stream: &mut Subscription) -> Vec<Envelope> {
    let mut told = Vec::new();
    let quiet = Instant::now() + Duration::from_secs(60);
    while let Ok(batch) = tokio::time::timeout_at(quiet, stream.next()).await {
        told.extend(batch.unwrap());
    }
    told
}

fn apply(client: &mut ClientState, told: &[Envelope]) {
    told.iter().for_each(|envelope| client.apply(envelope));
}

/// The steps of the world; what a client does is left out.
fn play(world: &mut World, told: &mut Said, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Read(_) | Step::AbandonedRead | Step::Disconnect => {}
            Step::DuringRead(step) => take(world, told, *step),
            step => take(world, told, step),
        }
    }
}

async fn twice(before: Vec<Step>, after: Vec<Step>) {
    let (mut world, mut said) = (World::new(), Said::new());
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    play(&mut world, &mut said, before);
    let mut first = told(&mut stream).await;
    apply(&mut client, &first);
    let cursor = client.cursor;
    play(&mut world, &mut said, after);
    // Snapshot and events, once and once more from the beginning.
    first.extend(told(&mut stream).await);
    let mut once = ClientState::default();
    apply(&mut once, &first);
    compare(&world, &said, &once);
    let mut again = once.clone();
    apply(&mut again, &first);
    assert_eq!(again, once, "the same events change nothing");
    // The same place is offered twice, and both answers are applied.
    for _ in 0..2 {
        let mut stream = world.streams.subscribe(world.chat, cursor.map(Ok));
        client.ready = false;
        apply(&mut client, &told(&mut stream).await);
        compare(&world, &said, &client);
    }
}

proptest! {
    /// Class: a snapshot was replayed twice, and text was doubled.
    #[test]
    fn what_is_told_twice_or_resumed_twice_shows_nothing_twice(
        before in proptest::collection::vec(step(), 0..30),
        after in proptest::collection::vec(step(), 0..30),
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(twice(before, after));
    }
}
