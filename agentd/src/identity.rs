//! Who this daemon is: its own key, and what the control plane signed for it.
//!
//! ```text
//! identity/device.key       PKCS#8, 0600; made here, never leaves the machine
//! identity/enrolment.json   where the control plane is, its CA, the current certificate
//! identity/servers.json     the other servers of the deployment, as they were last told
//! ```
//!
//! Both are replaced by temporary file, fsync and rename, so a crash leaves the old or the new
//! one. The key stays the same through renewals: the control plane knows the daemon by it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use shared::ids::WorkspaceId;
use shared::protocol::enroll::Certificate;

const KEY_FILE: &str = "device.key";
const ENROLMENT_FILE: &str = "enrolment.json";
const SERVERS_FILE: &str = "servers.json";

/// Why the identity cannot be used. The message completes "could not use the identity: …".
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The operating system says no.
    #[error("{path} cannot be {action}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The key is readable by others, so it can no longer be trusted.
    #[error("{path} can be read by others (mode {mode:o}); run `agentd leave` and join again")]
    KeyExposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is damaged.
    #[error("{path} is damaged ({what}); run `agentd leave` and join again")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong, for people.
        what: String,
    },
}

/// The daemon's own key pair: ECDSA P-256. No `Debug`: it is a secret.
pub struct DeviceKey {
    pair: KeyPair,
}

impl DeviceKey {
    /// Reads the key of `dir`, or makes one. Durable when it returns.
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        match Self::load(dir)? {
            Some(key) => Ok(key),
            None => Self::create(dir),
        }
    }

    /// Reads the key of `dir`; none before the first join.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(KEY_FILE);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let meta = std::fs::metadata(&path).map_err(io_error(&path, "examined"))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::KeyExposed { path, mode });
        }
        let pkcs8 = PrivatePkcs8KeyDer::from(bytes);
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| IdentityError::Damaged { path, what: error.to_string() })?;
        Ok(Some(Self { pair }))
    }

    fn create(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(KEY_FILE);
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| io_error(&path, "made")(io::Error::other(error)))?;
        replace(dir, KEY_FILE, pair.serialized_der())?;
        Ok(Self { pair })
    }

    /// A signing request that proves possession of the key. The subject is left to the signer.
    #[must_use]
    pub fn signing_request(&self) -> Vec<u8> {
        let request = CertificateParams::default()
            .serialize_request(&self.pair)
            .expect("an own key signs a fixed request");
        request.der().to_vec()
    }

    /// The key as TLS wants it.
    #[must_use]
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der()).into()
    }
}

/// What `join` learnt and `certificate/renew` keeps fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The URL that was given to `join`, for people and for the reachability check.
    pub url: String,
    /// Host of the QUIC listener.
    pub host: String,
    /// UDP port of the QUIC listener.
    pub port: u16,
    /// SHA-256 of the CA certificate, in hex.
    pub ca_pin: String,
    /// The workspace this daemon serves.
    pub workspace_id: WorkspaceId,
    /// Its name when it was last told.
    pub workspace_name: String,
    /// Leaf first, then the CA; DER in base64.
    chain: Vec<String>,
    /// Unix milliseconds, by the control plane's clock, at which the certificate ends.
    pub not_after_ms: i64,
}

impl Enrolment {
    /// The enrolment that `certificate` gives a daemon at this address.
    #[must_use]
    pub fn new(
        url: &str,
        host: &str,
        port: u16,
        ca_pin: [u8; 32],
        certificate: &Certificate,
    ) -> Self {
        Self {
            url: url.to_owned(),
            host: host.to_owned(),
            port,
            ca_pin: hex::encode(ca_pin),
            workspace_id: certificate.workspace_id,
            workspace_name: certificate.workspace_name.clone(),
            chain: encode_chain(certificate),
            not_after_ms: certificate.not_after_ms,
        }
    }

    /// Takes over a fresh certificate.
    #[must_use]
    pub fn renewed(mut self, certificate: &Certificate) -> Self {
        self.workspace_name.clone_from(&certificate.workspace_name);
        self.chain = encode_chain(certificate);
        self.not_after_ms = certificate.not_after_ms;
        self
    }

