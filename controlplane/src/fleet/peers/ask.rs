//! What replicas ask each other, on the wire: MessagePack with field names, as everywhere.
//!
//! A field may be added with a default and is ignored by an older replica; an ask that is not known
//! is answered `unsupported`. So replicas of versions N and N-1 work side by side.

use serde::{Deserialize, Serialize};
use shared::ids::{ChatId, OpId, ReplicaId, WorkspaceId};

use crate::chat::hub::EntryCopy;

/// First frame of a stream between replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PeerCall {
    /// Who is meant.
    pub(super) to: ReplicaId,
    /// What is asked.
    pub(super) ask: PeerAsk,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum PeerAsk {
    /// A stream to a daemon: every byte after the reply is the daemon's, or for it.
    Forward {
        /// Whose daemon.
        workspace: WorkspaceId,
        /// Of the link, as the directory has it.
        epoch: u64,
    },
    /// The outcomes of these operations are committed; the daemon's journal may forget them.
    Acknowledge {
        /// Whose daemon.
        workspace: WorkspaceId,
        /// At most 1,000.
        op_ids: Vec<OpId>,
    },
    /// The chat's preview from here on.
    Watch {
        /// Which chat.
        chat: ChatId,
        /// What the asker has.
        from: WatchFrom,
    },
    /// From a newer replica.
    #[serde(other)]
    Unknown,
}

/// A place in a chat's preview.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchFrom {
    /// The episode.
    pub history: i64,
    /// The episode.
    pub attempt: i64,
    /// The last sequence number that is known of it.
    pub seq: u64,
}

/// One step of a preview.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
pub enum WatchItem {
    /// No episode is open here.
    Closed,
    /// This episode is open; what was known of it or of another one is dropped.
    Opened {
        /// The episode.
        history: i64,
        /// The episode.
        attempt: i64,
        /// The sequence number before its first entry.
        floor: u64,
    },
    /// Entries of the open episode, one sequence number each, in order.
    Entries {
        /// At least one.
        entries: Vec<EntryCopy>,
    },
    /// Everything that there was has been said; what follows is live.
    Live,
    /// From a newer replica.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::content::Part;
    use crate::chat::event::PreviewKind;
    use serde_json::json;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    fn again<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        shared::wire::decode(&shared::wire::encode(value)).unwrap()
    }

    #[test]
    fn every_message_survives_the_wire() {
        let ids: &dyn IdSource = &CountingIds::default();
        for ask in [
            PeerAsk::Forward { workspace: ids.id(), epoch: u64::MAX },
            PeerAsk::Acknowledge { workspace: ids.id(), op_ids: vec![ids.id()] },
            PeerAsk::Watch {
                chat: ids.id(),
                from: WatchFrom { history: 1, attempt: 2, seq: 1 << 52 },
            },
        ] {
            let call = PeerCall { to: ids.id(), ask };
            assert_eq!(again(&call), call);
        }
        let part = Part::ToolCall {
            tool_call_id: "c1".into(),
            name: "execute".into(),
            args: json!({"command": "ls", "n": -1.5, "deep": [null, {"a": true}]}),
        };
        let entry = EntryCopy {
            index: 3,
            kind: PreviewKind::ToolCall,
            tool_call_id: Some("c1".into()),
            name: Some("execute".into()),
            delta: Some("{\"ä".into()),
            value: Some(part),
        };
        for item in [
            WatchItem::Closed,
            WatchItem::Opened { history: 4, attempt: 0, floor: 1 << 40 },
            WatchItem::Entries { entries: vec![entry] },
            WatchItem::Live,
        ] {
            assert_eq!(again(&item), item);
        }
    }

    #[test]
    fn what_a_newer_replica_says_is_known_to_be_unknown() {
        #[derive(Serialize)]
        struct Newer {
            ask: &'static str,
            depth: u32,
        }
        let bytes = shared::wire::encode(&Newer { ask: "dance", depth: 3 });
        assert_eq!(shared::wire::decode::<PeerAsk>(&bytes).unwrap(), PeerAsk::Unknown);
    }
}
