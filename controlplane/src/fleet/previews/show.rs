//! The side on which a chat is driven: says its preview, entry by entry, to one other replica.

use quinn::{RecvStream, SendStream};
use shared::ids::ChatId;
use tokio::io::AsyncReadExt;

use crate::chat::hub::{EpisodeKey, Hub};
use crate::fleet::peers::{WatchFrom, WatchItem};

/// Text in one item, about.
const BATCH_BYTES: usize = 256 * 1024;
/// Largest item, encoded. A single part may be large; one that is larger is told without its value.
const ITEM_MAX_BYTES: u32 = 16 * 1024 * 1024;

/// Says the chat's preview until the other side has gone.
pub(in crate::fleet) async fn show_preview(
    hub: &Hub,
    chat: ChatId,
    from: WatchFrom,
    mut send: SendStream,
) {
    let gone = send.stopped();
    tokio::select! {
        () = say_all(hub, chat, from, &mut send) => {}
        _stopped = gone => {}
    }
}

async fn say_all(hub: &Hub, chat: ChatId, from: WatchFrom, send: &mut SendStream) {
    let source = hub.source(chat);
    let mut news = source.news();
    let mut has = EpisodeKey { history: from.history, attempt: from.attempt };
    let (mut seq, mut is_open, mut is_live) = (from.seq, true, false);
    loop {
        news.borrow_and_update();
        let Some(copy) = source.since(has, seq, BATCH_BYTES) else {
            if is_open && !say(send, &WatchItem::Closed).await {
                return;
            }
            (has, seq, is_open) = (EpisodeKey::default(), 0, false);
            if !(is_live || say(send, &WatchItem::Live).await) {
                return;
            }
            is_live = true;
            if news.changed().await.is_err() {
                return;
            }
            continue;
        };
        is_open = true;
        if copy.reset {
            let EpisodeKey { history, attempt } = copy.key;
            let opened = WatchItem::Opened { history, attempt, floor: copy.floor };
            if !say(send, &opened).await {
                return;
            }
        }
        (has, seq) = (copy.key, copy.seq);
        if !copy.entries.is_empty() {
            if !say(send, &WatchItem::Entries { entries: copy.entries }).await {
                return;
            }
            continue; // there may be more
        }
        if !(is_live || say(send, &WatchItem::Live).await) {
            return;
        }
        is_live = true;
        if news.changed().await.is_err() {
            return;
        }
    }
}

async fn say(send: &mut SendStream, item: &WatchItem) -> bool {
    let mut bytes = shared::wire::encode(item);
    if let WatchItem::Entries { entries } = item
        && bytes.len() > ITEM_MAX_BYTES as usize
    {
        let mut entries = entries.clone();
        entries.iter_mut().for_each(|entry| entry.value = None);
        bytes = shared::wire::encode(&WatchItem::Entries { entries });
    }
    let Ok(len) = u32::try_from(bytes.len()) else { return false };
    let mut out = Vec::with_capacity(4 + bytes.len());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&bytes);
    send.write_all(&out).await.is_ok()
}

/// The next item; none: the stream ended, broke, or is no such stream. Not cancel safe.
pub(super) async fn hear(receive: &mut RecvStream) -> Option<WatchItem> {
    let mut len = [0; 4];
    receive.read_exact(&mut len).await.ok()?;
    let len = u32::from_be_bytes(len);
    if len > ITEM_MAX_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    // Grows with what comes, not with what is claimed.
    receive.take(u64::from(len)).read_to_end(&mut bytes).await.ok()?;
    shared::wire::decode(&bytes).ok()
}
