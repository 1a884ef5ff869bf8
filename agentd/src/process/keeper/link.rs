//! The keeper's end of its socket: frames in and out, never waited for by blocking.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::io::Errno;
use shared::ids::OpId;
use shared::limits::{PTY_INPUT_MAX_BYTES, PTY_VIEWER_MAX_BYTES, STDIN_WRITE_MAX_BYTES};
use shared::protocol::pty::PtySize;
use shared::wire::{Frame, FrameDecoder, FrameKind};

use super::protocol::{Asked, Said, UNSEEN_MAX};

/// Answers that a daemon may leave unread before it is taken for gone, in bytes.
const OUT_MAX_BYTES: usize = 64 * 1024;

/// One daemon that is attached.
pub(super) struct Link {
    socket: OwnedFd,
    decoder: FrameDecoder,
    out: BytesMut,
    /// What is to be sent finds no room.
    is_full: bool,
    unseen: u32,
    /// An input whose bytes are coming.
    receiving: Option<Receiving>,
}

struct Receiving {
    ask: u64,
    what: Bytes,
    len: u64,
    data: Vec<u8>,
}

/// What the bytes that come are.
enum Bytes {
    Input { op: OpId, close: bool },
    Typing { viewer: String, seq: u64 },
}

/// What a daemon asks, whole.
pub(super) enum Request {
    Seen { squeeze: bool },
    Input { ask: u64, op: OpId, data: Vec<u8>, close: bool },
    Type { ask: u64, viewer: String, seq: u64, data: Vec<u8> },
    Resize { ask: u64, size: PtySize },
    Signal { ask: u64, op: Option<OpId>, number: i32 },
    Stop { ask: u64, grace: Duration },
    Release,
}

/// The daemon is gone, or does not keep to the protocol, which is the same.
pub(super) struct Gone;

impl Link {
    /// Takes over a connected socket.
    pub(super) fn new(socket: OwnedFd) -> Self {
        // Whoever blocks on a daemon is no supervisor; a socket can always be set so.
        let _ = rustix::io::ioctl_fionbio(&socket, true);
        let decoder = FrameDecoder::new();
        let out = BytesMut::new();
        Self { socket, decoder, out, is_full: false, unseen: 0, receiving: None }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) const fn waits_for_room(&self) -> bool {
        self.is_full
    }

    /// Whether the daemon has seen enough of what was told to be told more.
    pub(super) const fn takes_status(&self) -> bool {
        self.unseen < UNSEEN_MAX
    }

    /// Sends what can be sent now.
    pub(super) fn say(&mut self, said: &Said) -> Result<(), Gone> {
        if matches!(said, Said::Status(_)) {
            self.unseen += 1;
        }
        self.add(said);
        self.flush()
    }

    /// To be sent with what is said next.
    pub(super) fn add(&mut self, said: &Said) {
        // No message of a keeper is near the limit of a frame.
        let _ = Frame::message(said).write_to(&mut self.out);
    }

    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        self.is_full = false;
        while !self.out.is_empty() {
            match rustix::net::send(&self.socket, &self.out, rustix::net::SendFlags::NOSIGNAL) {
                Ok(sent) => self.out.advance(sent),
                Err(Errno::AGAIN) if self.out.len() <= OUT_MAX_BYTES => {
                    self.is_full = true;
                    break;
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Everything that has come. What a daemon said last counts, also when it has gone since: the end
    /// is told by the next call.
    pub(super) fn requests(&mut self) -> Result<Vec<Request>, Gone> {
        let mut bytes = [0; 4096];
        let mut requests = Vec::new();
        loop {
            match rustix::io::read(&self.socket, &mut bytes) {
                Ok(0) | Err(_) if !requests.is_empty() => return Ok(requests),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(requests),
                Ok(0) | Err(_) => return Err(Gone),
                Ok(read) => {
                    self.decoder.push(&bytes[..read]);
                    while let Some(frame) = self.decoder.next_frame().map_err(|_| Gone)? {
                        requests.extend(self.take(&frame)?);
                    }
                    // That was all there is; what comes now is seen by the next look.
                    if read < bytes.len() {
                        return Ok(requests);
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<Option<Request>, Gone> {
        if frame.kind == FrameKind::Raw {
            let receiving = self.receiving.as_mut().ok_or(Gone)?;
            receiving.data.extend_from_slice(&frame.body);
            return Ok(self.received());
        }
        // A message of a later version is passed over.
        let Ok(asked) = shared::wire::decode::<Asked>(&frame.body) else { return Ok(None) };
        Ok(match asked {
            Asked::Seen { squeeze } => {
                self.unseen = self.unseen.saturating_sub(1);
                Some(Request::Seen { squeeze })
            }
            Asked::Input { len, .. } if len > STDIN_WRITE_MAX_BYTES as u64 => return Err(Gone),
            Asked::Input { ask, op, len, close } => {
                self.receive(ask, Bytes::Input { op, close }, len)
            }
            Asked::Type { viewer, len, .. }
                if len > PTY_INPUT_MAX_BYTES as u64 || viewer.len() > PTY_VIEWER_MAX_BYTES + 1 =>
            {
                return Err(Gone);
            }
            Asked::Type { ask, viewer, seq, len } => {
                self.receive(ask, Bytes::Typing { viewer, seq }, len)
            }
            Asked::Resize { ask, size } => Some(Request::Resize { ask, size }),
            Asked::Signal { ask, op, number } => Some(Request::Signal { ask, op, number }),
            Asked::Stop { ask, grace_ms } => {
                Some(Request::Stop { ask, grace: Duration::from_millis(grace_ms) })
            }
            Asked::Release => Some(Request::Release),
        })
    }

    fn receive(&mut self, ask: u64, what: Bytes, len: u64) -> Option<Request> {
        self.receiving = Some(Receiving { ask, what, len, data: Vec::new() });
        self.received()
    }

    fn received(&mut self) -> Option<Request> {
        let whole = self.receiving.take_if(|input| input.data.len() as u64 >= input.len)?;
        let Receiving { ask, what, data, .. } = whole;
        Some(match what {
            Bytes::Input { op, close } => Request::Input { ask, op, data, close },
            Bytes::Typing { viewer, seq } => Request::Type { ask, viewer, seq, data },
        })
    }
}
