//! Who watches one terminal and who writes. Pure.
//!
//! ```text
//!                    attach (if free, or its own)         take
//!        nobody ───────────────────────────────► a viewer ─────► another viewer
//!          ▲                                        │  │ ▲
//!          └── release, or detached in order ───────┘  │ └── attach under the same name
//!                                             lost ▼   │
//!                                        away: the role waits for it, until somebody takes it
//! ```
//!
//! A viewer is a name; an *attachment* is one stream of it. A new attachment under a name takes the
//! place of the one before, with its role: the old one may be a connection that died unnoticed.

use std::collections::BTreeMap;

use shared::limits::PTY_VIEWERS_MAX;
use shared::protocol::pty::WriteWish;

/// One stream of one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AttachmentId(u64);

/// What happens to a terminal's viewers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A viewer attaches.
    Attach {
        /// Its name.
        viewer: String,
        /// Whether it wants to write.
        wish: WriteWish,
    },
    /// It detached in order: it wants no more.
    Detached(AttachmentId),
    /// Its stream is gone; it may come back.
    Lost(AttachmentId),
    /// It takes over.
    Take(AttachmentId),
    /// It gives the role up.
    Release(AttachmentId),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is attached.
    Attached(AttachmentId),
    /// There is no room for it.
    TooMany,
    /// Another attachment has its name now.
    Replaced(AttachmentId),
    /// Who writes has changed.
    WriterChanged,
    /// Nothing: late or repeated.
    Stale,
}

/// The viewers of one terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roster {
    viewers: BTreeMap<String, AttachmentId>,
    writer: Option<String>,
    next: u64,
}

impl Roster {
    /// A terminal that an earlier daemon served: `writer` typed last.
    pub(super) fn adopted(writer: Option<String>) -> Self {
        Self { writer, ..Self::default() }
    }

    /// Who writes, whether or not it is attached.
    pub(super) fn writer(&self) -> Option<&str> {
        self.writer.as_deref()
    }

