//! Certificates made and read: an authority, what it signs, and what a certificate says of itself.
//!
//! An [`Authority`] is a certificate and its key as PEM, made here or by somebody else. Everything that it signs has a key of its own, made
//! with it. Days are the unit of validity, and everything is valid from the day before, because clocks differ.

use std::collections::BTreeSet;
use std::fmt;

use base_rt::Timestamp;
use jiff::tz::TimeZone;
use jiff::{Span, civil::Date};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A certificate or key could not be made.
    #[error("make a certificate for {name}")]
    Make {
        /// Whom it was for.
        name: String,
        /// Why it failed.
        #[source]
        source: rcgen::Error,
    },
    /// The authority's certificate or key is of no use.
    #[error("use the authority's certificate and key")]
    Authority(#[source] rcgen::Error),
    /// The text holds no certificate.
    #[error("read the certificate")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The certificate is damaged.
    #[error("understand the certificate")]
    Damaged(#[source] x509_parser::nom::Err<x509_parser::error::X509Error>),
    /// The certificate's times are out of bounds.
    #[error("understand the certificate's times")]
    Times(#[source] jiff::Error),
}

/// A certificate and its key, as PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate.
    pub certificate_pem: String,
    /// Its key; secret.
    pub key_pem: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A server with these names and addresses.
    Server(&'a [String]),
    /// A user in a group (empty: in none); the user is the common name.
    Client(&'a str),
}

/// Signs certificates.
#[derive(Clone, Debug)]
pub struct Authority {
    credentials: Credentials,
}

impl Authority {
    /// Makes a new authority, valid for so many years.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(name: &str, now: Timestamp, years: i64) -> Result<Self, PkiError> {
        let make = |source| PkiError::Make { name: name.to_owned(), source };
        let key = KeyPair::generate().map_err(make)?;
        Self::self_signed(name, &key, now, years).map_err(make)
    }

    /// One that has been made before.
    pub fn of(credentials: Credentials) -> Self {
        Self { credentials }
    }

    /// The same authority for further years: name and key stay, so that what it has signed stays trusted by whoever trusts either.
    ///
    /// # Errors
    /// Its key cannot be read.
    pub fn renewed(&self, name: &str, now: Timestamp, years: i64) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(&self.credentials.key_pem).map_err(PkiError::Authority)?;
        Self::self_signed(name, &key, now, years).map_err(|source| PkiError::Make { name: name.to_owned(), source })
    }

    fn self_signed(name: &str, key: &KeyPair, now: Timestamp, years: i64) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name, "");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, Span::new().years(years));
        let certificate = params.self_signed(key)?;
        Ok(Self { credentials: Credentials { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() } })
    }

    /// Its certificate, for clients to trust, and its key.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A certificate for `subject` under a common name (empty: none), valid for so many days.
    ///
    /// # Errors
    /// A name is not one, or the authority's certificate or key cannot be read.
    pub fn issue(
        &self,
        (name, subject): (&str, Subject<'_>),
        now: Timestamp,
        days: i64,
    ) -> Result<Credentials, PkiError> {
        let make = |source| PkiError::Make { name: name.to_owned(), source };
        let key = KeyPair::from_pem(&self.credentials.key_pem).map_err(PkiError::Authority)?;
        let issuer = Issuer::from_ca_cert_pem(&self.credentials.certificate_pem, key).map_err(PkiError::Authority)?;
        let (mut params, group, purpose) = match subject {
            Subject::Server(names) => {
                (CertificateParams::new(names).map_err(make)?, "", ExtendedKeyUsagePurpose::ServerAuth)
            }
            Subject::Client(group) => (CertificateParams::default(), group, ExtendedKeyUsagePurpose::ClientAuth),
        };
        params.distinguished_name = distinguished_name(name, group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, Span::new().days(days));
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        Ok(Credentials { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn distinguished_name(name: &str, group: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    if !group.is_empty() {
        full.push(DnType::OrganizationName, group);
    }
    if !name.is_empty() {
        full.push(DnType::CommonName, name);
    }
    full
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, span: Span) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let first = today.yesterday().unwrap_or(today);
    let last = today.checked_add(span).unwrap_or(today);
    let time = |date: Date| {
        let part = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    };
    params.not_before = time(first);
    params.not_after = time(last);
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The DNS names that it is for.
    pub dns_names: BTreeSet<String>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
}

impl Facts {
    /// Those of the first certificate of a PEM text.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn of(certificate_pem: &[u8]) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_slice(certificate_pem).map_err(PkiError::Pem)?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(PkiError::Damaged)?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let dns_names =
            names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            });
        let time = |seconds| Timestamp::from_second(seconds).map_err(PkiError::Times);
        let validity = certificate.validity();
        Ok(Self {
            dns_names: dns_names.collect(),
            not_before: time(validity.not_before.timestamp())?,
            not_after: time(validity.not_after.timestamp())?,
        })
    }

    /// When it is to be made anew: when two thirds of its time are over.
    pub fn renewal(&self) -> Timestamp {
        let third = self.not_after.duration_since(self.not_before) / 3;
        self.not_after.checked_sub(third).unwrap_or(self.not_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certified_key;

    fn now() -> Timestamp {
        "2024-02-29T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_issued_says_what_was_asked_for() {
        let authority = Authority::generate("ca", now(), 10).unwrap();
        let names = ["a.example".to_owned(), "*.b.example".to_owned(), "127.0.0.1".to_owned()];
        let made = authority.issue(("", Subject::Server(&names)), now(), 90).unwrap();
        let facts = Facts::of(made.certificate_pem.as_bytes()).unwrap();
        assert_eq!(facts.dns_names, BTreeSet::from(["a.example".to_owned(), "*.b.example".to_owned()]));
        assert_eq!(facts.not_before.to_string(), "2024-02-28T00:00:00Z");
        assert_eq!(facts.not_after.to_string(), "2024-05-29T00:00:00Z");
        assert_eq!(facts.renewal().to_string(), "2024-04-28T16:00:00Z");
        assert!(certified_key(made.certificate_pem.as_bytes(), made.key_pem.as_bytes()).is_ok());
        assert!(authority.issue(("", Subject::Server(&["\u{e9}".to_owned()])), now(), 90).is_err());
        assert!(Facts::of(b"nothing").is_err());
    }

    #[test]
    fn a_renewed_authority_has_the_same_key() {
        let first = Authority::generate("ca", now(), 1).unwrap();
        let later: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let renewed = first.renewed("ca", later, 10).unwrap();
        assert_eq!(first.credentials().key_pem, renewed.credentials().key_pem);
        let facts = |authority: &Authority| Facts::of(authority.credentials().certificate_pem.as_bytes()).unwrap();
        assert!(facts(&renewed).not_after > facts(&first).not_after);
        let broken = Credentials { key_pem: "no key".to_owned(), ..first.credentials().clone() };
        assert!(Authority::of(broken).issue(("x", Subject::Client("")), later, 1).is_err());
    }
}
