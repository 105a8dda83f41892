//! Where certificates are made and read, and what is found in a Secret.

use std::fmt;

use base_net::pki::{Authority, Credentials, Facts, PkiError, Subject};
use base_net::tls::certified_key;
use base_rt::error_chain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

/// The certificate, in a Secret of type `kubernetes.io/tls`.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// Its key.
pub(crate) const KEY: &str = "tls.key";
/// The certificate of the authority that signed it.
pub(crate) const AUTHORITY: &str = "ca.crt";

const AUTHORITY_NAME: &str = "kwick-serving-ca";
const AUTHORITY_YEARS: i64 = 10;
const CERTIFICATE_DAYS: i64 = 90;
/// The longest common name; a longer one is left out, as clients look at the other names anyway.
const COMMON_NAME: usize = 63;

/// Makes and reads certificates. A trait, because what comes out is random and rows of data are not.
pub(super) trait Workshop {
    /// What the pair in a Secret says of itself, or why it is none.
    fn read(&self, secret: &Secret) -> Result<Facts, String>;
    /// A new authority.
    fn found(&self, now: Timestamp) -> Result<Credentials, PkiError>;
    /// The same authority for further years.
    fn renew(&self, authority: Credentials, now: Timestamp) -> Result<Credentials, PkiError>;
    /// A certificate for these names.
    fn issue(&self, authority: Credentials, names: &[String], now: Timestamp) -> Result<Credentials, PkiError>;
}

/// The real one.
pub(super) struct Pki;

impl Workshop for Pki {
    fn read(&self, secret: &Secret) -> Result<Facts, String> {
        let Credentials { certificate_pem, key_pem } = credentials(secret);
        let facts = Facts::of(certificate_pem.as_bytes()).map_err(|error| error_chain(&error).to_string())?;
        certified_key(certificate_pem.as_bytes(), key_pem.as_bytes())
            .map_err(|error| error_chain(&error).to_string())?;
        Ok(facts)
    }

    fn found(&self, now: Timestamp) -> Result<Credentials, PkiError> {
        Ok(Authority::generate(AUTHORITY_NAME, now, AUTHORITY_YEARS)?.credentials().clone())
    }

    fn renew(&self, authority: Credentials, now: Timestamp) -> Result<Credentials, PkiError> {
        Ok(Authority::of(authority).renewed(AUTHORITY_NAME, now, AUTHORITY_YEARS)?.credentials().clone())
    }

    fn issue(&self, authority: Credentials, names: &[String], now: Timestamp) -> Result<Credentials, PkiError> {
        let common = names.first().filter(|name| name.len() <= COMMON_NAME).map(String::as_str).unwrap_or_default();
        Authority::of(authority).issue((common, Subject::Server(names)), now, CERTIFICATE_DAYS)
    }
}

/// The texts in a Secret, empty where there are none.
pub(super) fn credentials(secret: &Secret) -> Credentials {
    Credentials { certificate_pem: text(secret, CERTIFICATE), key_pem: text(secret, KEY) }
}

fn text(secret: &Secret, name: &str) -> String {
    let bytes = secret.data.as_ref().and_then(|data| data.get(name)).map_or(&[][..], |bytes| &bytes.0);
    String::from_utf8_lossy(bytes).into_owned()
}

/// What has been made for a Certificate, and is to be kept. Shown to nobody.
#[derive(Clone, Default)]
pub(super) struct Made {
    /// The authority, if there was none or it was due.
    pub(super) authority: Option<Credentials>,
    /// The certificate, with that of the authority that signed it.
    pub(super) certificate: Option<(Credentials, String)>,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made")
            .field("has_authority", &self.authority.is_some())
            .field("has_certificate", &self.certificate.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    fn secret(made: &Credentials) -> Secret {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = BTreeMap::from([
            (CERTIFICATE.to_owned(), bytes(&made.certificate_pem)),
            (KEY.to_owned(), bytes(&made.key_pem)),
        ]);
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn what_is_made_can_be_read() {
        let now = "2026-11-01T12:00:00Z".parse().unwrap();
        let authority = Pki.found(now).unwrap();
        let long = format!("{}.example.com", "a".repeat(60));
        for names in [vec!["a.example.com".to_owned(), "*.b.example.com".to_owned()], vec![long]] {
            let made = Pki.issue(authority.clone(), &names, now).unwrap();
            let facts = Pki.read(&secret(&made)).unwrap();
            assert_eq!(facts.dns_names, names.into_iter().collect());
            assert_eq!(facts.not_after.to_string(), "2027-01-30T00:00:00Z");
            let other = Credentials { key_pem: authority.key_pem.clone(), ..made };
            assert!(Pki.read(&secret(&other)).is_err(), "the key is another's");
        }
        let renewed = Pki.renew(authority.clone(), now).unwrap();
        assert_eq!(renewed.key_pem, authority.key_pem);
        assert!(Pki.read(&secret(&renewed)).is_ok());
        assert!(Pki.read(&Secret::default()).is_err());
    }
}
