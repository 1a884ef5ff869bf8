//! People who do everything that people may do, at any moment, and remember what they were promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controlplane::chat::changing::{QueueChange, Rewording};
use controlplane::chat::client::ClientState;
use controlplane::chat::content::{Part, Role};
use controlplane::chat::deciding::{Choice, PlanChanges, Ruling};
use controlplane::chat::event::{ActionKind, ActionView};
use controlplane::chat::machine::Busy;
use controlplane::chat::service::{BeginChat, ChatService, Say};
use controlplane::store::chats::{ChatPatch, RuleScope};
use rand::RngExt;
use rand::rngs::StdRng;
use shared::ids::{ChatId, MessageId, QueueId, UserId, WorkspaceId};
use shared::lifecycle::Lifecycle;

use crate::director::Director;

/// What became of something that a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The answer never came: it may be there.
    Unsure,
    /// It was promised: it is there, once.
    Promised,
}

#[derive(Default)]
struct Memory {
    next: u64,
    chats: Vec<ChatId>,
    /// Everything that was said, by its text, which is said once.
    said: BTreeMap<String, (ChatId, Said)>,
    /// Texts that somebody took back or wrote anew; they may be gone.
    withdrawn: BTreeSet<String>,
}

/// Everybody. All clones are one.
#[derive(Clone)]
pub struct People {
    user: UserId,
    workspace: WorkspaceId,
    director: Director,
    lifecycle: Lifecycle,
    memory: Arc<Mutex<Memory>>,
}

impl People {
    /// Who have done nothing.
    pub fn new(
        user: UserId,
        workspace: WorkspaceId,
        director: Director,
        lifecycle: Lifecycle,
    ) -> Self {
        Self { user, workspace, director, lifecycle, memory: Arc::default() }
    }

    /// The chats that are known to be there.
    pub fn chats(&self) -> Vec<ChatId> {
        self.lock().chats.clone()
    }

    /// What was said and must be there, or may be: chat, text, and which of the two.
    pub fn said(&self) -> Vec<(ChatId, String, Said)> {
        let memory = self.lock();
        let kept = memory.said.iter().filter(|(text, _)| !memory.withdrawn.contains(*text));
        kept.map(|(text, (chat, said))| (*chat, text.clone(), *said)).collect()
    }

    /// Begins a chat.
    pub fn begin(&self, door: &ChatService, careful: bool) {
        let (text, content) = self.words();
        let mode = if careful { "ask" } else { "auto" };
        let begin = BeginChat {
            owner: self.user,
            workspace_id: Some(self.workspace),
            model_id: None,
            mode: mode.into(),
            title: None,
            content,
            effort: None,
            client_tools: Vec::new(),
            budget: None,
            key: None,
        };
        let (door, people) = (door.clone(), self.clone());
        self.does("begins a chat", async move {
            let created = door.create(begin).await;
            if let Ok((chat, _)) = &created {
                let mut memory = people.lock();
                memory.chats.push(chat.id);
                memory.said.insert(text, (chat.id, Said::Promised));
            }
            created.map(drop)
        });
    }

    /// Does anything to a chat, as somebody who sees `view`.
    pub fn act(&self, door: &ChatService, chat: ChatId, view: &ClientState, rng: &mut StdRng) {
        if !view.actions.is_empty() && rng.random_bool(0.5) {
            return self.finish(door, chat, view, rng);
        }
        let (user, door) = (self.user, door.clone());
        match rng.random_range(0..24_u32) {
            0..6 => self.say(door, chat, rng),
            6..9 => self.does("stops", async move { door.interrupt(user, chat).await.map(drop) }),
            9 => {
                let wish = String::new();
                self.does(
                    "compacts",
                    async move { door.compact(user, chat, wish).await.map(drop) },
                );
            }
            10 | 11 => {
                if let Some(message) = some_said(view, rng) {
                    self.edit(door, chat, message);
                }
            }
            12 => {
                if let Some((message, _)) = some_said(view, rng) {
                    self.does("shows a branch", async move {
                        door.show_branch(user, chat, message).await.map(drop)
                    });
                }
            }
            13 => {
                if let Some((message, _)) = some_said(view, rng) {
                    self.does("copies", async move {
                        door.copy(user, chat, Some(message), None).await.map(drop)
                    });
                }
            }
            14 | 15 => self
                .does("continues", async move { door.continue_turn(user, chat).await.map(drop) }),
            16 => {
                let archived = rng.random_bool(0.4);
                self.does("archives", async move { door.set_archived(user, chat, archived).await });
            }
            17..20 => self.queue(door, chat, view, rng),
            20 => {
                let mode = if rng.random_bool(0.5) { "auto" } else { "ask" };
                let patch = ChatPatch { mode: Some(mode.to_owned()), ..ChatPatch::default() };
                self.does("patches", async move { door.patch(user, chat, patch).await.map(drop) });
            }
            _ => {
                if let Some(action) = pick(&view.actions, rng) {
                    self.decide(&door, chat, action, rng);
                }
            }
        }
    }

    /// Does whatever is needed for the chat to come to rest.
    pub fn finish(&self, door: &ChatService, chat: ChatId, view: &ClientState, rng: &mut StdRng) {
        if let Some(action) = view.actions.first() {
            self.decide(door, chat, action, rng);
        }
    }

