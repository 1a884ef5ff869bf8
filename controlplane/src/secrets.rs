//! Secrets at rest: sealed with XChaCha20-Poly1305 under one master key of the deployment.
//!
//! ```text
//! sealed = 0x01 ‖ key id (8) ‖ nonce (24) ‖ ciphertext and tag
//! ```
//!
//! The place where a secret is stored (table, row, column) is authenticated with it, so that a
//! sealed value copied to another row does not open there. The key id tells "sealed with another
//! master key" from "damaged". The master key is a file with mode 0600; whoever has the file and
//! the database has the secrets, whoever has one of them has nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// A secret text. It has neither `Debug` nor `Display`, and its memory is wiped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text. Every use of this is a place to look at.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, for people; empty for a text under twelve characters, of which
    /// four would be too much.
    #[must_use]
    pub fn hint(&self) -> String {
        let count = self.0.chars().count();
        if count < 12 { String::new() } else { self.0.chars().skip(count - 4).collect() }
    }
}

/// Where a secret is stored.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// The row's key.
    pub row: &'a str,
    /// The column.
    pub column: &'a str,
}

impl Place<'_> {
    /// No field can run into the next: lengths come first.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [self.table, self.row, self.column] {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }
}

/// Why the master key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file cannot be read or made.
    #[error("could not read the master key {path}: check that the file is readable by this user")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file.
    #[error("the master key {path} is readable by others: run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold a key.
    #[error("the master key {path} does not hold 64 hexadecimal digits: restore it from a backup")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Why a sealed secret does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// It was sealed with another master key.
    #[error("the secret was sealed with another master key: restore the key file it came with")]
    OtherKey,
    /// It was changed, or copied from another place.
    #[error("the sealed secret is damaged or belongs to another row")]
    Damaged,
}

/// Seals and opens secrets. Cheap to clone.
#[derive(Clone)]
pub struct SecretBox {
    cipher: Arc<XChaCha20Poly1305>,
    key_id: [u8; KEY_ID_BYTES],
}

impl SecretBox {
    /// Reads the master key, or makes one if the file is missing.
    pub fn open_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        match fs::symlink_metadata(path) {
            Ok(_) => Self::open(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(source) => Err(MasterKeyError::File { path: path.to_owned(), source }),
        }
    }

    /// Reads the master key: 64 hexadecimal digits, mode 0600 or stricter.
    pub fn open(path: &Path) -> Result<Self, MasterKeyError> {
        let file = |source| MasterKeyError::File { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(file)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Exposed { path: path.to_owned() });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(file)?);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), &mut *key)
            .map_err(|_| MasterKeyError::Malformed { path: path.to_owned() })?;
        Ok(Self::with_key(&key))
    }

    /// Makes a key and its file; a file that appears meanwhile wins.
    fn create(path: &Path) -> Result<Self, MasterKeyError> {
        let file = |source| MasterKeyError::File { path: path.to_owned(), source };
        let key = Zeroizing::new(<[u8; KEY_BYTES]>::from(Key::generate()));
        let text = Zeroizing::new(hex::encode(*key) + "\n");
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(mut handle) => {
                handle.write_all(text.as_bytes()).map_err(file)?;
                handle.sync_all().map_err(file)?;
                if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
                {
                    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(file)?;
                }
                Ok(Self::with_key(&key))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::open(path),
            Err(source) => Err(file(source)),
        }
    }

    fn with_key(key: &[u8; KEY_BYTES]) -> Self {
        let digest =
            Sha256::new().chain_update(b"holdfast master key").chain_update(key).finalize();
        let mut key_id = [0; KEY_ID_BYTES];
        key_id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        Self { cipher: Arc::new(XChaCha20Poly1305::new(&Key::from(*key))), key_id }
    }

    /// Seals `secret` for `place`. Two calls never yield the same bytes.
    #[must_use]
    pub fn seal(&self, place: &Place<'_>, secret: &[u8]) -> Vec<u8> {
        let nonce = XNonce::generate();
        let payload = Payload { msg: secret, aad: &place.bytes() };
        let ciphertext = self
            .cipher
            .encrypt(&nonce, payload)
            .expect("a secret is far below the cipher's limit of 256 GiB");
        let mut sealed = Vec::with_capacity(HEADER_BYTES + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.key_id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`seal`](Self::seal) made for the same place.
    pub fn unseal(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        if sealed.len() < HEADER_BYTES || sealed[0] != VERSION {
            return Err(UnsealError::Damaged);
        }
        let (header, ciphertext) = sealed.split_at(HEADER_BYTES);
        if header[1..=KEY_ID_BYTES] != self.key_id {
            return Err(UnsealError::OtherKey);
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&header[1 + KEY_ID_BYTES..]);
        let payload = Payload { msg: ciphertext, aad: &place.bytes() };
        self.cipher
            .decrypt(&XNonce::from(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| UnsealError::Damaged)
    }

    /// Seals a secret text.
    #[must_use]
    pub fn seal_text(&self, place: &Place<'_>, secret: &Secret) -> Vec<u8> {
        self.seal(place, secret.expose().as_bytes())
    }

    /// Opens a secret text.
    pub fn unseal_text(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Secret, UnsealError> {
        let bytes = self.unseal(place, sealed)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| UnsealError::Damaged)?;
        Ok(Secret::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { table: "providers", row: "prov_1", column: "api_key" };

    fn fresh() -> (tempfile::TempDir, PathBuf, SecretBox) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let secrets = SecretBox::open_or_create(&path).unwrap();
        (folder, path, secrets)
    }

    #[test]
    fn a_sealed_secret_opens_after_a_restart_and_is_never_the_same_twice() {
        let (_folder, path, secrets) = fresh();
        let sealed = secrets.seal(&PLACE, b"sk-live");
        assert_ne!(sealed, secrets.seal(&PLACE, b"sk-live"));
        let again = SecretBox::open_or_create(&path).unwrap();
        assert_eq!(*again.unseal(&PLACE, &sealed).unwrap(), b"sk-live");
    }

    #[test]
    fn a_sealed_secret_does_not_open_in_another_row_or_column() {
        let (_folder, _path, secrets) = fresh();
        let sealed = secrets.seal(&PLACE, b"sk-live");
        for place in [
            Place { row: "prov_2", ..PLACE },
            Place { column: "key_hint", ..PLACE },
            Place { table: "provider", row: "sprov_1", ..PLACE },
        ] {
            assert_eq!(secrets.unseal(&place, &sealed).unwrap_err(), UnsealError::Damaged);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (_folder, _path, secrets) = fresh();
        let sealed = secrets.seal(&PLACE, b"sk-live");
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(secrets.unseal(&PLACE, &bent).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(secrets.unseal(&PLACE, &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn another_master_key_is_told_apart_from_damage() {
        let (_folder, _path, one) = fresh();
        let (_folder, _path, other) = fresh();
        let sealed = one.seal(&PLACE, b"sk-live");
        assert_eq!(other.unseal(&PLACE, &sealed).unwrap_err(), UnsealError::OtherKey);
    }

    #[test]
    fn a_key_file_that_others_may_read_or_that_holds_no_key_is_refused() {
        let (_folder, path, _) = fresh();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SecretBox::open(&path), Err(MasterKeyError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "not a key").unwrap();
        assert!(matches!(SecretBox::open(&path), Err(MasterKeyError::Malformed { .. })));
    }

    #[test]
    fn a_hint_shows_four_characters_of_a_long_secret_only() {
        assert_eq!(Secret::new("sk-live-0123456789".into()).hint(), "6789");
        assert_eq!(Secret::new("short".into()).hint(), "");
    }
}
