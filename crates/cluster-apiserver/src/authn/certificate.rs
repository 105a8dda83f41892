//! The user that a client certificate names: its common name is the user, its organizations are the groups.
//!
//! Whether the certificate is genuine was decided by TLS.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::Identity;

/// The user of a verified certificate; none if it has no common name.
pub(crate) fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization().filter_map(|organization| organization.as_str().ok());
    (!name.is_empty()).then(|| Identity::user(name, groups))
}
