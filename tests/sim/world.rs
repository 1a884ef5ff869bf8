//! One seed: control planes, a database, a daemon, a model and people under one director.
//!
//! ```text
//!   storm: anything goes wrong ──► calm: nothing does, 120 virtual seconds ──► everything is compared
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use controlplane::chat::event::ChatStatus;
use controlplane::chat::hints::Hints;
use controlplane::chat::service::ChatService;
use controlplane::chat::{Engine, EngineParts};
use controlplane::store::{DatabaseUrl, Db, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::clock::Clock;
use shared::ids::{ChatId, IdSource, UserId, WorkspaceId};
use shared::lifecycle::Lifecycle;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::watch;

use crate::daemon::Daemon;
use crate::director::Director;
use crate::link::Link;
use crate::model::Model;
use crate::oracle::{self, Oracle};
use crate::people::{People, Said};
use crate::profile::Profile;
use crate::relays::Relays;
use crate::time::{WorldClock, WorldIds};
use crate::viewer::{Door, Doors, Viewer};

/// Time without faults after which everything must have come to rest.
const CALM: Duration = Duration::from_secs(120);

/// What must not be.
pub type Wrong = String;

/// A control plane that runs.
struct Replica {
    chats: ChatService,
    hints: Hints,
    lifecycle: Lifecycle,
}

/// Everything of one seed.
pub struct World {
    profile: Profile,
    director: Director,
    rng: StdRng,
    clock: Arc<WorldClock>,
    ids: Arc<WorldIds>,
    store: Store,
    db: SqliteConnection,
    model: Model,
    link: Link,
    replicas: Vec<Option<Replica>>,
    doors: Doors,
    people: People,
    lifecycle: Lifecycle,
    /// Of the viewers' connections.
    looking: Lifecycle,
    viewers: Vec<Viewer>,
    oracle: Oracle,
    seed: u64,
    started: u64,
    /// Hints of the one control plane in the calm.
    told: BTreeMap<ChatId, watch::Receiver<()>>,
}

/// Who and where, the same in every world.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Place {
    pub user: UserId,
    pub workspace: WorkspaceId,
    /// One with a check after edits.
    pub checked: WorkspaceId,
}

