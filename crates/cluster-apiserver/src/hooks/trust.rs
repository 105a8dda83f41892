//! Whom a call trusts: webhooks with a certificate of the bundle's authorities, or one that stands in the bundle itself.
//!
//! Many webhooks have one certificate that they made for themselves and give out as their authority too. Go's TLS takes it; WebPKI does not,
//! because it says of itself that it is an authority.

use std::sync::Arc;

use base_net::tls::{Trust, client_config};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// How TLS is spoken to webhooks of an authority.
///
/// # Errors
/// The bundle holds nothing of use.
pub(super) fn client(ca_bundle: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let certificates = certificates(ca_bundle)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    if roots.is_empty() {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    }
    let words = |error: &dyn std::fmt::Display| format!("unable to load root certificates: {error}");
    let of_authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .map_err(|error| words(&error))?;
    let base = client_config(Trust::Anybody, None).map_err(|error| words(&error))?;
    let mut config = ClientConfig::clone(&base);
    config.dangerous().set_certificate_verifier(Arc::new(Bundle { of_authorities, certificates }));
    Ok(Arc::new(config))
}

fn certificates(ca_bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if ca_bundle.iter().all(u8::is_ascii_whitespace) {
        return Ok(rustls_native_certs::load_native_certs().certs);
    }
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca_bundle).collect();
    parsed.map_err(|error| format!("unable to load root certificates: {error}"))
}

#[derive(Debug)]
struct Bundle {
    of_authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// Checks a certificate that stands in the bundle: it is believed for its names and its time.
    fn check_own(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        let parsed = rustls::server::ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&parsed, name)?;
        let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(bad)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = parsed.validity();
        if now < validity.not_before.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if now > validity.not_after.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        Ok(())
    }
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|own| own == end_entity) {
            return self.check_own(end_entity, server_name, now).map(|()| ServerCertVerified::assertion());
        }
        self.of_authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_authorities.supported_verify_schemes()
    }
}