    /// Whether the one who writes is attached.
    pub(super) fn has_writer(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| self.viewers.contains_key(writer))
    }

    /// Whether this attachment writes.
    pub(super) fn is_writer(&self, id: AttachmentId) -> bool {
        self.writer.as_ref().and_then(|writer| self.viewers.get(writer)) == Some(&id)
    }

    /// Whether this attachment is still the one of its viewer.
    pub(super) fn is_attached(&self, id: AttachmentId) -> bool {
        self.viewers.values().any(|attached| *attached == id)
    }

    /// How many are attached.
    pub(super) fn len(&self) -> usize {
        self.viewers.len()
    }

    /// Moves on by one event.
    pub(super) fn apply(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Attach { viewer, wish } => self.attach(viewer, wish),
            Event::Detached(id) => match self.leave(id) {
                Some(viewer) => self.give_up(&viewer),
                None => vec![Effect::Stale],
            },
            Event::Lost(id) => match self.leave(id) {
                Some(_) => vec![],
                None => vec![Effect::Stale],
            },
            Event::Take(id) => match self.name_of(id) {
                Some(viewer) => self.write(viewer),
                None => vec![Effect::Stale],
            },
            Event::Release(id) => match self.name_of(id) {
                Some(viewer) => self.give_up(&viewer),
                None => vec![Effect::Stale],
            },
        }
    }

    fn attach(&mut self, viewer: String, wish: WriteWish) -> Vec<Effect> {
        if !self.viewers.contains_key(&viewer) && self.viewers.len() >= PTY_VIEWERS_MAX {
            return vec![Effect::TooMany];
        }
        self.next += 1;
        let id = AttachmentId(self.next);
        let mut effects = vec![Effect::Attached(id)];
        let before = self.viewers.insert(viewer.clone(), id);
        effects.extend(before.map(Effect::Replaced));
        let writes = match wish {
            WriteWish::Never => false,
            WriteWish::IfFree => self.writer.is_none(),
            WriteWish::Take => true,
        };
        if writes {
            effects.extend(self.write(viewer).into_iter().filter(|e| *e != Effect::Stale));
        } else if wish == WriteWish::Never && self.writer.as_ref() == Some(&viewer) {
            effects.extend(self.give_up(&viewer));
        }
        effects
    }

    fn write(&mut self, viewer: String) -> Vec<Effect> {
        if self.writer.as_ref() == Some(&viewer) {
            return vec![Effect::Stale];
        }
        self.writer = Some(viewer);
        vec![Effect::WriterChanged]
    }

    fn give_up(&mut self, viewer: &str) -> Vec<Effect> {
        if self.writer.as_deref() != Some(viewer) {
            return vec![];
        }
        self.writer = None;
        vec![Effect::WriterChanged]
    }

    fn leave(&mut self, id: AttachmentId) -> Option<String> {
        let viewer = self.name_of(id)?;
        self.viewers.remove(&viewer);
        Some(viewer)
    }

    fn name_of(&self, id: AttachmentId) -> Option<String> {
        self.viewers.iter().find(|(_, attached)| **attached == id).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attach(roster: &mut Roster, viewer: &str, wish: WriteWish) -> AttachmentId {
        match roster.apply(Event::Attach { viewer: viewer.to_owned(), wish })[0] {
            Effect::Attached(id) => id,
            ref other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_role_is_given_taken_and_kept_as_drawn() {
        let mut roster = Roster::default();
        let a = attach(&mut roster, "a", WriteWish::IfFree);
        let b = attach(&mut roster, "b", WriteWish::IfFree);
        assert!(roster.is_writer(a) && !roster.is_writer(b));
        assert_eq!(roster.apply(Event::Take(b)), [Effect::WriterChanged]);
        assert!(!roster.is_writer(a) && roster.is_writer(b));
        assert_eq!(roster.apply(Event::Lost(b)), []);
        assert_eq!((roster.writer(), roster.has_writer()), (Some("b"), false), "it waits");
        let c = attach(&mut roster, "c", WriteWish::IfFree);
        assert!(!roster.is_writer(c));
        let b2 = attach(&mut roster, "b", WriteWish::IfFree);
        assert!(roster.is_writer(b2), "and is its again");
        let again = roster.apply(Event::Attach { viewer: "b".into(), wish: WriteWish::IfFree });
        assert_eq!(again[1..], [Effect::Replaced(b2)]);
        assert!(!roster.is_attached(b2));
        assert_eq!(roster.apply(Event::Take(b2)), [Effect::Stale], "what was replaced is over");
        let Effect::Attached(b3) = again[0] else { panic!() };
        assert_eq!(roster.apply(Event::Detached(b3)), [Effect::WriterChanged]);
        assert_eq!(roster.writer(), None);
        assert_eq!(roster.apply(Event::Take(c)), [Effect::WriterChanged]);
        assert_eq!(roster.apply(Event::Release(c)), [Effect::WriterChanged]);
        assert!(!roster.is_writer(c) && roster.is_attached(c));
    }

    #[test]
    fn one_viewer_more_than_the_limit_is_refused_and_a_known_one_is_not() {
        let mut roster = Roster::default();
        for n in 0..PTY_VIEWERS_MAX {
            attach(&mut roster, &format!("v{n}"), WriteWish::Never);
        }
        let more = Event::Attach { viewer: "more".into(), wish: WriteWish::Take };
        assert_eq!(roster.apply(more), [Effect::TooMany]);
        attach(&mut roster, "v3", WriteWish::Take);
        assert_eq!(roster.len(), PTY_VIEWERS_MAX);
    }

    proptest! {
        #[test]
        fn at_most_one_attachment_writes_whatever_happens(
            steps in proptest::collection::vec((0_u8..5, 0_u8..4, 1_u64..30, 0_u8..3), 0..80),
        ) {
            let mut roster = Roster::default();
            for (what, viewer, id, wish) in steps {
                let id = AttachmentId(id);
                let wish = [WriteWish::Never, WriteWish::IfFree, WriteWish::Take][usize::from(wish)];
                let before = roster.clone();
                let effects = roster.apply(match what {
                    0 => Event::Attach { viewer: format!("v{viewer}"), wish },
                    1 => Event::Detached(id),
                    2 => Event::Lost(id),
                    3 => Event::Take(id),
                    _ => Event::Release(id),
                });
                let writers =
                    (1..=100).filter(|id| roster.is_writer(AttachmentId(*id))).count();
                prop_assert!(writers <= 1);
                prop_assert_eq!(
                    effects.contains(&Effect::WriterChanged),
                    before.writer() != roster.writer()
                );
                if effects == [Effect::Stale] {
                    prop_assert_eq!(&roster, &before);
                }
            }
        }
    }
}
