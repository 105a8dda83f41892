//! The server's own certificates: an authority, serving certificates, client certificates.
//!
//! The authority is kept in a directory that the embedding program gives (`ca.crt`, `ca.key`, readable by the owner alone) and made at first
//! start. Serving and client certificates are cheap: they are made when they are needed and signed by it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub use base_net::pki::Credentials;
use base_net::pki::{self, Subject};
use base_rt::Timestamp;

const AUTHORITY_NAME: &str = "kwick-ca";
const AUTHORITY_YEARS: i64 = 10;
const LEAF_DAYS: i64 = 365;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A certificate or key could not be made.
    #[error(transparent)]
    Make(#[from] pki::PkiError),
    /// A file could not be read or written.
    #[error("{action} {path}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Only one of the two files of an authority is there.
    #[error("{path} is missing although its counterpart is there; restore it, or remove both to get a new authority")]
    Half {
        /// The missing file.
        path: PathBuf,
    },
}

/// Signs certificates.
#[derive(Debug)]
pub struct Authority(pki::Authority);

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(now: Timestamp) -> Result<Self, PkiError> {
        Ok(Self(pki::Authority::generate(AUTHORITY_NAME, now, AUTHORITY_YEARS)?))
    }

    /// The authority kept in `directory`; made and kept there if there is none.
    ///
    /// # Errors
    /// The files cannot be read or written, or are not a pair.
    pub fn load_or_generate(directory: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let (certificate, key) = (directory.join("ca.crt"), directory.join("ca.key"));
        match (read(&certificate)?, read(&key)?) {
            (Some(certificate_pem), Some(key_pem)) => {
                Ok(Self(pki::Authority::of(Credentials { certificate_pem, key_pem })))
            }
            (Some(_), None) => Err(PkiError::Half { path: key }),
            // A start that died between the two files left only the key, with which nothing was signed yet.
            (None, _) => {
                let authority = Self::generate(now)?;
                write_secret(&key, &authority.0.credentials().key_pem)?;
                write_secret(&certificate, authority.certificate_pem())?;
                Ok(authority)
            }
        }
    }

    /// The authority's certificate, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.0.credentials().certificate_pem
    }

    /// A serving certificate for host names and addresses.
    ///
    /// # Errors
    /// A name is not one, or the authority's key cannot be read.
    pub fn server(&self, names: &[String], now: Timestamp) -> Result<Credentials, PkiError> {
        Ok(self.0.issue(("kube-apiserver", Subject::Server(names)), now, LEAF_DAYS)?)
    }

    /// A client certificate for a user in a group (empty: in none).
    ///
    /// # Errors
    /// The authority's key cannot be read.
    pub fn client(&self, user: &str, group: &str, now: Timestamp) -> Result<Credentials, PkiError> {
        Ok(self.0.issue((user, Subject::Client(group)), now, LEAF_DAYS)?)
    }
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { action: "read", path: path.to_owned(), source }),
    }
}

/// Writes a file for the owner alone, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_secret(path: &Path, text: &str) -> Result<(), PkiError> {
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        // One that is there was left by a crash; never written to, because it could be a link.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(directory) => std::fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| PkiError::File { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_authority_is_kept_and_signs() {
        let dir = tempfile::tempdir().expect("directory");
        let now: Timestamp = "2024-02-29T12:00:00Z".parse().expect("time");
        let first = Authority::load_or_generate(dir.path(), now).expect("authority");
        let again = Authority::load_or_generate(dir.path(), now).expect("authority");
        assert_eq!(first.certificate_pem(), again.certificate_pem());
        let mode = std::fs::metadata(dir.path().join("ca.key")).expect("key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_file(dir.path().join("ca.key")).expect("remove");
        assert!(matches!(Authority::load_or_generate(dir.path(), now), Err(PkiError::Half { .. })));
        let client = again.client("eve", "g1", now).expect("client");
        let der = CertificateDer::from_pem_slice(client.certificate_pem.as_bytes()).expect("pem");
        let identity = crate::authn::certificate::identity(&der).expect("identity");
        assert_eq!(identity.username, "eve");
        assert_eq!(identity.groups, ["g1", "system:authenticated"]);
        assert!(again.server(&["localhost".to_owned(), "127.0.0.1".to_owned()], now).is_ok());
        assert!(again.server(&["\u{e9}".to_owned()], now).is_err());
    }
}
