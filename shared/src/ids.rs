//! Ids: one type per kind of thing, each a prefixed ULID such as `chat_01J9ZQ4Y3M8T6V5W2X1R0P7N6K`.
//!
//! The prefix makes a log line readable and a swapped argument a compile error. The text form is
//! the only form: in JSON, in SQL, on the wire and in URLs. Parsing is strict (exact prefix,
//! 26 upper-case Crockford characters), so a bad id is refused before any query.
//!
//! Ids are made by an [`IdSource`], which is handed in, so that tests can repeat a run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// Why a text is not an id of the asked kind. Never echoes the text: it may be a megabyte long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id: the form is {prefix}_ followed by 26 characters of Crockford base 32")]
pub struct InvalidId {
    /// The kind of id that was expected, for people.
    pub kind: &'static str,
    /// The prefix that was expected, without the underscore.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Ulid);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a ULID that an [`IdSource`] made.
            #[must_use]
            pub const fn from_ulid(ulid: Ulid) -> Self {
                Self(ulid)
            }

            /// What it wraps: for one thing that has an id of two kinds.
            #[must_use]
            pub const fn ulid(&self) -> Ulid {
                self.0
            }

            /// Unix milliseconds at which the id was made.
            #[must_use]
            pub fn made_at_ms(&self) -> u64 {
                self.0.timestamp_ms()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text, $prefix).map(Self).ok_or(InvalidId { kind: $kind, prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl FromUlid for $name {
            fn from_ulid(ulid: Ulid) -> Self {
                Self(ulid)
            }
        }
    )*

        /// Every prefix in use, for the test that no two kinds share one.
        pub const PREFIXES: &[&str] = &[$($prefix),*];
    };
}

ids! {
    /// A long-lived conversation.
    ChatId = "chat", "chat";
    /// One message of a chat's history.
    MessageId = "msg", "message";
    /// One message waiting in a chat's queue.
    QueueId = "q", "queued message";
    /// A place where code lives and commands run.
    WorkspaceId = "ws", "workspace";
    /// One run of `agentd`: new at every start of the daemon.
    InstanceId = "inst", "daemon instance";
    /// One child process that the daemon started. Never the operating system's pid.
    ProcessId = "proc", "process";
    /// One terminal that the daemon opened.
    PtyId = "pty", "terminal";
    /// One thing asked of a daemon that may change something; the key of its journal.
    OpId = "op", "operation";
    /// One call over the wire that changes nothing; only for logs.
    CallId = "call", "call";
    /// A person who can log in.
    UserId = "user", "user";
    /// One log-in of a person.
    SessionId = "sess", "session";
    /// An API key; not its secret.
    ApiKeyId = "key", "API key";
    /// A join token; not its secret.
    JoinTokenId = "jt", "join token";
    /// A configured model provider.
    ProviderId = "prov", "provider";
    /// A configured model of a provider.
    ModelId = "model", "model";
    /// One running control plane.
    ReplicaId = "rep", "replica";
    /// One acquisition of a chat by a replica; new at every take-over.
    RunnerId = "run", "runner";
    /// One HTTP request, in answers and in the log.
    RequestId = "req", "request";
    /// A file that somebody attached to a chat.
    AttachmentId = "att", "attachment";
    /// The bytes of attachments; never told to clients.
    BlobId = "blob", "blob";
}

/// Made from a ULID; lets the `id` of an [`IdSource`] return any kind.
pub trait FromUlid {
    /// Wraps `ulid`.
    fn from_ulid(ulid: Ulid) -> Self;
}

/// Makes ids. Handed in wherever ids are made; seeded in tests.
pub trait IdSource: Send + Sync {
    /// A ULID that is larger than every one this source made before.
    fn ulid(&self) -> Ulid;
}

impl dyn IdSource + '_ {
    /// A new id of the kind the caller's type asks for.
    pub fn id<T: FromUlid>(&self) -> T {
        T::from_ulid(self.ulid())
    }
}

/// The system's clock and generator; ids of one source ascend even within a millisecond.
pub struct SystemIds {
    generator: std::sync::Mutex<ulid::Generator>,
}

impl SystemIds {
    /// A fresh source.
    #[must_use]
    pub fn new() -> Self {
        Self { generator: std::sync::Mutex::new(ulid::Generator::new()) }
    }
}

fn parse(text: &str, prefix: &str) -> Option<Ulid> {
    let body = text.strip_prefix(prefix)?.strip_prefix('_')?;
    let strict = body.len() == ulid::ULID_LEN
        && body.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    if !strict {
        return None;
    }
    // The first character holds only three bits; `8…` would overflow 128 bits.
    let ulid = Ulid::from_string(body).ok()?;
    (ulid.to_string() == body).then_some(ulid)
}

impl Default for SystemIds {
    fn default() -> Self {
        Self::new()
    }
}

impl IdSource for SystemIds {
    fn ulid(&self) -> Ulid {
        let mut generator =
            self.generator.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match generator.generate() {
            Ok(ulid) => ulid,
            // 2^80 ids within one millisecond: unreachable, and still ascending if reached.
            Err(overflow) => overflow.commit_overflow_increment(),
        }
    }
}
