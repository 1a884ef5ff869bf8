//! Why a socket is closed, as its client is told.

use axum::extract::ws::CloseFrame;
use tungstenite::Error as Broken;
use tungstenite::error::CapacityError;

use super::Verdict;
use crate::http::code::Code;

/// Close code and reason. The table of codes is in the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending(pub u16, pub String);

impl Ending {
    /// With a stable code as its reason.
    #[must_use]
    pub fn of(close: u16, code: Code) -> Self {
        Self(close, code.as_str().to_owned())
    }

    /// The server is ending.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::of(1001, Code::ShuttingDown)
    }

    /// The credential that opened the stream stands like this.
    #[must_use]
    pub fn of_access(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Forbidden => Self::of(4403, Code::MissingScope),
            Verdict::Valid | Verdict::Ended => Self::of(4401, Code::Expired),
        }
    }

    /// The frame that says so.
    #[must_use]
    pub fn frame(self) -> CloseFrame {
        CloseFrame { code: self.0, reason: self.1.into() }
    }
}

/// Which close code belongs to a fault of the other side.
impl From<axum::Error> for Ending {
    fn from(error: axum::Error) -> Self {
        let error = error.into_inner();
        let (code, reason) = match error.downcast_ref::<Broken>() {
            Some(Broken::Utf8(_)) => (1007, "invalid UTF-8"),
            Some(Broken::Capacity(CapacityError::MessageTooLong { .. })) => (1009, "too large"),
            Some(Broken::Capacity(_)) => (1009, "too large"),
            Some(Broken::Protocol(_)) => (1002, "protocol error"),
            _ => (1000, ""),
        };
        Self(code, reason.to_owned())
    }
}
