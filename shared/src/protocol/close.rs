//! Why a link is closed by one of the programs: the QUIC application close code. The reason text
//! beside it starts with the stable [`ErrorCode`](super::ErrorCode), where there is one.

/// A close code. Values are never reused; an unknown one is treated as [`CloseCode::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// In order; nothing is wrong.
    Done = 0,
    /// The program is ending; reconnect with jitter.
    Stopping = 1,
    /// `daemon_auth_failed`: the certificate is not that of an enrolled workspace.
    AuthFailed = 2,
    /// `version_unsupported`: waiting is all the daemon can do.
    VersionUnsupported = 3,
    /// `invalid_hello`.
    InvalidHello = 4,
    /// `protocol_violation`.
    ProtocolViolation = 5,
    /// A newer link with the same identity took over.
    Displaced = 6,
    /// `busy`: try again later.
    Busy = 7,
}

impl CloseCode {
    const ALL: [Self; 8] = [
        Self::Done,
        Self::Stopping,
        Self::AuthFailed,
        Self::VersionUnsupported,
        Self::InvalidHello,
        Self::ProtocolViolation,
        Self::Displaced,
        Self::Busy,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> u32 {
        self as u32
    }

    /// From the wire.
    #[must_use]
    pub fn from_value(value: u64) -> Self {
        let known = Self::ALL.into_iter().find(|code| u64::from(code.value()) == value);
        known.unwrap_or(Self::Done)
    }
}

/// Code of a stream that its caller gave up.
pub const STREAM_CANCELLED: u32 = 1;