    /// Lets a chat go on that an error stopped.
    pub fn go_on(&self, door: &ChatService, chat: ChatId) {
        let (user, door) = (self.user, door.clone());
        self.does("continues", async move { door.continue_turn(user, chat).await.map(drop) });
    }

    /// Takes a chat back out of the archive.
    pub fn take_back(&self, door: &ChatService, chat: ChatId) {
        let (user, door) = (self.user, door.clone());
        self.does("takes back", async move { door.set_archived(user, chat, false).await });
    }

    fn say(&self, door: ChatService, chat: ChatId, rng: &mut StdRng) {
        let (text, content) = self.words();
        let busy = [Busy::Queue, Busy::Steer, Busy::Interrupt][rng.random_range(0..3)];
        let say = Say { content, model_id: None, effort: None, busy, key: None };
        self.lock().said.insert(text.clone(), (chat, Said::Unsure));
        let people = self.clone();
        self.does("says", async move {
            let sent = door.send(people.user, chat, say).await;
            if sent.is_ok() {
                people.lock().said.insert(text, (chat, Said::Promised));
            }
            sent.map(drop)
        });
    }

    fn edit(&self, door: ChatService, chat: ChatId, (message, _): (MessageId, String)) {
        let (text, content) = self.words();
        let rewording = Rewording { content, model_id: None, effort: None };
        self.lock().said.insert(text.clone(), (chat, Said::Unsure));
        let people = self.clone();
        self.does("edits", async move {
            let edited = door.edit_message(people.user, chat, message, rewording).await;
            if edited.is_ok() {
                people.lock().said.insert(text, (chat, Said::Promised));
            }
            edited.map(drop)
        });
    }

    /// Something with a queued message.
    fn queue(&self, door: ChatService, chat: ChatId, view: &ClientState, rng: &mut StdRng) {
        let Some(item) = pick(&view.queue, rng) else { return };
        let (id, user): (QueueId, UserId) = (item.id, self.user);
        match rng.random_range(0..4_u32) {
            0 => {
                self.does("promotes", async move {
                    door.promote_queued(user, chat, id).await.map(drop)
                });
            }
            1 => {
                self.withdraw(&item.content);
                self.does("takes a message back", async move {
                    door.delete_queued(user, chat, id).await.map(drop)
                });
            }
            2 => {
                self.withdraw(&item.content);
                let (text, content) = self.words();
                let rewording = Some(Rewording { content, model_id: None, effort: None });
                let change = QueueChange { rewording, position: None };
                self.lock().said.insert(text, (chat, Said::Unsure));
                self.does("rewrites", async move {
                    door.change_queued(user, chat, id, change).await.map(drop)
                });
            }
            _ => {
                let change = QueueChange { rewording: None, position: Some(0) };
                self.does("moves", async move {
                    door.change_queued(user, chat, id, change).await.map(drop)
                });
            }
        }
    }

    fn decide(&self, door: &ChatService, chat: ChatId, action: &ActionView, rng: &mut StdRng) {
        let ruling = Ruling {
            user: self.user,
            chat,
            op_id: action.id,
            args_hash: Some(action.args_hash.clone()),
            note: None,
            request_id: None,
        };
        let door = door.clone();
        if action.kind == ActionKind::Question {
            self.does("answers", async move { door.answer(ruling, None).await.map(drop) });
            return;
        }
        let choice = match rng.random_range(0..4_u32) {
            0 => Choice::Deny,
            1 if action.kind == ActionKind::Approval => {
                Choice::Always { scope: RuleScope::Chat, pattern: None }
            }
            _ => Choice::Allow,
        };
        self.does("decides", async move {
            door.rule_on(ruling, choice, PlanChanges::default()).await.map(drop)
        });
    }

    fn withdraw(&self, content: &[Part]) {
        for part in content {
            if let Part::Text { text } = part {
                self.lock().withdrawn.insert(text.clone());
            }
        }
    }

    /// A text that was never said before.
    fn words(&self) -> (String, Vec<Part>) {
        let mut memory = self.lock();
        memory.next += 1;
        let text = format!("said {:04}", memory.next);
        (text.clone(), vec![Part::Text { text }])
    }

    fn does<E: std::fmt::Display + Send>(
        &self,
        what: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let director = self.director.clone();
        director.note(|| format!("somebody {what}"));
        self.lifecycle.spawn_serving("person", async move {
            let ended = task.await;
            director.note(|| match ended {
                Ok(()) => format!("somebody {what}: done"),
                Err(error) => format!("somebody {what}: {error}"),
            });
        });
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pick<'a, T>(from: &'a [T], rng: &mut StdRng) -> Option<&'a T> {
    (!from.is_empty()).then(|| &from[rng.random_range(0..from.len())])
}

/// A message of a person that the viewer sees.
fn some_said(view: &ClientState, rng: &mut StdRng) -> Option<(MessageId, String)> {
    let said: Vec<_> =
        view.history().into_iter().filter(|message| message.role == Role::User).collect();
    pick(&said, rng).map(|message| (message.id, String::new()))
}
