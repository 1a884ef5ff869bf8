//! The bytes of a daemon's stream between the replica that asks and the one that holds the link.
//!
//! Each direction is copied as it comes and keeps its end: an orderly one stays orderly, a broken
//! one breaks the other side, so that half an answer is never taken for a whole one. When the asker
//! wants no more, the daemon is told so.

use std::io;

use quinn::{RecvStream, SendStream};
use shared::protocol::close::STREAM_CANCELLED;
use shared::wire::{ReadHalf, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes copied at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The way to the asker. Dropped before its end it is broken: the library would end it in order.
struct ToAsker {
    send: SendStream,
    ended: bool,
}

impl Drop for ToAsker {
    fn drop(&mut self) {
        if !self.ended {
            // A closed stream needs no breaking.
            let _ = self.send.reset(STREAM_CANCELLED.into());
        }
    }
}

/// Copies until both directions have ended. Dropped in the middle it breaks both.
pub(super) async fn pipe(
    (to_asker, from_asker): (SendStream, RecvStream),
    (to_daemon, mut from_daemon): (WriteHalf, ReadHalf),
) {
    let mut to_asker = ToAsker { send: to_asker, ended: false };
    let gone = to_asker.send.stopped();
    let questions = send_questions(from_asker, to_daemon);
    let answers = async {
        let copied = tokio::select! {
            copied = copy(&mut from_daemon, &mut to_asker.send) => copied,
            _stopped = gone => Err(io::ErrorKind::ConnectionReset.into()),
        };
        // Dropped at its end or not: unread, the daemon learns that nobody listens.
        drop(from_daemon);
        to_asker.ended = copied.is_ok() && to_asker.send.finish().is_ok();
    };
    tokio::pin!(questions, answers);
    let mut asking = true;
    loop {
        tokio::select! {
            () = &mut answers => return, // who has the answer asks no more
            () = &mut questions, if asking => asking = false,
        }
    }
}

/// To the daemon: a person's input to a terminal may go on long after the answer has begun.
async fn send_questions(mut from: RecvStream, mut to: WriteHalf) {
    if copy(&mut from, &mut to).await.is_ok() {
        let _ = to.shutdown().await;
    }
}

async fn copy(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let len = from.read(&mut chunk).await?;
        if len == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..len]).await?;
    }
}
