//! Join tokens: what a person carries from the control plane to a new machine.
//!
//! ```text
//! hfj_ + base64url( version u8 │ QUIC port u16 big-endian │ CA pin 32 bytes │ secret 16 bytes )
//! ```
//!
//! The pin is the SHA-256 of the deployment's CA certificate, so the machine that joins trusts
//! exactly one server before it has sent anything. The secret is kept as a hash by the server.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What every token starts with.
pub const JOIN_TOKEN_PREFIX: &str = "hfj_";
const VERSION: u8 = 1;
const BYTES: usize = 1 + 2 + 32 + 16;

/// A join token, in parts. No `Debug`: it holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// UDP port of the QUIC listener; the host comes from the URL.
    pub port: u16,
    /// SHA-256 of the CA certificate's DER.
    pub ca_pin: [u8; 32],
    /// Proves that the holder may join; used once.
    pub secret: [u8; 16],
}

/// Why a text is not a join token. Never echoes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJoinToken {
    /// Something else, or a part of one.
    #[error("not a join token: it starts with hfj_ and has 72 characters; copy it whole")]
    Malformed,
    /// Made by a newer control plane.
    #[error("the join token has version {0}, this agentd knows version 1; upgrade agentd")]
    NewerVersion(u8),
}

impl JoinToken {
    /// The secret as it goes into `enroll`.
    #[must_use]
    pub fn secret_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.secret)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.port.to_be_bytes());
        bytes.extend_from_slice(&self.ca_pin);
        bytes.extend_from_slice(&self.secret);
        write!(f, "{JOIN_TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = InvalidJoinToken;

    /// Parses; white space around and line breaks inside (a wrapped terminal) are forgiven.
    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        let malformed = InvalidJoinToken::Malformed;
        if text.len() > 1_024 {
            return Err(malformed);
        }
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let body = text.strip_prefix(JOIN_TOKEN_PREFIX).ok_or(malformed)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| malformed)?;
        let (&version, rest) = bytes.split_first().ok_or(malformed)?;
        if version != VERSION {
            return Err(InvalidJoinToken::NewerVersion(version));
        }
        let rest: &[u8; BYTES - 1] = rest.try_into().map_err(|_| malformed)?;
        let (port, rest) = rest.split_first_chunk::<2>().ok_or(malformed)?;
        let (ca_pin, secret) = rest.split_first_chunk::<32>().ok_or(malformed)?;
        let secret = secret.try_into().map_err(|_| malformed)?;
        Ok(Self { port: u16::from_be_bytes(*port), ca_pin: *ca_pin, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken { port: 7_443, ca_pin: [7; 32], secret: [9; 16] }
    }

    #[test]
    fn a_token_reads_back_even_when_a_terminal_wrapped_it() {
        let text = token().to_string();
        assert_eq!(text.len(), 72);
        assert!(text.parse() == Ok(token()));
        let wrapped = format!("  {}\n{} \r\n", &text[..40], &text[40..]);
        assert!(wrapped.parse() == Ok(token()));
    }

    #[test]
    fn a_part_of_a_token_or_another_text_is_refused() {
        let text = token().to_string();
        for wrong in ["", "hfj_", "hf_abc", &text[..71], &format!("{text}A"), &text[4..]] {
            assert!(wrong.parse::<JoinToken>() == Err(InvalidJoinToken::Malformed), "{wrong}");
        }
        assert!("x".repeat(1 << 20).parse::<JoinToken>().is_err());
    }

    #[test]
    fn a_newer_token_says_what_to_do() {
        let newer = format!("hfj_{}", URL_SAFE_NO_PAD.encode([2; 60]));
        assert!(newer.parse::<JoinToken>() == Err(InvalidJoinToken::NewerVersion(2)));
    }
}