    /// Reads the enrolment of `dir`; none before the first join.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(ENROLMENT_FILE);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let damaged = |what| IdentityError::Damaged { path: path.clone(), what };
        let enrolment: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let whole = enrolment.chain().is_some() && enrolment.pin().is_some();
        if whole { Ok(Some(enrolment)) } else { Err(damaged("a certificate".to_owned())) }
    }

    /// Writes it. Durable when it returns.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        let text = serde_json::to_vec_pretty(self).expect("texts and numbers always encode");
        replace(dir, ENROLMENT_FILE, &text)
    }

    /// Removes enrolment and key of `dir`, for `agentd leave`. Idempotent.
    pub fn remove(dir: &Path) -> Result<(), IdentityError> {
        for name in [ENROLMENT_FILE, SERVERS_FILE, KEY_FILE] {
            let path = dir.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(&path, "removed")(error));
                }
                _ => {}
            }
        }
        sync_dir(dir)
    }

    /// The certificates as TLS wants them; none if the file was damaged.
    #[must_use]
    pub fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        let decode = |text: &String| STANDARD.decode(text).ok().map(CertificateDer::from);
        self.chain.iter().map(decode).collect::<Option<Vec<_>>>().filter(|chain| !chain.is_empty())
    }

    /// The pin of the deployment's CA; none if the file was damaged.
    #[must_use]
    pub fn pin(&self) -> Option<[u8; 32]> {
        hex::decode(&self.ca_pin).ok()?.try_into().ok()
    }
}

/// The servers that `dir` remembers, `host:port` each; empty before the first was told.
pub fn load_servers(dir: &Path) -> Result<Vec<String>, IdentityError> {
    let path = dir.join(SERVERS_FILE);
    let Some(bytes) = read(&path)? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes)
        .map_err(|error| IdentityError::Damaged { path, what: error.to_string() })
}

/// Remembers servers. Durable when it returns.
pub fn save_servers(dir: &Path, servers: &[String]) -> Result<(), IdentityError> {
    let text = serde_json::to_vec_pretty(servers).expect("texts always encode");
    replace(dir, SERVERS_FILE, &text)
}

fn encode_chain(certificate: &Certificate) -> Vec<String> {
    certificate.chain_der.iter().map(|der| STANDARD.encode(&der.0)).collect()
}

fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { path, action, source }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path, "read")(error)),
    }
}

fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.new"));
    // A left-over of a crash may have any mode; it is made anew.
    let _ = std::fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(io_error(&temporary, "created"))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(io_error(&temporary, "written"))?;
    std::fs::rename(&temporary, &path).map_err(io_error(&path, "replaced"))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), IdentityError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(io_error(dir, "synced"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::{IdSource, SystemIds};
    use shared::protocol::enroll::Der;

    fn certificate() -> Certificate {
        Certificate {
            workspace_id: <dyn IdSource>::id(&SystemIds::new()),
            workspace_name: "big box".to_owned(),
            chain_der: vec![Der(vec![1, 2]), Der(vec![3])],
            not_after_ms: 5,
        }
    }

    #[test]
    fn the_key_is_made_once_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let first = DeviceKey::load_or_create(dir.path()).unwrap();
        let again = DeviceKey::load_or_create(dir.path()).unwrap();
        assert_eq!(first.pair.serialize_der(), again.pair.serialize_der());
        let mode = std::fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        DeviceKey::load_or_create(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = DeviceKey::load(dir.path()).err().unwrap();
        assert!(matches!(error, IdentityError::KeyExposed { mode: 0o640, .. }), "{error}");
    }

    #[test]
    fn an_enrolment_reads_back_and_a_renewal_replaces_only_the_certificate() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Enrolment::load(dir.path()).unwrap(), None);
        let enrolment = Enrolment::new(
            "https://holdfast.example",
            "holdfast.example",
            7,
            [4; 32],
            &certificate(),
        );
        enrolment.save(dir.path()).unwrap();
        assert_eq!(Enrolment::load(dir.path()).unwrap(), Some(enrolment.clone()));
        assert_eq!(enrolment.pin(), Some([4; 32]));

        let fresh = Certificate { chain_der: vec![Der(vec![9])], not_after_ms: 9, ..certificate() };
        let renewed = enrolment.clone().renewed(&fresh);
        assert_eq!(renewed.chain().unwrap()[0].as_ref(), [9]);
        assert_eq!((renewed.workspace_id, renewed.port), (enrolment.workspace_id, 7));
    }

    #[test]
    fn damaged_files_are_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ENROLMENT_FILE), "{").unwrap();
        let error = Enrolment::load(dir.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(dir.path().join(ENROLMENT_FILE)).unwrap(), b"{");
    }
}