impl World {
    /// Over a copy of the database in `folder`.
    pub async fn new(
        seed: u64,
        (director, profile): (Director, Profile),
        folder: &Path,
        place: Place,
    ) -> Self {
        let (clock, ids) = (Arc::new(WorldClock::new()), Arc::new(WorldIds::default()));
        let file = folder.join("holdfast.db");
        let store = open(&file, &profile, Arc::clone(&clock) as _, Arc::clone(&ids) as _).await;
        let db = options(&file).connect().await.expect("the copy is a database");
        let daemon = Daemon::new(
            seed,
            daemon_folder(folder),
            director.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let workspace = if profile.checks { place.checked } else { place.workspace };
        let link = Link::new(seed, workspace, daemon, director.clone(), &profile);
        let lifecycle = Lifecycle::new();
        let people = People::new(place.user, workspace, director.clone(), lifecycle.clone());
        let replicas = (0..profile.replicas).map(|_| None).collect::<Vec<_>>();
        Self {
            rng: StdRng::seed_from_u64(seed),
            model: Model::new(seed, director.clone(), &profile),
            doors: watch::Sender::new(vec![None; replicas.len()]),
            profile,
            director,
            clock,
            ids,
            store,
            db,
            link,
            replicas,
            people,
            lifecycle,
            looking: Lifecycle::new(),
            viewers: Vec::new(),
            oracle: Oracle::default(),
            seed,
            started: 0,
            told: BTreeMap::new(),
        }
    }

    /// The storm, the calm, and the comparison. The error says what must not be.
    pub async fn run(&mut self) -> Result<(), Wrong> {
        self.start_daemon().await;
        for at in 0..self.replicas.len() {
            self.start(at);
        }
        self.storm().await?;
        self.calm().await?;
        self.compare().await
    }

    /// Ends every task. The world is over.
    pub async fn end(mut self) {
        self.looking.stop_hard();
        self.lifecycle.stop_hard();
        for at in 0..self.replicas.len() {
            self.kill(at);
        }
        self.link.daemon.end();
        drop(self.db);
        self.store.close().await;
    }

    async fn storm(&mut self) -> Result<(), Wrong> {
        for _ in 0..self.profile.steps {
            self.director.idle().await;
            self.check().await?;
            let (drawn, acts) = (self.rng.random_range(0..1_000), self.profile.acts);
            if drawn < acts {
                self.somebody_acts();
            } else if drawn < acts + self.profile.faults {
                self.something_happens().await;
            } else if drawn > 850 || !self.director.let_one_go() {
                self.pass_time().await;
            }
        }
        Ok(())
    }

    async fn calm(&mut self) -> Result<(), Wrong> {
        // What was let go last comes to its end first.
        self.director.idle().await;
        self.director.note(|| "calm".to_owned());
        self.director.stop_faults();
        self.model.heal();
        self.link.heal();
        if !self.link.daemon.is_up() {
            self.start_daemon().await;
        }
        for at in 0..self.replicas.len() {
            if !self.works(at) {
                self.kill(at);
                self.start(at);
            }
        }
        self.oracle.take_shown_changes();
        let until = self.clock.elapsed_ms() + u64::try_from(CALM.as_millis()).unwrap_or(0);
        loop {
            self.director.idle().await;
            self.check().await?;
            self.told_at_once()?;
            if self.director.let_one_go() {
                continue;
            }
            if self.director.is_quiet() && self.all_rest() && self.all_named().await? {
                return Ok(());
            }
            if self.clock.elapsed_ms() > until {
                let busy: Vec<_> = self.oracle.chats().filter(|chat| !chat.rests()).collect();
                return Err(format!("not at rest after 120 s without faults: {busy:?}"));
            }
            self.finish();
            tokio::time::advance(Duration::from_millis(200)).await;
        }
    }

    /// What is committed is told, and not before: without faults nothing stands between the commit
    /// and its hint. Several control planes are told by each other too, so only one is asked.
    fn told_at_once(&mut self) -> Result<(), Wrong> {
        if self.replicas.len() > 1 {
            return Ok(());
        }
        let Some(hints) = self.replicas[0].as_ref().map(|replica| replica.hints.clone()) else {
            return Ok(());
        };
        let changed = self.oracle.take_shown_changes();
        for (chat, told) in &mut self.told {
            let was_told = told.has_changed().unwrap_or(false);
            told.borrow_and_update();
            if changed.contains(chat) && !was_told {
                return Err(format!("{chat} changed and nobody was told after the commit"));
            }
        }
        for chat in self.oracle.chats().map(|chat| chat.id).collect::<Vec<_>>() {
            self.told.entry(chat).or_insert_with(|| hints.chat(chat));
        }
        Ok(())
    }

    /// Whether nothing is left to do. What stopped with an error is to go on.
    fn all_rest(&self) -> bool {
        self.oracle.chats().all(|chat| chat.status == ChatStatus::Waiting && chat.rests())
    }

    /// Whether no name is due or asked for: it would come while everything is compared.
    async fn all_named(&mut self) -> Result<bool, Wrong> {
        Ok(!self.model.is_naming() && oracle::names_due(&mut self.db).await? == 0)
    }

    /// People do what the chats wait for, about once a second.
    fn finish(&mut self) {
        if !self.rng.random_bool(0.2) {
            return;
        }
        let Some(door) = self.door() else { return };
        let chats: Vec<_> = self.oracle.chats().cloned().collect();
        for chat in chats {
            let view = self.viewers.iter().find(|viewer| viewer.chat == chat.id);
            match chat.status {
                ChatStatus::Error if chat.archived => self.people.take_back(&door, chat.id),
                ChatStatus::Error => self.people.go_on(&door, chat.id),
                ChatStatus::RequiresAction => {
                    if let Some(view) = view.map(Viewer::state) {
                        self.people.finish(&door, chat.id, &view, &mut self.rng);
                    }
                }
                _ => {}
            }
        }
    }

    /// The rules, after everything that ran.
    async fn check(&mut self) -> Result<(), Wrong> {
        let (changed, operations) = self.oracle.look(&mut self.db).await?;
        for viewer in &self.viewers {
            for shown in viewer.take_shown() {
                oracle::is_stored(&mut self.db, &shown).await?;
            }
        }
        let early = self.link.compare(operations.intended, &operations.answered);
        let wrong = early.or_else(|| self.link.daemon.broken()).or_else(|| self.model.broken());
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        for chat in changed {
            self.meet(chat);
            self.tell_the_others(chat);
        }
        if let Some(broken) = self.oracle.chats().find(|chat| {
            chat.error.as_ref().is_some_and(|error| error.contains("\"code\":\"internal\""))
        }) {
            return Err(format!("{} broke: {:?}", broken.id, broken.error));
        }
        Ok(())
    }

    /// Somebody looks at a chat that has just come.
    fn meet(&mut self, chat: ChatId) {
        if self.viewers.iter().any(|viewer| viewer.chat == chat) {
            return;
        }
        for _ in 0..self.profile.viewers {
            let number = self.viewers.len() as u64 + 1;
            let viewer = Viewer::new(chat, number, self.director.clone());
            self.viewers.push(viewer.clone());
            let doors = self.doors.subscribe();
            self.looking.spawn_serving("viewer", viewer.look(doors, self.seed));
        }
    }

    /// What several control planes tell each other of a commit: late, twice, or never.
    fn tell_the_others(&mut self, chat: ChatId) {
        if self.replicas.len() < 2 {
            return;
        }
        let lost = self.profile.hint_faults && self.rng.random_bool(0.3);
        if lost {
            self.director.fired("hint between replicas lost");
            return;
        }
        let late = Duration::from_millis(self.rng.random_range(0..500));
        for replica in self.replicas.iter().flatten() {
            let hints = replica.hints.clone();
            replica.lifecycle.spawn_serving("hint", async move {
                tokio::time::sleep(late).await;
                hints.chat_changed(chat);
                hints.chat_asked(chat);
                hints.runnable();
            });
        }
    }

    /// Starts the daemon. It may take its time, while its disk is full for example, and others go on.
    async fn start_daemon(&mut self) {
        let daemon = self.link.daemon.clone();
        let (over, is_over) = watch::channel(false);
        self.lifecycle.spawn_serving("daemon starts", async move {
            daemon.start().await;
            over.send_replace(true);
        });
        self.director.idle().await;
        while !*is_over.borrow() {
            if !self.director.let_one_go() {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            self.director.idle().await;
        }
    }

    async fn pass_time(&mut self) {
        let ms = match self.rng.random_range(0..20_u32) {
            0..10 => self.rng.random_range(1..50),
            10..17 => self.rng.random_range(50..500),
            _ => self.rng.random_range(500..3_000),
        };
        self.director.note(|| format!("{ms} ms"));
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    fn somebody_acts(&mut self) {
        let Some(door) = self.door() else { return };
        let chats = self.people.chats();
        if chats.len() < self.profile.chats && (chats.is_empty() || self.rng.random_bool(0.3)) {
            self.people.begin(&door, self.profile.careful);
            return;
        }
        let chat = chats[self.rng.random_range(0..chats.len())];
        let Some(viewer) = self.viewers.iter().find(|viewer| viewer.chat == chat) else { return };
        self.people.act(&door, chat, &viewer.state(), &mut self.rng);
    }

    async fn something_happens(&mut self) {
        let at = self.rng.random_range(0..self.replicas.len());
        match self.rng.random_range(0..6_u32) {
            0 | 1 if !self.works(at) => {
                self.kill(at);
                self.start(at);
            }
            0 if self.profile.crashes => {
                self.director.fired("control plane dies");
                self.kill(at);
            }
            1 if self.profile.crashes && self.rng.random_bool(0.3) => {
                self.director.fired("control plane stops softly");
                if let Some(replica) = &self.replicas[at] {
                    replica.lifecycle.stop();
                }
            }
            2 | 3 if !self.link.daemon.is_up() => {
                self.start_daemon().await;
                self.link.restore();
            }
            2 if self.profile.daemon_crashes => {
                let power = self.rng.random_bool(0.5);
                self.director.fired(if power { "power fails" } else { "daemon dies" });
                self.link.daemon.die(power);
                self.link.cut();
            }
            3 if self.profile.link_faults => {
                if self.rng.random_bool(0.6) {
                    self.director.fired("link is cut");
                    self.link.cut();
                } else {
                    self.link.restore();
                }
            }
            4 if self.profile.clock_steps => {
                self.director.fired("clock steps");
                let steps = [-3_600_000, -500, 500, 3_600_000];
                self.clock.step(steps[self.rng.random_range(0..steps.len())]);
            }
            _ => self.link.restore(),
        }
    }

    fn door(&mut self) -> Option<ChatService> {
        let up: Vec<&Replica> = self.replicas.iter().flatten().collect();
        (!up.is_empty()).then(|| up[self.rng.random_range(0..up.len())].chats.clone())
    }

    /// Whether it runs and takes work.
    fn works(&self, at: usize) -> bool {
        self.replicas[at].as_ref().is_some_and(|it| !it.lifecycle.soft().is_cancelled())
    }

    fn start(&mut self, at: usize) {
        self.started += 1;
        self.director.note(|| format!("control plane {at} starts"));
        let lifecycle = Lifecycle::new();
        let engine = Engine::new(EngineParts {
            store: self.store.clone(),
            models: Arc::new(self.model.clone()),
            tools: Arc::new(self.link.clone()),
            clock: Arc::clone(&self.clock) as _,
            ids: Arc::clone(&self.ids) as _,
            seed: self.seed ^ self.started,
            lease: controlplane::chat::worker::LEASE,
            lifecycle: lifecycle.clone(),
        });
        let Engine { chats, streams, hints, hub, worker, recording, namer, .. } = engine;
        if self.replicas.len() > 1 {
            let drawn = (at, self.seed ^ self.started);
            let (doors, director) = (self.doors.subscribe(), self.director.clone());
            let relays = Relays::new(drawn, hub.clone(), doors, director, lifecycle.clone());
            streams.relay_through(Arc::new(relays));
        }
        lifecycle.spawn_vital("chat worker", worker.run(lifecycle.soft()));
        lifecycle.spawn_serving("traces", recording.run(lifecycle.hard()));
        lifecycle.spawn_serving("names", namer.run(lifecycle.soft()));
        let door = Door { streams, hub, gone: lifecycle.hard() };
        self.doors.send_modify(|doors| doors[at] = Some(door));
        self.replicas[at] = Some(Replica { chats, hints, lifecycle });
    }

    /// As a crash: nothing is handed over, nothing more is written.
    fn kill(&mut self, at: usize) {
        if let Some(replica) = self.replicas[at].take() {
            self.director.note(|| format!("control plane {at} dies"));
            replica.lifecycle.stop_hard();
            self.doors.send_modify(|doors| doors[at] = None);
        }
    }

    /// Everything equals everything.
    async fn compare(&mut self) -> Result<(), Wrong> {
        self.director.close();
        self.viewers_agree().await?;
        for (chat, text, said) in self.people.said() {
            let times = oracle::times_said(&mut self.db, chat, &text).await?;
            if times > 1 || said == Said::Promised && times == 0 {
                return Err(format!("{text:?} ({said:?}) stands {times} times in {chat}"));
            }
        }
        let ledger = self.link.daemon.ledger();
        for (name, seen) in [
            ("effect", !ledger.is_empty()),
            ("five effects", ledger.len() >= 5),
            ("stale epoch refused", self.link.daemon.stale_refused() > 0),
        ] {
            if seen {
                self.director.fired(name);
            }
        }
        oracle::every_call_is_answered(&mut self.db, &ledger).await
    }

    /// Whoever resumes sees what somebody sees who has just come.
    async fn viewers_agree(&mut self) -> Result<(), Wrong> {
        let streams = self.doors.borrow().iter().flatten().next().map(|door| door.streams.clone());
        let streams = streams.ok_or("no control plane runs")?;
        // Whoever reads slowly has not read everything yet, and nobody reads two streams at once.
        self.looking.stop_hard();
        self.director.idle().await;
        for viewer in self.viewers.clone() {
            let fresh = Viewer::new(viewer.chat, 0, self.director.clone());
            for who in [&viewer, &fresh] {
                let (who, streams) = (who.clone(), streams.clone());
                let (over, mut is_over) = watch::channel(false);
                self.lifecycle.spawn_serving("catching up", async move {
                    who.catch_up(&streams).await;
                    over.send_replace(true);
                });
                while !*is_over.borrow_and_update() {
                    self.director.idle().await;
                    if !self.director.let_one_go() && !*is_over.borrow() {
                        tokio::time::advance(Duration::from_millis(100)).await;
                    }
                }
            }
            let (seen, fresh) = (viewer.state(), fresh.state());
            if seen.history() != fresh.history() {
                return Err(format!("a viewer of {} sees another history", viewer.chat));
            }
            let rest = |state: &controlplane::chat::client::ClientState| {
                (state.status, state.queue.clone(), state.actions.clone(), state.preview.clone())
            };
            if rest(&seen) != rest(&fresh) || seen.error != fresh.error || seen.head != fresh.head {
                return Err(format!("a viewer sees {seen:?} and should see {fresh:?}"));
            }
        }
        Ok(())
    }
}

/// The state directory of the daemon of a world.
pub fn daemon_folder(folder: &Path) -> PathBuf {
    folder.join("daemon")
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

/// One control plane opens the file as the product does, and has it alone; several share it.
async fn open(
    file: &Path,
    profile: &Profile,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
) -> Store {
    if profile.replicas == 1 {
        let url = DatabaseUrl::Sqlite(file.to_owned());
        return Store::open(&url, clock, ids).await.expect("the copy is a database");
    }
    let pool = |connections, read_only| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options(file).read_only(read_only))
    };
    Store::new(Db::Sqlite { write: pool(1, false), read: pool(4, true), lock: None }, clock, ids)
}
